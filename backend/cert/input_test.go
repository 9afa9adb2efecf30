package cert_test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// sample returns a file that openssl made: chain.p7b and chain.p7b.pem hold an issuing
// CA and its root, issuing.csr and issuing.p12 are the issuing CA's.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "pkcs7", name))
	require.NoError(t, err)
	return raw
}

// utf16Of encodes text as Windows does when a file is saved as Unicode.
func utf16Of(text []byte) []byte {
	out := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(string(text))) {
		out = append(out, byte(unit), byte(unit>>8))
	}
	return out
}

func encodedAs(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

func TestCertificatesInTheFormsThatCAsSend(t *testing.T) {
	der, armoured := sample(t, "chain.p7b"), sample(t, "chain.p7b.pem")
	certs, _, err := cert.ParseCertificates(der)
	require.NoError(t, err)
	require.Len(t, certs, 2)
	one := encodedAs("CERTIFICATE", certs[0].Raw)
	for name, form := range map[string]struct {
		raw   []byte
		count int
	}{
		"PKCS#7 in PEM":              {armoured, 2},
		"PKCS#7 of AD CS in PEM":     {encodedAs("CERTIFICATE", der), 2},
		"PKCS#7 as CMS":              {encodedAs("CMS", der), 2},
		"PKCS#7 in base64":           {[]byte(base64.StdEncoding.EncodeToString(der)), 2},
		"base64 of DER":              {[]byte(base64.StdEncoding.EncodeToString(certs[0].Raw) + "\n"), 1},
		"DER":                        {certs[0].Raw, 1},
		"byte order mark":            {slices.Concat([]byte("\xef\xbb\xbf"), one), 1},
		"byte order mark and PKCS#7": {slices.Concat([]byte("\xef\xbb\xbf\r\n"), armoured), 2},
		"PEM and PKCS#7":             {slices.Concat(one, armoured), 3},
		"Windows lines":              {bytes.ReplaceAll(armoured, []byte("\n"), []byte("\r\n")), 2},
	} {
		found, others, err := cert.ParseCertificates(form.raw)
		require.NoError(t, err, name)
		require.Empty(t, others, name)
		require.Len(t, found, form.count, name)
	}
}

func TestWhatIsNoCertificateIsNamed(t *testing.T) {
	armoured := sample(t, "chain.p7b.pem")
	csr, _ := pem.Decode(sample(t, "issuing.csr"))
	damaged := slices.Concat([]byte{0x30}, []byte("\xef\xbf\xbd\xef\xbf\xbd"), armoured)
	for text, raw := range map[string][]byte{
		"is UTF-16: save the file as UTF-8":             utf16Of(armoured),
		"is UTF-16: save":                               []byte("\ufffd\ufffd-\x00-\x00-\x00"),
		"did you mean certificate=@chain.pem?":          []byte("chain.pem"),
		"did you mean certificate=@/tmp/ca/root.CER?":   []byte("@/tmp/ca/root.CER\n"),
		"is a certificate request (CSR)":                csr.Bytes,
		"is PKCS#12":                                    sample(t, "issuing.p12"),
		"damaged on its way":                            damaged,
		"PKCS#7 holds no certificate":                   {0x30, 0x1f, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2, 0xa0, 18, 0x30, 16, 2, 1, 1, 0x31, 0, 0x30, 5, 6, 3, 0x2a, 3, 4, 0xa0, 0, 0x31, 0},
		"must be in PEM, PKCS#7, or one in DER":         []byte("hello"),
		"where certificates are needed: have it signed": csr.Bytes,
	} {
		_, _, err := cert.ParseCertificates(raw)
		require.ErrorContains(t, err, text)
	}
	require.ErrorContains(t, cert.NotCertificates([]string{"CERTIFICATE REQUEST"}), "give the signed certificate")
	require.ErrorContains(t, cert.NotCertificates([]string{"X509 CRL"}), "X509 CRL")
}

func TestRequestsInTheFormsThatToolsWrite(t *testing.T) {
	armoured := sample(t, "issuing.csr")
	block, _ := pem.Decode(armoured)
	for name, raw := range map[string][]byte{
		"PEM": armoured, "DER": block.Bytes, "byte order mark": slices.Concat([]byte("\xef\xbb\xbf"), armoured),
		"base64": []byte(base64.StdEncoding.EncodeToString(block.Bytes)),
	} {
		request, err := cert.ParseCSR(raw)
		require.NoError(t, err, name)
		require.Equal(t, "Example Issuing", request.Subject.CommonName, name)
	}
	certs, _, err := cert.ParseCertificates(sample(t, "chain.p7b"))
	require.NoError(t, err)
	for text, raw := range map[string][]byte{
		"is a certificate, not a request": encodedAs("CERTIFICATE", certs[0].Raw),
		"did you mean csr=@web.csr?":      []byte("web.csr"),
		"is UTF-16":                       utf16Of(armoured),
	} {
		_, err := cert.ParseCSR(raw)
		require.ErrorContains(t, err, text)
	}
}

func FuzzPKCS7(f *testing.F) {
	der, armoured := sample(f, "chain.p7b"), sample(f, "chain.p7b.pem")
	certs, _, err := cert.ParseCertificates(der)
	require.NoError(f, err)
	for _, seed := range [][]byte{
		der, armoured, certs[0].Raw, encodedAs("CERTIFICATE", der), utf16Of(armoured), sample(f, "issuing.csr"), sample(f, "issuing.p12"),
		[]byte("chain.pem"), der[:len(der)/2], []byte(base64.StdEncoding.EncodeToString(der)),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		certs, others, err := cert.ParseCertificates(raw)
		if err != nil && (len(certs) > 0 || len(others) > 0) {
			t.Fatal("a refused bundle yields certificates")
		}
		for _, c := range certs {
			if again, _, err := cert.ParseCertificates(c.Raw); err != nil || len(again) != 1 || !again[0].Equal(c) {
				t.Fatalf("a certificate of the bundle is not read by itself: %v", err)
			}
		}
	})
}
