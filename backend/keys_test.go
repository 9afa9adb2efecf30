package backend_test

import (
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
)

func TestCa6_AKeyThatLiveCertificatesNeedStays(t *testing.T) {
	store := kvtest.New()
	b, _, issuing := start(t, store)
	t.Cleanup(b.Close)
	leaf := sign(t, b)
	for _, force := range []bool{false, true} {
		_, err := b.DeleteKey(t.Context(), backend.KeyDeletion{Ref: issuing.KeyID(), Force: force})
		require.True(t, fault.Is(err, fault.Conflict), "an issuer has it: %v", err)
		require.ErrorContains(t, err, issuing.ID())
	}
	_, err := b.Issuers.Delete(t.Context(), issuing.ID(), issuer.DeleteOptions{Force: true})
	require.NoError(t, err)

	// Its issuer is gone, what it signed is not: also after a restart.
	again := open(store)
	t.Cleanup(again.Close)
	for _, b := range []*backend.Backend{b, again} {
		_, err = b.DeleteKey(t.Context(), backend.KeyDeletion{Ref: issuing.KeyID()})
		require.True(t, fault.Is(err, fault.Conflict), "%v", err)
		require.ErrorContains(t, err, "(1, the last until ")
		require.ErrorContains(t, err, leaf.Certificate.NotAfter.UTC().Format(time.RFC3339))
		require.ErrorContains(t, err, "force=true")
	}

	// A key that signed nothing goes, whatever other keys signed.
	other, err := b.Ring.Generate(t.Context(), "other", cert.P256, "")
	require.NoError(t, err)
	_, err = b.DeleteKey(t.Context(), backend.KeyDeletion{Ref: other.ID})
	require.NoError(t, err)

	warnings, err := b.DeleteKey(t.Context(), backend.KeyDeletion{Ref: issuing.KeyID(), Force: true})
	require.NoError(t, err)
	require.Contains(t, warnings[0], "no CRL and no OCSP response")
	_, err = b.Ring.Get(t.Context(), issuing.KeyID())
	require.True(t, fault.Is(err, fault.NotFound))
	_, err = b.DeleteKey(t.Context(), backend.KeyDeletion{Ref: issuing.KeyID()})
	require.True(t, fault.Is(err, fault.NotFound))
}

func TestDeletingAKeyTakesPendingIssuersAlong(t *testing.T) {
	store := kvtest.New()
	b, _, _ := start(t, store)
	t.Cleanup(b.Close)
	waiting, key, err := b.Issuers.Generate(t.Context(), issuer.PendingRequest{
		Key: issuer.KeyChoice{Spec: cert.P256, Name: "next"}, Subject: pkix.Name{CommonName: "Next"},
	})
	require.NoError(t, err)
	whole := store.Clone()
	warnings, err := b.DeleteKey(t.Context(), backend.KeyDeletion{Ref: "next"})
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], waiting.ID())
	pending, err := b.Issuers.Pending(t.Context())
	require.NoError(t, err)
	require.Empty(t, pending)
	_, err = b.Ring.Get(t.Context(), key.ID)
	require.True(t, fault.Is(err, fault.NotFound))

	// Whichever write is lost, the same call does the rest.
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			store := whole.Clone()
			store.Break(n, loss)
			first := open(store)
			_, err := first.DeleteKey(t.Context(), backend.KeyDeletion{Ref: key.ID})
			first.Close()
			if !store.Broken() {
				require.NoError(t, err)
				break
			}
			after := open(store)
			if _, err = after.DeleteKey(t.Context(), backend.KeyDeletion{Ref: key.ID}); !fault.Is(err, fault.NotFound) {
				require.NoError(t, err)
			}
			pending, err := after.Issuers.Pending(t.Context())
			require.NoError(t, err)
			require.Empty(t, pending)
			after.Close()
		}
	}
}
