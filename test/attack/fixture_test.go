package attack_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// body is the JSON of a request.
type body map[string]any

// with returns the body with further fields.
func (b body) with(more body) body {
	both := maps.Clone(more)
	if both == nil {
		both = body{}
	}
	for name, value := range b {
		if _, given := both[name]; !given {
			both[name] = value
		}
	}
	return both
}

// webRole grants names below example.com.
var webRole = body{
	"allowed_domains": "example.com", "allow_subdomains": true, "key_type": "ec", "ttl": "1h", "max_ttl": "24h",
}

// withRoot makes a software root, the default issuer, and the role web.
func withRoot(t *testing.T, m *pathstest.Mount) *x509.Certificate {
	t.Helper()
	made := m.Write(t, "root/generate/internal", body{
		"common_name": "Test Root", "key_type": "ec", "ttl": "87600h", "issuer_name": "root",
	}).Expect(http.StatusOK)
	m.Write(t, "roles/web", webRole).Expect(http.StatusOK)
	return certificate(t, made.Text("certificate"))
}

// certificate reads one certificate in PEM.
func certificate(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode([]byte(text))
	require.NotNil(t, block, text)
	require.Empty(t, strings.TrimSpace(string(rest)))
	parsed, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return parsed
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	return newKeyFor(t)
}

func newKeyFor(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// csrOf returns a request in PEM, signed by the key.
func csrOf(t *testing.T, template *x509.CertificateRequest, key crypto.Signer) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	require.NoError(t, err)
	return encode("CERTIFICATE REQUEST", der)
}

// csrFor returns a request of a new key for host names.
func csrFor(t *testing.T, names ...string) string {
	t.Helper()
	template := &x509.CertificateRequest{DNSNames: names}
	if len(names) > 0 {
		template.Subject.CommonName = names[0]
	}
	return csrOf(t, template, newKey(t))
}

// door is one way to a certificate.
type door struct {
	name string
	try  func(t *testing.T, m *pathstest.Mount, role string, ask body) pathstest.Answer
}

// doors are all ways to a certificate of a role. A body with a csr is signed, one
// without is issued.
var doors = []door{
	{"plain", func(t *testing.T, m *pathstest.Mount, role string, ask body) pathstest.Answer {
		return m.Write(t, verb(ask)+"/"+role, ask)
	}},
	{"chosen issuer", func(t *testing.T, m *pathstest.Mount, role string, ask body) pathstest.Answer {
		return m.Write(t, "issuer/default/"+verb(ask)+"/"+role, ask)
	}},
	{"simulate", func(t *testing.T, m *pathstest.Mount, role string, ask body) pathstest.Answer {
		return m.Write(t, "roles/"+role+"/simulate", ask)
	}},
}

func verb(ask body) string {
	if _, signs := ask["csr"]; signs {
		return "sign"
	}
	return "issue"
}

// inBatch asks for one certificate as a batch and returns its row.
func inBatch(t *testing.T, m *pathstest.Mount, role string, ask body) map[string]any {
	t.Helper()
	answer := m.Write(t, "sign/"+role+"/batch", body{"requests": []any{map[string]any(ask)}}).Expect(http.StatusOK)
	rows, ok := answer.Data["responses"].([]any)
	require.True(t, ok)
	require.Len(t, rows, 1)
	row, ok := rows[0].(map[string]any)
	require.True(t, ok)
	return row
}

// shut fails the test unless every door refuses the request by the caller's fault
// with words that say why, and no certificate came of it.
func shut(t *testing.T, m *pathstest.Mount, role string, ask body, why string) {
	t.Helper()
	before := issued(t, m)
	for _, d := range doors {
		answer := d.try(t, m, role, ask)
		require.Contains(t, []int{http.StatusBadRequest, http.StatusForbidden}, answer.Status, "%s: %v", d.name, answer.Errors)
		require.Contains(t, answer.Errors[0], why, d.name)
		require.Less(t, len(answer.Errors[0]), 4096, "%s: a refusal is a sentence", d.name)
	}
	if _, signs := ask["csr"]; signs {
		row := inBatch(t, m, role, ask)
		require.NotContains(t, row, "certificate")
		require.Contains(t, row["error"], why, "batch")
	}
	require.Equal(t, before, issued(t, m), "something was issued")
}

// open fails the test unless the request is granted, and returns the certificate: the
// refusals beside it are not for another reason.
func open(t *testing.T, m *pathstest.Mount, role string, ask body) *x509.Certificate {
	t.Helper()
	return certificate(t, doors[0].try(t, m, role, ask).Expect(http.StatusOK).Text("certificate"))
}

// issued counts the certificates of the mount.
func issued(t *testing.T, m *pathstest.Mount) int {
	t.Helper()
	return len(m.List(t, "certs/", nil).Texts("keys"))
}

// restart ends the engine, starts it again, and waits until it has read its ledger.
func restart(t *testing.T, m *pathstest.Mount) {
	t.Helper()
	m.Restart(t)
	loaded := func() bool { return m.List(t, "certs/", nil).Status != http.StatusServiceUnavailable }
	wait.Until(t, "the ledger is loaded", loaded)
}
