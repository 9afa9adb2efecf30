package attack_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

func parsedPEM(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	require.NotNil(t, block)
	parsed, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return parsed
}

// TestSelfIssued_ANewRootUnderTheOldOne: clients that trust the old root accept what is
// below the new one.
func TestSelfIssued_ANewRootUnderTheOldOne(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		next := pathstest.InProcess(t)
		old, root := rootNamed(t, m, "old", map[string]any{"ttl": "50000h"}), rootNamed(t, next, "next", nil)
		m.Write(t, "config/urls", map[string]any{"crl_distribution_points": "http://old.example.com/crl"}).OK()
		answer := m.Write(t, "root/sign-self-issued", map[string]any{"certificate": root}).OK()
		crossed, given, above := parsedPEM(t, answer.Text("certificate")), parsedPEM(t, root), parsedPEM(t, old)
		require.Equal(t, old, answer.Text("issuing_ca"))
		require.Equal(t, given.RawSubject, crossed.RawSubject)
		require.Equal(t, above.RawSubject, crossed.RawIssuer)
		require.Equal(t, given.SubjectKeyId, crossed.SubjectKeyId)
		require.Equal(t, above.SubjectKeyId, crossed.AuthorityKeyId)
		require.Equal(t, given.KeyUsage, crossed.KeyUsage)
		require.Equal(t, []string{"http://old.example.com/crl"}, crossed.CRLDistributionPoints)
		require.False(t, crossed.NotAfter.After(above.NotAfter))
		require.Contains(t, answer.Warnings[0], "expires with its issuer")
		read := m.Read(t, "cert/"+answer.Text("serial_number"), nil).OK()
		require.Equal(t, answer.Text("certificate"), read.Text("certificate"), "the ledger has it")

		next.Write(t, "roles/w", map[string]any{"allow_any_name": true, "key_type": "ec"}).OK()
		leaf := parsedPEM(t, next.Write(t, "issue/w", map[string]any{"common_name": "a.example.com"}).OK().Text("certificate"))
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(above)
		between.AddCert(crossed)
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		require.NoError(t, err)
	})
}

func TestCA2_SelfIssuedIsHeldToTheChain(t *testing.T) {
	m, next := pathstest.InProcess(t), pathstest.InProcess(t)
	rootNamed(t, m, "narrow", map[string]any{"permitted_dns_domains": "example.com", "max_path_length": 0})
	root := rootNamed(t, next, "next", nil)
	rsa := rootNamed(t, next, "rsa", map[string]any{"key_type": "rsa"})
	m.Write(t, "root/sign-self-issued", map[string]any{"certificate": root}).Expect(400)
	wide := pathstest.InProcess(t)
	old := rootNamed(t, wide, "wide", nil)
	sub := subordinateOf(t, next, "next", pendingCSR(t, wide, "sub"), "sub")
	for what, data := range map[string]map[string]any{
		"not self-issued":  {"certificate": sub},
		"its own":          {"certificate": old},
		"two certificates": {"certificate": root + "\n" + rsa},
		"another type":     {"certificate": rsa, "require_matching_certificate_algorithms": true},
		"a leaf":           {"certificate": selfSignedLeaf(t)},
		"nothing":          {"certificate": "x"},
	} {
		answer := wide.Write(t, "root/sign-self-issued", data)
		require.Contains(t, []int{400, 409}, answer.Status, "%s: %v", what, answer.Data)
	}
	wide.Write(t, "root/sign-self-issued", map[string]any{"certificate": rsa}).OK()
	m.Patch(t, "issuer/narrow", map[string]any{"usage": "read-only"}).OK()
	m.Write(t, "root/sign-self-issued", map[string]any{"certificate": root}).Expect(403)
}

func selfSignedLeaf(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "leaf"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestSubordinateWithAURIAlone: a CSR without a subject, as Consul sends it, takes the
// common name of the request.
func TestSubordinateWithAURIAlone(t *testing.T) {
	m := pathstest.InProcess(t)
	rootNamed(t, m, "root", nil)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	domain, err := url.Parse("spiffe://11111111-2222-3333-4444-555555555555.consul")
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{domain}}, key)
	require.NoError(t, err)
	csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	signed := m.Write(t, "root/sign-intermediate", map[string]any{"csr": csr, "use_csr_values": true, "common_name": "Consul CA", "ttl": "100h"}).OK()
	made := parsedPEM(t, signed.Text("certificate"))
	require.Equal(t, "Consul CA", made.Subject.CommonName)
	require.Equal(t, domain.String(), made.URIs[0].String())
}
