package keyring_test

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
)

// FuzzCheckImport holds a private key that is accepted to one that can be written and
// read again, and a refusal to words that repeat nothing of it.
func FuzzCheckImport(f *testing.F) {
	for _, spec := range []cert.KeySpec{cert.P256, cert.Edwards25519} {
		key, err := cert.GenerateKey(spec)
		require.NoError(f, err)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(f, err)
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		f.Add(text)
		f.Add(text[:len(text)/2])
		f.Add(append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), text...))
	}
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := keyring.CheckImport(text); err != nil {
			require.NotEqual(t, fault.Internal, fault.KindOf(err), "%v", err)
			require.Less(t, len(err.Error()), 300)
			for line := range strings.Lines(string(text)) {
				if line = strings.TrimSpace(line); len(line) > 40 && !strings.HasPrefix(line, "-") {
					require.NotContains(t, err.Error(), line)
				}
			}
			return
		}
		key, err := keyring.ParsePrivateKey(text)
		require.NoError(t, err)
		require.NoError(t, cert.CheckKey(key.Public()))
		_, err = x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
	})
}
