package ledger_test

import (
	"crypto/x509"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// FuzzRowOf holds the short reader of certificates against the standard library's.
func FuzzRowOf(f *testing.F) {
	serial := cert.Serial("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14")
	f.Add(sign(f, template(serial, "www.example.com")))
	bare := template(serial, "")
	bare.Subject.Organization = nil
	f.Add(sign(f, bare))
	f.Add([]byte("\x30\x03\x30\x01\x00"))
	f.Fuzz(func(t *testing.T, der []byte) {
		parsed, err := x509.ParseCertificate(der)
		if err != nil || parsed.SerialNumber.Sign() <= 0 || len(parsed.SerialNumber.Bytes()) > cert.MaxSerialOctets {
			_, _ = ledger.RowOf(&ledger.Record{DER: der}) // must not panic
			return
		}
		row, err := ledger.RowOf(&ledger.Record{Serial: serial, DER: der})
		if err != nil {
			return // stricter about what it reads: nothing is recorded
		}
		require.Equal(t, parsed.NotAfter.Unix(), row.NotAfter.Unix())
		require.Equal(t, parsed.NotBefore.Unix(), row.NotBefore.Unix())
		if name := parsed.Subject.CommonName; name != "" && len(name) <= ledger.MaxText && len(parsed.Subject.Names) == 1 {
			require.Equal(t, strings.ToValidUTF8(name, "\uFFFD"), row.Name)
		}
	})
}
