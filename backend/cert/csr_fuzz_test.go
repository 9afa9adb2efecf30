package cert_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

func FuzzParseCSR(f *testing.F) {
	key := ecKey(f)
	f.Add(craft(f, key, nil))
	f.Add(craft(f, key, attribute(extensionRequest, extensions(f, basicConstraints(0x30, 0x03, 0x01, 0x01, 0xff)))))
	f.Add(craft(f, key, attribute(extensionRequest, extensions(f, sanOf(f, cert.Names{DNS: []string{"a.b"}, Other: []cert.OtherName{{OID: "1.2.3", Value: "x"}}})))))
	f.Add([]byte(cert.CSRPEM(craft(f, key, nil))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		request, err := cert.ParseCSR(raw)
		if err != nil {
			require.NotEqual(t, fault.Internal, fault.KindOf(err), err)
			return
		}
		require.False(t, request.CA)
		require.NoError(t, request.CheckSignature())
		theirs, err := x509.ParseCertificateRequest(request.Raw)
		if err != nil {
			return // it dislikes a name
		}
		require.NoError(t, theirs.CheckSignature())
		require.Equal(t, theirs.RawSubject, request.RawSubject)
		// The standard library must see the same names that we have normalised.
		require.LessOrEqual(t, len(request.Names.DNS), len(theirs.DNSNames))
		require.LessOrEqual(t, len(request.Names.IP), len(theirs.IPAddresses))
	})
}

func BenchmarkParseCSR(b *testing.B) {
	for name, key := range map[string]crypto.Signer{"ec-256": ecKey(b), "rsa-2048": rsaKey(b)} {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"web.example.com"}}, key)
		require.NoError(b, err)
		raw := []byte(cert.CSRPEM(der))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := cert.ParseCSR(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
