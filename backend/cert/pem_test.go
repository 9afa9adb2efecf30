package cert_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

func selfSigned(t testing.TB, serial int64) []byte {
	t.Helper()
	key := ecKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Unix(2e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return der
}

func TestParseCertificates(t *testing.T) {
	one, two := selfSigned(t, 1), selfSigned(t, 2)
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}))
	bundle := "# root\r\n" + cert.CertificatePEM(one) + "\n\n" + key + cert.CertificatePEM(two)
	certs, others, err := cert.ParseCertificates([]byte(bundle))
	require.NoError(t, err)
	require.Len(t, certs, 2)
	require.Equal(t, one, certs[0].Raw)
	require.Equal(t, two, certs[1].Raw)
	require.Equal(t, []string{"PRIVATE KEY"}, others)

	certs, _, err = cert.ParseCertificates(one)
	require.NoError(t, err)
	require.Equal(t, one, certs[0].Raw)

	for name, raw := range map[string]string{
		"nothing":       "",
		"text":          "hello",
		"two DER":       string(one) + string(two),
		"damaged block": strings.Replace(bundle, "-----\nM", "-----\n!", 1),
		"cut off":       bundle[:len(bundle)-10],
		"not DER":       string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})),
		"trailing DER":  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: append(one, 0)})),
	} {
		_, _, err := cert.ParseCertificates([]byte(raw))
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
	}
	_, _, err = cert.ParseCertificates(make([]byte, cert.MaxBundle+1))
	require.Equal(t, fault.TooLarge, fault.KindOf(err))
}

func TestPEMHasNoTrailingNewline(t *testing.T) {
	der := selfSigned(t, 1)
	text := cert.CertificatePEM(der)
	require.True(t, strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----\n"))
	require.True(t, strings.HasSuffix(text, "\n-----END CERTIFICATE-----"))
	require.True(t, strings.HasSuffix(cert.CSRPEM(der), "-----END CERTIFICATE REQUEST-----"))
}

func FuzzParseCertificates(f *testing.F) {
	der := selfSigned(f, 1)
	f.Add(der)
	f.Add([]byte(cert.CertificatePEM(der)))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		certs, others, err := cert.ParseCertificates(raw)
		if err != nil {
			require.NotEqual(t, fault.Internal, fault.KindOf(err))
			return
		}
		require.NotZero(t, len(certs)+len(others))
	})
}
