package attack_test

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// rootNamed makes a root in the mount and returns its certificate.
func rootNamed(t *testing.T, m *pathstest.Mount, name string, fields map[string]any) string {
	t.Helper()
	data := map[string]any{"common_name": name, "key_type": "ec", "ttl": "80000h", "issuer_name": name}
	for key, value := range fields {
		data[key] = value
	}
	return m.Write(t, "root/generate/internal", data).OK().Text("certificate")
}

// pendingCSR makes a pending issuer and returns its request.
func pendingCSR(t *testing.T, m *pathstest.Mount, name string) string {
	t.Helper()
	return m.Write(t, "issuers/generate/intermediate/internal", map[string]any{"common_name": name, "key_type": "ec", "issuer_name": name}).OK().Text("csr")
}

func subordinateOf(t *testing.T, m *pathstest.Mount, issuer, csr, name string) string {
	t.Helper()
	return m.Write(t, "issuer/"+issuer+"/sign-intermediate", map[string]any{"csr": csr, "common_name": name, "ttl": "40000h"}).OK().Text("certificate")
}

// TestCA3_UnrelatedCertificatesByEveryDoor: what is not above the CA that a bundle
// brings is refused by each path that takes bundles.
func TestCA3_UnrelatedCertificatesByEveryDoor(t *testing.T) {
	outside, m := pathstest.InProcess(t), pathstest.InProcess(t)
	root, stranger := rootNamed(t, outside, "root", nil), rootNamed(t, outside, "stranger", nil)
	signed := subordinateOf(t, outside, "root", pendingCSR(t, m, "issuing"), "issuing")
	for path, field := range map[string]string{
		"intermediate/set-signed": "certificate", "issuers/import/cert": "pem_bundle", "issuers/import/bundle": "pem_bundle", "config/ca": "pem_bundle",
	} {
		answer := m.Write(t, path, map[string]any{field: signed + "\n" + root + "\n" + stranger})
		answer.Expect(400)
		require.Contains(t, answer.Errors[0], field, path)
		require.Contains(t, answer.Errors[0], "CN=stranger", path)
	}
	require.Empty(t, m.List(t, "issuers", nil).Data["keys"])
	answer := m.Write(t, "intermediate/set-signed", map[string]any{"certificate": signed}).OK()
	require.Len(t, answer.Warnings, 1)
	require.Contains(t, answer.Warnings[0], "incomplete")
	m.Write(t, "issuers/import/cert", map[string]any{"pem_bundle": root + "\n" + stranger}).OK()
}

// TestManualChainOfTwoTrustPaths is the way to change a root: both roots signed the
// issuing CA, and clients get both paths.
func TestManualChainOfTwoTrustPaths(t *testing.T) {
	outside, m := pathstest.InProcess(t), pathstest.InProcess(t)
	a, b := rootNamed(t, outside, "ra", nil), rootNamed(t, outside, "rb", nil)
	csr := pendingCSR(t, m, "int-a")
	m.Write(t, "intermediate/set-signed", map[string]any{"certificate": subordinateOf(t, outside, "ra", csr, "int") + "\n" + a}).OK()
	crossed := m.Write(t, "issuers/import/cert", map[string]any{"pem_bundle": subordinateOf(t, outside, "rb", csr, "int") + "\n" + b}).OK()
	for id := range crossed.Data["mapping"].(map[string]any) {
		name := "rb"
		if crossed.Data["mapping"].(map[string]any)[id] != "" {
			name = "int-b"
		}
		m.Patch(t, "issuer/"+id, map[string]any{"issuer_name": name}).OK()
	}
	ra := ""
	for _, id := range m.List(t, "issuers", nil).Texts("keys") {
		if m.Read(t, "issuer/"+id, nil).Text("certificate") == a {
			ra = id
		}
	}
	m.Write(t, "roles/w", map[string]any{"allow_any_name": true, "key_type": "ec", "issuer_ref": "int-a"}).OK()
	require.Len(t, m.Write(t, "issue/w", map[string]any{"common_name": "a.example.com"}).OK().Texts("ca_chain"), 2)
	m.Patch(t, "issuer/int-a", map[string]any{"manual_chain": []any{"self", ra, "int-b", "rb"}}).OK()
	require.Len(t, m.Write(t, "issue/w", map[string]any{"common_name": "a.example.com"}).OK().Texts("ca_chain"), 4)
	sub := m.Write(t, "issuer/int-a/sign-intermediate", map[string]any{"csr": pendingCSR(t, outside, "sub"), "common_name": "Sub", "ttl": "100h"}).OK()
	require.Len(t, sub.Texts("ca_chain"), 5)
}

