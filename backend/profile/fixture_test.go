package profile_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

var now = time.Date(2026, 11, 2, 10, 30, 15, 500, time.UTC)

// keys of the tests, made once.
var (
	rsaKey = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	p256   = sync.OnceValue(func() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	p384   = sync.OnceValue(func() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	ed     = sync.OnceValue(func() crypto.Signer {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return must(key, err)
	})
	ecIssuer  = sync.OnceValue(func() authority { return newAuthority(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))) })
	rsaIssuer = sync.OnceValue(func() authority { return newAuthority(must(rsa.GenerateKey(rand.Reader, 2048))) })
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// authority is a CA that signs templates with the standard library alone.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(key crypto.Signer) authority {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Issuer"},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(40, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return authority{must(x509.ParseCertificate(der)), key}
}

// sign returns the certificate that a template makes, as a relying party reads it.
func (a authority) sign(t *testing.T, made *profile.Template) *x509.Certificate {
	t.Helper()
	template := *made.Certificate
	template.SerialNumber = big.NewInt(7)
	der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, template.PublicKey, a.key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return parsed
}

// names returns a set with one name of each of the given types.
func names(types ...string) cert.Names {
	var n cert.Names
	for _, t := range types {
		switch t {
		case "dns":
			n.DNS = append(n.DNS, "web.example.com")
		case "wildcard":
			n.DNS = append(n.DNS, "*.example.com")
		case "ip":
			n.IP = append(n.IP, net.IPv4(192, 0, 2, 1).To4())
		case "email":
			n.Email = append(n.Email, "jane@example.com")
		case "uri":
			n.URI = append(n.URI, must(url.Parse("spiffe://example.com/web")))
		case "uri2":
			n.URI = append(n.URI, must(url.Parse("https://example.com/web")))
		case "other":
			n.Other = append(n.Other, cert.OtherName{OID: "1.3.6.1.4.1.311.20.2.3", Value: "jane@example.com"})
		}
	}
	return n
}

func urls() profile.URLs {
	return profile.URLs{
		IssuingCertificates:   []string{"http://pki.example.com/ca.der"},
		CRLDistributionPoints: []string{"http://pki.example.com/crl"},
		OCSPServers:           []string{"http://ocsp.example.com"},
	}
}

// ask returns a request that the default profile grants.
func ask() profile.Ask {
	return profile.Ask{
		Names: names("dns"), PublicKey: p256().Public(), Issuer: ecIssuer().cert, URLs: urls(), TTL: time.Hour,
	}
}

func compile(t *testing.T, config profile.Config) *profile.Profile {
	t.Helper()
	p, err := profile.New("web", 3, config)
	require.NoError(t, err)
	return p
}

func preset(t *testing.T, name string) profile.Config {
	t.Helper()
	config, ok := profile.Preset(name)
	require.True(t, ok)
	return config
}
