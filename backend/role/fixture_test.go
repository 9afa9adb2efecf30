package role_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

var now = time.Date(2026, 11, 2, 10, 30, 0, 0, time.UTC)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// issuer is a CA certificate; nothing here needs its key.
var issuer = sync.OnceValue(func() *x509.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Issuer"},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(40, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))))
})

var p256 = sync.OnceValue(func() crypto.PublicKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).Public() })

// entity is an identity whose metadata is the map.
func entity(metadata map[string]string) role.Identity {
	return role.Identity{
		EntityID: "e-1",
		Groups:   []string{"g-1", "web team"},
		Expand: func(template string) (string, error) {
			key, ok := strings.CutPrefix(template, "{{identity.entity.metadata.")
			value, found := metadata[strings.TrimSuffix(key, "}}")]
			if !ok || !found {
				return "", errors.New("no such value")
			}
			return value, nil
		},
	}
}

// csr is what cert.ParseCSR returns for a request with these names.
func csr(subject pkix.Name, names cert.Names) *cert.Request {
	der := must(asn1Name(subject))
	subject.Names = der.Names
	return &cert.Request{CertificateRequest: &x509.CertificateRequest{Subject: subject, PublicKey: p256()}, Names: names}
}

// asn1Name reads a name back, so that Names is filled as in a parsed CSR.
func asn1Name(subject pkix.Name) (pkix.Name, error) {
	var read pkix.Name
	rdns := subject.ToRDNSequence()
	read.FillFromRDNSequence(&rdns)
	return read, nil
}

func compile(t *testing.T, change func(*role.Config)) *role.Role {
	t.Helper()
	config := role.DefaultConfig()
	change(&config)
	r, err := role.New("web", config, nil, "")
	require.NoError(t, err)
	return r
}

// bind compiles a role on a profile.
func bind(t *testing.T, base profile.Config, change func(*role.Config)) *role.Role {
	t.Helper()
	r, err := newBound(base, change)
	require.NoError(t, err)
	return r
}

func newBound(base profile.Config, change func(*role.Config)) (*role.Role, error) {
	config := role.DefaultConfigFor("web", base)
	change(&config)
	return role.New("web", config, &base, "web@3")
}

func preset(t testing.TB, name string) profile.Config {
	t.Helper()
	config, ok := profile.Preset(name)
	require.True(t, ok)
	return config
}

func ips(texts ...string) []net.IP {
	var list []net.IP
	for _, text := range texts {
		list = append(list, must(cert.ParseIP(text)))
	}
	return list
}

func uris(texts ...string) []*url.URL {
	var list []*url.URL
	for _, text := range texts {
		list = append(list, must(url.Parse(text)))
	}
	return list
}
