package lint_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/lint"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fixture holds a CA and a key of each family.
type fixture struct {
	ca    *x509.Certificate
	caKey crypto.Signer
	keys  map[string]crypto.Signer
}

var once = sync.OnceValues(func() (*fixture, error) {
	f := &fixture{keys: map[string]crypto.Signer{}}
	var err error
	for name, spec := range map[string]cert.KeySpec{"rsa": cert.RSA2048, "ec": cert.P256, "p521": cert.P521, "ed25519": cert.Edwards25519} {
		if f.keys[name], err = cert.GenerateKey(spec); err != nil {
			return nil, err
		}
	}
	if f.caKey, err = cert.GenerateKey(cert.P256); err != nil {
		return nil, err
	}
	template := caTemplate()
	der, err := x509.CreateCertificate(rand.Reader, template, template, f.caKey.Public(), f.caKey)
	if err != nil {
		return nil, err
	}
	f.ca, err = x509.ParseCertificate(der)
	return f, err
})

func fixtures(t testing.TB) *fixture {
	t.Helper()
	f, err := once()
	require.NoError(t, err)
	return f
}

func serial() *big.Int { return new(big.Int).Lsh(big.NewInt(0x7f), 150) }

func caTemplate() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Corp Root", Organization: []string{"Corp"}, Country: []string{"DE"}},
		NotBefore: start, NotAfter: start.AddDate(10, 0, 0), BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func leafTemplate() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "web.example.com"}, DNSNames: []string{"web.example.com"},
		NotBefore: start, NotAfter: start.AddDate(0, 0, 45), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, SubjectKeyId: []byte{1, 2, 3},
		CRLDistributionPoints: []string{"http://pki.example.com/crl"}, IssuingCertificateURL: []string{"http://pki.example.com/ca"},
		OCSPServer: []string{"http://pki.example.com/ocsp"},
	}
}

// sign makes the certificate under the CA, for a key of the fixture.
func (f *fixture) sign(t testing.TB, template *x509.Certificate, key string) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, f.ca, f.keys[key].Public(), f.caKey)
	require.NoError(t, err)
	drafted, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return drafted
}

func names(findings []lint.Finding) []string {
	var list []string
	for _, found := range findings {
		list = append(list, found.Rule)
	}
	return list
}

func ext(value []byte, arcs ...int) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier(arcs), Value: value}
}

type edit func(*x509.Certificate)

func TestGoodCertificatesHaveNoFindings(t *testing.T) {
	f := fixtures(t)
	uri := func(text string) edit {
		return func(c *x509.Certificate) {
			parsed, err := url.Parse(text)
			require.NoError(t, err)
			c.URIs, c.DNSNames, c.Subject = []*url.URL{parsed}, nil, pkix.Name{}
			san, err := cert.MarshalSAN(cert.Names{URI: c.URIs}, true)
			require.NoError(t, err)
			c.URIs, c.ExtraExtensions = nil, append(c.ExtraExtensions, san)
		}
	}
	for name, test := range map[string]struct {
		key    string
		change edit
	}{
		"RSA": {"rsa", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }}, "EC": {"ec", nil}, "P-521": {"p521", nil}, "Ed25519": {"ed25519", nil},
		"single label": {"ec", func(c *x509.Certificate) {
			c.DNSNames = []string{"localhost", "*.corp.internal"}
			c.Subject = pkix.Name{CommonName: "localhost"}
		}},
		"IP":                              {"ec", func(c *x509.Certificate) { c.IPAddresses = []net.IP{{10, 0, 0, 1}} }},
		"SPIFFE":                          {"ec", uri("spiffe://cluster.local/ns/a/sa/b")},
		"SPIFFE with a bare trust domain": {"ec", uri("spiffe://prod/ns/a")},
		"URN":                             {"ec", uri("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6")},
		"UPN": {"ec", func(c *x509.Certificate) {
			san, err := cert.MarshalSAN(cert.Names{Other: []cert.OtherName{{OID: "1.3.6.1.4.1.311.20.2.3", Value: "a@corp"}}}, false)
			require.NoError(t, err)
			c.DNSNames, c.ExtraExtensions = nil, []pkix.Extension{san}
			c.ExtKeyUsage, c.UnknownExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 311, 20, 2, 2}}
		}},
		"long":           {"ec", func(c *x509.Certificate) { c.NotAfter = start.AddDate(10, 0, 0) }},
		"long past 2050": {"ec", func(c *x509.Certificate) { c.NotAfter = start.AddDate(30, 0, 0) }},
		"OCSP responder": {"ec", func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
			c.DNSNames, c.CRLDistributionPoints, c.OCSPServer = nil, nil, nil
			c.ExtraExtensions = []pkix.Extension{ext(asn1.NullBytes, 1, 3, 6, 1, 5, 5, 7, 48, 1, 5)}
		}},
		"short-lived": {"ec", func(c *x509.Certificate) {
			c.CRLDistributionPoints, c.OCSPServer = nil, nil
			c.ExtraExtensions = []pkix.Extension{ext(asn1.NullBytes, 2, 5, 29, 56)}
		}},
		"S/MIME encryption": {"rsa", func(c *x509.Certificate) {
			c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageKeyEncipherment, []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
			c.DNSNames, c.EmailAddresses, c.Subject = nil, []string{"a@example.com"}, pkix.Name{CommonName: "Alice"}
		}},
		"sub-CA": {"ec", func(c *x509.Certificate) {
			*c = *caTemplate()
			c.Subject.CommonName, c.MaxPathLenZero, c.SubjectKeyId = "Issuing", true, []byte{1}
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.com"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			template := leafTemplate()
			if test.change != nil {
				test.change(template)
			}
			findings, err := lint.Certificate(f.sign(t, template, test.key), f.ca, lint.Policy{})
			require.NoError(t, err)
			require.Empty(t, findings)
		})
	}
	findings, err := lint.Certificate(f.ca, f.ca, lint.Policy{})
	require.NoError(t, err)
	require.Empty(t, findings)
}
