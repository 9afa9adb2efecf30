package crl_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// noon is the time at which most tests happen.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// algorithm is one row of the algorithms that a CRL can be signed with.
type algorithm struct {
	name      string
	key       cert.KeySpec
	signature x509.SignatureAlgorithm
}

var algorithms = []algorithm{
	{"P-256", cert.P256, x509.ECDSAWithSHA256},
	{"P-384", cert.P384, x509.ECDSAWithSHA384},
	{"P-521", cert.P521, x509.ECDSAWithSHA512},
	{"RSA PKCS1", cert.RSA2048, x509.SHA256WithRSA},
	{"RSA PSS", cert.RSA2048, x509.SHA256WithRSAPSS},
	{"Ed25519", cert.Edwards25519, x509.PureEd25519},
}

// ca is an authority with the key that a test needs to call other software.
type ca struct {
	*sign.Authority
	key crypto.Signer
}

// newCA makes a self-signed CA; edit changes its template.
func newCA(t testing.TB, a algorithm, edit ...func(*x509.Certificate)) ca {
	t.Helper()
	key, err := cert.GenerateKey(a.key)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x1234), SignatureAlgorithm: a.signature,
		// Values that Go and OpenSSL would write with other string types.
		RawSubject: []byte("\x30\x1f\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02DE\x31\x10\x30\x0e\x06\x03\x55\x04\x03\x14\x07Root CA"),
		NotBefore:  noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(50, 0, 0),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:     x509.KeyUsageCRLSign | x509.KeyUsageCertSign,
		SubjectKeyId: []byte("key identifier 20 oc"),
	}
	for _, change := range edit {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	authority, err := sign.NewAuthority(sign.Config{Certificate: certificate, Signer: key, Algorithm: a.signature})
	require.NoError(t, err)
	return ca{authority, key}
}

// openssl and certtool run the tools and return what they printed.
func openssl(t *testing.T, args ...string) string {
	t.Helper()
	return tool(t, "openssl", "openssl", args)
}

func certtool(t *testing.T, args ...string) string {
	t.Helper()
	return tool(t, "certtool", "gnutls-bin", args)
}

func tool(t *testing.T, name, debian string, args []string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install the Debian package %s", name, debian)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// file writes DER as PEM for a tool and returns its path.
func file(t *testing.T, kind string, der []byte) string { return pemFile(t, kind, der) }

// pemFile writes DER as PEM and returns its path.
func pemFile(t testing.TB, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}

// serial returns a serial number with the given octets.
func serial(octets ...byte) cert.Serial { return cert.Serial(octets) }

func extension(oid []int, value []byte) pkix.Extension {
	return pkix.Extension{Id: oid, Value: value}
}

// withCertificate returns the same CA under another certificate.
func withCertificate(t testing.TB, c ca, certificate *x509.Certificate) ca {
	t.Helper()
	authority, err := sign.NewAuthority(sign.Config{Certificate: certificate, Signer: c.key})
	require.NoError(t, err)
	return ca{authority, c.key}
}
