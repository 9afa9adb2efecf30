package paths_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// request is a CSR that some client makes.
type request struct {
	cn    string
	dns   []string
	uris  []string
	usage x509.KeyUsage
	ekus  []asn1.ObjectIdentifier
	basic bool // basicConstraints with CA:FALSE
}

var serverAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}

// defaultUsages is what cert-manager puts into every CSR whose Certificate names no
// usages, whatever the key is.
const defaultUsages = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment

// encode makes the CSR: subject, SAN and usages as extensions, SAN critical without
// a subject.
func (r request) encode(t *testing.T, key crypto.Signer) string {
	t.Helper()
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: r.cn}, DNSNames: r.dns}
	for _, text := range r.uris {
		uri, err := url.Parse(text)
		require.NoError(t, err)
		template.URIs = append(template.URIs, uri)
	}
	if r.usage != 0 {
		usage, err := cert.MarshalKeyUsage(r.usage)
		require.NoError(t, err)
		template.ExtraExtensions = append(template.ExtraExtensions, usage)
	}
	if len(r.ekus) > 0 {
		value, err := asn1.Marshal(r.ekus)
		require.NoError(t, err)
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: value})
	}
	if r.basic {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{
			Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0x00},
		})
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func newECKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func newRSAKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

// pemKey encodes a private key in PKCS#8.
func pemKey(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// certManagerBody is what cert-manager's Vault issuer posts: nothing but texts.
func certManagerBody(r request, csr string) map[string]any {
	return map[string]any{
		"common_name": r.cn, "alt_names": strings.Join(r.dns, ","), "ip_sans": "", "uri_sans": strings.Join(r.uris, ","),
		"ttl": "2160h0m0s", "csr": csr, "exclude_cn_from_sans": "true",
	}
}

// certManagerChain builds one chain of all certificates in the answer, as
// cert-manager does, and fails when they are not one: leaf first, no duplicates left,
// no sibling.
func certManagerChain(t *testing.T, answer pathstest.Answer) []*x509.Certificate {
	t.Helper()
	pool := []*x509.Certificate{parsePEM(t, answer.Text("certificate"))}
	for _, text := range append(answer.Texts("ca_chain"), answer.Text("issuing_ca")) {
		ca := parsePEM(t, text)
		if known := func() bool {
			for _, c := range pool {
				if c.Equal(ca) {
					return true
				}
			}
			return false
		}(); !known {
			pool = append(pool, ca)
		}
	}
	chain := pool[:1]
	for len(chain) < len(pool) {
		last := chain[len(chain)-1]
		next := pool[len(chain)]
		require.NoError(t, last.CheckSignatureFrom(next), "%s is not below %s", last.Subject, next.Subject)
		chain = pool[:len(chain)+1]
	}
	return chain
}

// withIssuing makes a root and an issuing CA below it, which becomes the default.
func withIssuing(t *testing.T, m *pathstest.Mount) (root, issuing *x509.Certificate) {
	t.Helper()
	root = withRoot(t, m)
	pending := m.Write(t, "intermediate/generate/internal", map[string]any{
		"common_name": "Test Issuing CA", "key_type": "ec", "issuer_name": "issuing",
	}).Expect(http.StatusOK)
	signed := m.Write(t, "root/sign-intermediate", map[string]any{
		"csr": pending.Text("csr"), "common_name": "Test Issuing CA", "ttl": "43800h",
	}).Expect(http.StatusOK)
	m.Write(t, "intermediate/set-signed", map[string]any{"certificate": signed.Text("certificate")}).Expect(http.StatusOK)
	m.Write(t, "config/issuers", map[string]any{"default": "issuing"}).Expect(http.StatusOK)
	return root, parsePEM(t, signed.Text("certificate"))
}

// TestCertManagerDefaults: a Certificate without usages, with either of the keys
// that cert-manager makes, is signed by roles that nobody adjusted for it.
func TestCertManagerDefaults(t *testing.T) {
	keys := map[string]crypto.Signer{"ec": newECKey(t), "rsa": newRSAKey(t)}
	requests := map[string]request{
		"common name":       {cn: "a.example.com", dns: []string{"a.example.com", "b.example.com"}, usage: defaultUsages},
		"server auth":       {cn: "a.example.com", dns: []string{"a.example.com"}, usage: defaultUsages, ekus: []asn1.ObjectIdentifier{serverAuth}},
		"basic constraints": {cn: "a.example.com", dns: []string{"a.example.com"}, usage: defaultUsages, basic: true},
		"names alone":       {dns: []string{"a.example.com"}, usage: defaultUsages},
	}
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		_, issuing := withIssuing(t, m)
		domains := map[string]any{"allowed_domains": "example.com", "allow_subdomains": "true", "max_ttl": "2160h"}
		for _, preset := range []string{"tls-server", "mtls-service"} {
			m.Write(t, "profiles/our-"+preset, map[string]any{"preset": preset}).Expect(http.StatusOK)
			role := map[string]any{"profile": "our-" + preset}
			for name, value := range domains {
				role[name] = value
			}
			m.Write(t, "roles/"+preset, role).Expect(http.StatusOK)
		}
		domains["key_type"], domains["require_cn"] = "any", "false"
		m.Write(t, "roles/built-in", domains).Expect(http.StatusOK)
		for _, role := range []string{"tls-server", "mtls-service", "built-in"} {
			for kind, key := range keys {
				for name, r := range requests {
					where := role + ", " + kind + ", " + name
					answer := m.Write(t, "sign/"+role, certManagerBody(r, r.encode(t, key)))
					require.Equal(t, http.StatusOK, answer.Status, "%s: %v", where, answer.Errors)
					chain := certManagerChain(t, answer)
					require.Len(t, chain, 3, where)
					require.True(t, chain[1].Equal(issuing), where)
					leaf := chain[0]
					require.ElementsMatch(t, r.dns, leaf.DNSNames, where)
					require.Equal(t, key.Public(), leaf.PublicKey, where)
					require.NotZero(t, leaf.KeyUsage&x509.KeyUsageDigitalSignature, where)
					require.Equal(t, kind == "rsa", leaf.KeyUsage&x509.KeyUsageKeyEncipherment != 0, where)
					require.Contains(t, leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth, where)
				}
			}
		}
	})
}

