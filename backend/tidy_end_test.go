package backend_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/tidy"
)

// watched is storage that tells of each key before it is written.
type watched struct {
	*kvtest.Store
	writing func(key string)
}

func (w *watched) Put(ctx context.Context, key string, value []byte) error {
	w.writing(key)
	return w.Store.Put(ctx, key, value)
}

// A run has ended once its end is in storage: before, its status says that it is under
// way, and after, the next one starts.
func TestTidyHasEndedOnceItIsOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		b, _, _ := start(t, store)
		defer func() { b.Close() }()
		pass(b, time.Hour)
		var s *tidy.Service
		ends := 0
		s = tidy.New(tidy.Config{
			Store: &watched{Store: store, writing: func(key string) {
				if key != layout.TidyRun {
					return
				}
				ends++
				under, err := s.Status(t.Context())
				require.NoError(t, err)
				require.Equal(t, tidy.Running, under.State)
				began, err := s.Start(t.Context(), everything())
				require.NoError(t, err)
				require.False(t, began, "one at a time")
			}},
			Ledger: b.Ledger, Issuers: b.Issuers, CRL: b.CRL, OCSP: b.OCSP, Places: b.Places, Now: time.Now,
		})
		defer s.Close()
		for n := 1; n <= 20; n++ {
			began, err := s.Start(t.Context(), everything())
			require.NoError(t, err)
			require.True(t, began)
			synctest.Wait()
			ended, err := s.Status(t.Context())
			require.NoError(t, err)
			require.Equal(t, tidy.Finished, ended.State, ended.Error)
			require.Equal(t, n, ends)
		}
	})
}
