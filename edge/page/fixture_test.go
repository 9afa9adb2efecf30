package page_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/edge/page"
)

// now is when all of these tests take place.
var now = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

// source is a repository that stays as it is.
type source page.Repository

func (s source) Repository() page.Repository { return page.Repository(s) }

type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// newAuthority makes a CA certificate: a root when above is nil.
func newAuthority(t testing.TB, name string, key crypto.Signer, above *authority) authority {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Example Bank AG"}, Country: []string{"CH"}},
		NotBefore:             now.AddDate(-1, 0, 0),
		NotAfter:              now.AddDate(9, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	parent, signer := template, key
	if above != nil {
		parent, signer = above.certificate, above.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{parsed, key}
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func rsaKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

// bank is a repository as a bank would have it: a root, a CA for servers whose list
// is in eight parts, and one for people.
func bank(t testing.TB) page.Repository {
	t.Helper()
	root := newAuthority(t, "Example Bank Root CA 2025", rsaKey(t), nil)
	servers := newAuthority(t, "Example Bank Server CA 3", ecKey(t), &root)
	people := newAuthority(t, "Example Bank People CA 1", ecKey(t), &root)
	complete := page.List{Kind: "complete", Number: "29617890123", ThisUpdate: now.Add(-2 * time.Hour), NextUpdate: now.Add(94 * time.Hour), Size: 1_283_004}
	delta := page.List{Kind: "delta", Number: "29617890187", ThisUpdate: now.Add(-10 * time.Minute), NextUpdate: now.Add(24 * time.Hour), Size: 2_117}
	server := page.Issuer{ID: "0f2a9c4e-7a61-4f7b-9d5c-1a2b3c4d5e6f", Name: "servers", Certificate: servers.certificate, OCSP: true, Signs: true, Lists: []page.List{complete, delta}}
	for i := range 8 {
		shard := complete
		shard.Kind, shard.Shard, shard.Size = "shard", fmt.Sprintf("8-%d", i), 160_000+i
		server.Lists = append(server.Lists, shard)
	}
	small := complete
	small.Size, small.NextUpdate = 812, now.Add(80*24*time.Hour)
	return page.Repository{
		Organization: "Example Bank",
		BaseURL:      "http://pki.example.com",
		Issuers: []page.Issuer{
			{ID: "7d1e2f3a-0000-4b1c-8d2e-3f4a5b6c7d8e", Name: "people", Certificate: people.certificate, OCSP: true, Signs: true, Lists: []page.List{complete}},
			server,
			{ID: "c0ffee00-1234-4321-8888-0123456789ab", Name: "root", Certificate: root.certificate, Lists: []page.List{small}},
		},
		Documents: []page.Document{
			{Title: "Certification Practice Statement, version 2.1", URL: "https://www.example.com/pki/cps-2.1.pdf"},
			{Title: "Certificate Policy for servers, version 1.4", URL: "https://www.example.com/pki/cp-servers-1.4.pdf"},
		},
		Synchronized:   now.Add(-time.Second),
		StalenessLimit: 24 * time.Hour,
		Now:            now,
	}
}