// TestCertManagerChainHasNoSibling: with a cross-signed root in the mount the answer
// is still one chain.
func TestCertManagerChainHasNoSibling(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		_, issuing := withIssuing(t, m)
		other := m.Write(t, "issuers/generate/root/internal", map[string]any{
			"common_name": "Other Root", "key_type": "ec", "ttl": "87600h", "issuer_name": "other",
		}).Expect(http.StatusOK)
		cross := m.Write(t, "intermediate/cross-sign", map[string]any{
			"common_name": "Test Issuing CA", "key_ref": m.Read(t, "issuer/issuing", nil).Text("key_id"),
		}).Expect(http.StatusOK)
		sibling := m.Write(t, "issuer/other/sign-intermediate", map[string]any{
			"csr": cross.Text("csr"), "common_name": "Test Issuing CA", "ttl": "43800h",
		}).Expect(http.StatusOK)
		m.Write(t, "intermediate/set-signed", map[string]any{"certificate": sibling.Text("certificate")}).Expect(http.StatusOK)

		r := request{cn: "a.example.com", dns: []string{"a.example.com"}, usage: defaultUsages}
		answer := m.Write(t, "sign/web", certManagerBody(r, r.encode(t, newECKey(t)))).Expect(http.StatusOK)
		chain := certManagerChain(t, answer)
		require.Len(t, chain, 3)
		require.True(t, chain[1].Equal(issuing))
		require.False(t, chain[2].Equal(parsePEM(t, other.Text("certificate"))))
	})
}
