package cert_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

func TestGenerateKeyMakesWhatItIsAskedFor(t *testing.T) {
	for _, spec := range cert.KeySpecs() {
		t.Run(spec.String(), func(t *testing.T) {
			t.Parallel()
			key, err := cert.GenerateKey(spec)
			require.NoError(t, err)
			got, err := cert.KeySpecOf(key.Public())
			require.NoError(t, err)
			require.Equal(t, spec, got)
			require.NoError(t, cert.CheckKey(key.Public()))
		})
	}
}

func TestGenerateKeyRefusesOtherAlgorithms(t *testing.T) {
	for _, spec := range []cert.KeySpec{{Type: cert.RSA, Bits: 1024}, {Type: cert.EC, Bits: 224}, {Type: "dsa", Bits: 2048}} {
		_, err := cert.GenerateKey(spec)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", spec, err)
	}
}
