package keyring_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
)

func TestLostOperationsOfTokensAreReported(t *testing.T) {
	store := kvtest.New()
	ring, _ := withToken(t, store)
	_, err := ring.Generate(t.Context(), "", cert.P256, "t")
	require.NoError(t, err)
	ended, end := context.WithCancel(t.Context())
	end()
	_, err = ring.Generate(ended, "", cert.P256, "t")
	require.ErrorIs(t, err, context.Canceled)
	for n := 1; n <= 2; n++ {
		fresh := newRing(t, store)
		store.Break(n, kvtest.LoseWrite)
		require.ErrorIs(t, fresh.DeleteToken(t.Context(), "t"), kvtest.ErrLost)
		require.True(t, store.Broken())
	}
}