// TestAnIssuersNameStays: URLs in live certificates have it.
func TestAnIssuersNameStays(t *testing.T) {
	m := pathstest.InProcess(t)
	rootNamed(t, m, "root", nil)
	require.Equal(t, "root", m.Write(t, "issuer/root", map[string]any{"leaf_not_after_behavior": "truncate"}).OK().Text("issuer_name"))
	require.Equal(t, "err", m.Write(t, "issuer/root", map[string]any{}).OK().Text("leaf_not_after_behavior"), "the rest is replaced")
	require.Equal(t, "next", m.Write(t, "issuer/root", map[string]any{"issuer_name": "next"}).OK().Text("issuer_name"))
	require.Empty(t, m.Patch(t, "issuer/next", map[string]any{"issuer_name": ""}).OK().Text("issuer_name"))
}

// pkcs7 packs certificates as AD CS returns a chain (RFC 2315 section 9.1).
func pkcs7(t *testing.T, certs ...*x509.Certificate) []byte {
	t.Helper()
	var b cryptobyte.Builder
	inner := func(tag cbasn1.Tag, fill func(*cryptobyte.Builder)) func(*cryptobyte.Builder) {
		return func(b *cryptobyte.Builder) { b.AddASN1(tag, fill) }
	}
	none := func(*cryptobyte.Builder) {}
	outer := cbasn1.Tag(0).ContextSpecific().Constructed()
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2})
		b.AddASN1(outer, inner(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(1)
			b.AddASN1(cbasn1.SET, none)
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1})
			})
			b.AddASN1(outer, func(b *cryptobyte.Builder) {
				for _, c := range certs {
					b.AddBytes(c.Raw)
				}
			})
			b.AddASN1(cbasn1.SET, none)
		}))
	})
	der, err := b.Bytes()
	require.NoError(t, err)
	return der
}

// TestSetSignedTakesWhatCAsReturn: a chain in PKCS#7, and what is no certificate is
// named with the field that was given.
func TestSetSignedTakesWhatCAsReturn(t *testing.T) {
	outside, m := pathstest.InProcess(t), pathstest.InProcess(t)
	root := rootNamed(t, outside, "root", nil)
	csr := pendingCSR(t, m, "issuing")
	signed := subordinateOf(t, outside, "root", csr, "issuing")
	chain := pkcs7(t, parsedPEM(t, signed), parsedPEM(t, root))
	for text, value := range map[string]string{
		"certificate: is a certificate request (CSR)":               csr,
		"certificate: is a file name: did you mean certificate=@ca": "ca.pem",
		"certificate: is UTF-16":                                    "\ufffd\ufffd-\x00-\x00-\x00-\x00",
	} {
		require.Contains(t, m.Write(t, "intermediate/set-signed", map[string]any{"certificate": value}).Expect(400).Errors[0], text)
	}
	m.Write(t, "intermediate/set-signed", map[string]any{"certificate": base64.StdEncoding.EncodeToString(chain)}).OK()
	armoured := "\ufeff" + string(pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: chain}))
	for path, field := range map[string]string{"issuers/import/cert": "pem_bundle", "issuers/import/bundle": "pem_bundle", "config/ca": "pem_bundle", "intermediate/set-signed": "certificate"} {
		require.Len(t, m.Write(t, path, map[string]any{field: armoured}).OK().Texts("existing_issuers"), 2, path)
	}
}

// TestCA2_ThreeTiersWhereTheyAreAskedFor: an issuing CA whose path length leaves room
// signs CAs below it.
func TestCA2_ThreeTiersWhereTheyAreAskedFor(t *testing.T) {
	outside, m := pathstest.InProcess(t), pathstest.InProcess(t)
	root := rootNamed(t, outside, "root", map[string]any{"max_path_length": 2})
	signed := outside.Write(t, "root/sign-intermediate", map[string]any{
		"csr": pendingCSR(t, m, "policy"), "common_name": "Policy", "ttl": "40000h", "max_path_length": 1,
	}).OK().Text("certificate")
	m.Write(t, "intermediate/set-signed", map[string]any{"certificate": signed + "\n" + root}).OK()
	below := pathstest.InProcess(t)
	issuing := m.Write(t, "issuer/policy/sign-intermediate", map[string]any{"csr": pendingCSR(t, below, "issuing"), "common_name": "Issuing", "ttl": "30000h"}).OK()
	below.Write(t, "intermediate/set-signed", map[string]any{"certificate": issuing.Text("certificate") + "\n" + signed + "\n" + root}).OK()
	below.Write(t, "roles/w", map[string]any{"allow_any_name": true, "key_type": "ec"}).OK()
	require.Len(t, below.Write(t, "issue/w", map[string]any{"common_name": "a.example.com"}).OK().Texts("ca_chain"), 3)
	below.Write(t, "root/sign-intermediate", map[string]any{"csr": pendingCSR(t, outside, "fourth"), "common_name": "Fourth", "ttl": "100h"}).Expect(400)
}
