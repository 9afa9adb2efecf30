//go:build cgo

package hsm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

func TestHSM2_SearchComparesThePublicKey(t *testing.T) {
	opened, err := hsm.Open(t.Context(), config(token.New(t, "search")))
	require.NoError(t, err)
	defer opened.Close()
	for _, spec := range []cert.KeySpec{cert.P256, cert.Edwards25519} {
		made, evidence, err := opened.Generate(t.Context(), spec, []byte("id of "+spec.String()), "label of "+spec.String())
		require.NoError(t, err)
		for _, narrowed := range []struct{ id, label string }{{}, {id: "id of " + spec.String()}, {label: "label of " + spec.String()}} {
			signer, found, err := opened.Search(t.Context(), made.Public(), []byte(narrowed.id), narrowed.label)
			require.NoError(t, err, narrowed)
			require.Equal(t, hsm.Found{ID: []byte("id of " + spec.String()), Label: "label of " + spec.String(), Evidence: evidence}, found)
			require.True(t, cert.Equal(made.Public(), signer.Public()))
		}
		_, _, err = opened.Search(t.Context(), made.Public(), []byte("other"), "")
		require.True(t, fault.Is(err, fault.NotFound), err)
		_, _, err = opened.Search(t.Context(), made.Public(), nil, "other")
		require.True(t, fault.Is(err, fault.NotFound), err)
	}
	stranger, err := cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	_, _, err = opened.Search(t.Context(), stranger.Public(), nil, "")
	require.True(t, fault.Is(err, fault.Conflict), err)
	require.ErrorContains(t, err, "no private key with the public key")
}
