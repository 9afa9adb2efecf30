//go:build cgo

package hsm_test

import (
	"testing"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

// BenchmarkSign measures a P-256 signature of SoftHSM, most of which is the token's.
func BenchmarkSign(b *testing.B) {
	opened, err := hsm.Open(b.Context(), config(token.New(b, "bench")))
	if err != nil {
		b.Fatal(err)
	}
	defer opened.Close()
	signer, _, err := opened.Generate(b.Context(), cert.P256, []byte("k"), "")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := sign(signer); err != nil {
				b.Error(err)
			}
		}
	})
}
