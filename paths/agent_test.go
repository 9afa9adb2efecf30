package paths_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// agentPEMs is how pkiCert of Vault Agent and consul-template reads an answer: every
// PEM block in any text at the top level and in ca_chain, in the order of a map. The
// last certificate that is no CA is the certificate, the last key the key.
type agentPEMs struct {
	key, leaf string
	cas       []string
	others    int // blocks that make it fail
	leaves    map[string]bool
}

func readAsAgent(t *testing.T, answer pathstest.Answer) agentPEMs {
	t.Helper()
	var texts []string
	for name, value := range answer.Data {
		switch value := value.(type) {
		case string:
			texts = append(texts, value)
		case []any:
			if name == "ca_chain" {
				texts = append(texts, answer.Texts(name)...)
			}
		}
	}
	found := agentPEMs{leaves: map[string]bool{}}
	for _, text := range texts {
		for rest := []byte(text); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			encoded := string(pem.EncodeToMemory(block))
			switch parsed, err := x509.ParseCertificate(block.Bytes); {
			case strings.HasSuffix(block.Type, "PRIVATE KEY"):
				found.key = encoded
			case err != nil:
				found.others++
			case parsed.IsCA:
				found.cas = append(found.cas, encoded)
			default:
				found.leaf = encoded
				found.leaves[encoded] = true
			}
		}
	}
	return found
}

func TestAgentFindsOneCertificateWithItsKey(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root, issuing := withIssuing(t, m)
		for name, body := range map[string]map[string]any{
			"plain":         {"common_name": "a.example.com", "ttl": "24h"},
			"bundle":        {"common_name": "a.example.com", "format": "pem_bundle"},
			"pkcs8":         {"common_name": "a.example.com", "private_key_format": "pkcs8"},
			"pem":           {"common_name": "a.example.com", "private_key_format": "pem"},
			"rsa":           {"common_name": "a.example.com", "alt_names": "b.example.com,c.example.com"},
			"without roots": {"common_name": "a.example.com", "remove_roots_from_chain": "true"},
		} {
			role := "web"
			if name == "rsa" {
				role = "rsa"
				m.Write(t, "roles/rsa", map[string]any{"allowed_domains": "example.com", "allow_subdomains": true}).Expect(http.StatusOK)
			}
			answer := m.Write(t, "issue/"+role, body).Expect(http.StatusOK)
			found := readAsAgent(t, answer)
			require.Zero(t, found.others, name)
			require.Len(t, found.leaves, 1, "%s: a second certificate would replace the first", name)
			pair, err := tls.X509KeyPair([]byte(found.leaf), []byte(found.key))
			require.NoError(t, err, name)
			leaf, err := x509.ParseCertificate(pair.Certificate[0])
			require.NoError(t, err)
			require.NoError(t, leaf.CheckSignatureFrom(issuing), name)
			roots, between := x509.NewCertPool(), x509.NewCertPool()
			roots.AddCert(root)
			for _, ca := range found.cas {
				between.AppendCertsFromPEM([]byte(ca))
			}
			_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: "a.example.com"})
			require.NoError(t, err, name)
		}
	})
}

// TestAgentReadsTheExpirationAsANumber: consul-template asserts the type and panics on
// any other.
func TestAgentReadsTheExpirationAsANumber(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		answer := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
		encoded, err := json.Marshal(answer.Response.Data["expiration"])
		require.NoError(t, err)
		require.Regexp(t, `^[0-9]{10}$`, string(encoded))
		require.Nil(t, answer.Response.Secret, "a lease only where the role asks for one")
		for name, kind := range map[string]any{
			"certificate": "", "issuing_ca": "", "private_key": "", "private_key_type": "", "serial_number": "",
			"ca_chain": []any{}, "expiration": 0.0,
		} {
			require.IsType(t, kind, answer.Data[name], name)
		}
	})
}

// Clients such as consul-template renew by the lease: it is the time that is left, not
// the certificate's length, which begins in the past.
func TestLeasesLastAsLongAsTheCertificateDoes(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		m.Write(t, "roles/leased", map[string]any{
			"allow_any_name": true, "key_type": "ec", "ttl": "60s", "generate_lease": true, "not_before_duration": "5m",
		}).Expect(http.StatusOK)
		csr, _ := newCSR(t, "a.example.com")
		for path, ask := range map[string]map[string]any{
			"issue/leased":             {"common_name": "a.example.com"},
			"sign/leased":              {"common_name": "a.example.com", "csr": csr},
			"issuer/root/issue/leased": {"common_name": "a.example.com"},
			"issuer/root/sign/leased":  {"common_name": "a.example.com", "csr": csr},
		} {
			answer := m.Write(t, path, ask).Expect(http.StatusOK)
			require.LessOrEqual(t, answer.Response.Secret.TTL, time.Minute, path)
			require.Greater(t, answer.Response.Secret.TTL, 50*time.Second, path)
			require.Zero(t, answer.Response.Secret.TTL%time.Second, path)
		}
	})
}
