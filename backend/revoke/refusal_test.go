package revoke_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
)

func TestSerialOfACertificate(t *testing.T) {
	m := start(t)
	for _, text := range []string{string(m.der), cert.CertificatePEM(m.der)} {
		serial, err := revoke.SerialOf([]byte(text))
		require.NoError(t, err)
		require.Equal(t, m.serial, serial)
	}
	_, err := revoke.SerialOf([]byte("x"))
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
}

func TestCommentsOfSuspensionsAreCapped(t *testing.T) {
	m := start(t)
	_, err := m.revoke.Suspend(t.Context(), m.serial, strings.Repeat("x", ledger.MaxComment+1))
	require.Equal(t, "comment", fault.FieldOfError(err))
	_, err = m.revoke.Suspend(t.Context(), m.serial, strings.Repeat("x", ledger.MaxComment))
	require.NoError(t, err)
}

func TestAPreviewNeedsTheWholeLedger(t *testing.T) {
	m := start(t)
	m.wire()
	_, _, err := m.bulk.Preview(t.Context(), order(revoke.Filter{Role: "web"}, cert.Superseded), 10)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}

// TestRev1_ACertificateWhoseRecordIsLostOnTheWayIsNotUnknown: the caller learns that
// storage failed, and not that the mount never issued the certificate.
func TestRev1_ACertificateWhoseRecordIsLostOnTheWayIsNotUnknown(t *testing.T) {
	m := start(t)
	page, err := m.ledger.NewPage(1)
	require.NoError(t, err)
	der := certificate(t, page.Serial(), m.key, "b.example.com")
	for n := 1; ; n++ {
		m.store.Break(n, kvtest.LoseWrite)
		_, err := m.revoke.ByCertificate(t.Context(), der, revoke.Request{})
		if !m.store.Broken() {
			require.NoError(t, err)
			require.Greater(t, n, 2)
			return
		}
		require.ErrorIs(t, err, kvtest.ErrLost, "operation %d", n)
	}
}

// TestBulkReadsFewPagesAtOnce: the rest of the mount gets storage too.
func TestBulkReadsFewPagesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t)
		const pages = 40
		for range pages {
			m.issue(t, 1, ledger.Record{Issuer: "issuer", Role: "web"})
		}
		require.NoError(t, m.ledger.Flush(t.Context()))
		waiting := &queue{stopping: stopping{m.store, make(chan struct{})}}
		m.use(waiting)
		require.NoError(t, m.ledger.Load(t.Context()))
		_, err := m.bulk.Start(t.Context(), order(revoke.Filter{Role: "web"}, cert.Superseded))
		require.NoError(t, err)
		synctest.Wait()
		require.Positive(t, waiting.length.Load())
		require.Less(t, waiting.length.Load(), int32(pages/2))
		close(waiting.pages)
		synctest.Wait()
		require.Equal(t, pages, m.ledger.CountRevoked())
	})
}

// queue is a store that counts who waits in it.
type queue struct {
	stopping
	length atomic.Int32
}

func (q *queue) Get(ctx context.Context, key string) ([]byte, error) {
	q.length.Add(1)
	defer q.length.Add(-1)
	return q.stopping.Get(ctx, key)
}
