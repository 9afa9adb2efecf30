package paths_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// withRoot makes a mount with a root and a role for names below example.com.
func withRoot(t *testing.T, m *pathstest.Mount) *x509.Certificate {
	t.Helper()
	root := m.Write(t, "root/generate/internal", map[string]any{
		"common_name": "Test Root", "key_type": "ec", "ttl": "87600h", "issuer_name": "root",
	}).Expect(http.StatusOK)
	m.Write(t, "roles/web", map[string]any{
		"allowed_domains": "example.com", "allow_subdomains": "true", "key_type": "ec", "max_ttl": "720h", "ttl": "24h",
	}).Expect(http.StatusOK)
	return parsePEM(t, root.Text("certificate"))
}

func parsePEM(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode([]byte(text))
	require.NotNil(t, block, text)
	require.Empty(t, strings.TrimSpace(string(rest)))
	parsed, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return parsed
}

// parseAll returns every certificate of a PEM bundle.
func parseAll(t *testing.T, text string) []*x509.Certificate {
	t.Helper()
	var found []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return found
		}
		if block.Type == "CERTIFICATE" {
			parsed, err := x509.ParseCertificate(block.Bytes)
			require.NoError(t, err)
			found = append(found, parsed)
		}
	}
}

func newCSR(t *testing.T, name string) (string, crypto.PublicKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
	}, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), key.Public()
}

func TestSignAnswersInTheShapeThatClientsExpect(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		csr, pub := newCSR(t, "a.example.com")
		// As cert-manager sends it: everything a string.
		answer := m.Write(t, "sign/web", map[string]any{
			"common_name": "a.example.com", "alt_names": "a.example.com", "ip_sans": "", "uri_sans": "", "ttl": "2h0m0s",
			"csr": csr, "exclude_cn_from_sans": "true",
		}).Expect(http.StatusOK)
		leaf := parsePEM(t, answer.Text("certificate"))
		require.NoError(t, leaf.CheckSignatureFrom(root))
		require.Equal(t, pub, leaf.PublicKey)
		require.Equal(t, []string{"a.example.com"}, leaf.DNSNames)
		require.Equal(t, leaf.NotAfter.Unix(), answer.Number("expiration"))
		require.Regexp(t, `^([0-9a-f]{2}:){19}[0-9a-f]{2}$`, answer.Text("serial_number"))
		require.Len(t, answer.Texts("ca_chain"), 1)
		require.True(t, root.Equal(parsePEM(t, answer.Text("issuing_ca"))))
		require.NotContains(t, answer.Data, "private_key")
		for name, value := range answer.Data {
			if text, ok := value.(string); ok && name != "certificate" && name != "issuing_ca" {
				require.NotContains(t, text, "BEGIN", "clients look for PEM in %s", name)
			}
		}
	})
}

func TestIssueRendersEveryForm(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	for form, check := range map[string]func(t *testing.T, answer pathstest.Answer){
		"pem": func(t *testing.T, answer pathstest.Answer) {
			block, _ := pem.Decode([]byte(answer.Text("private_key")))
			require.Equal(t, "EC PRIVATE KEY", block.Type)
			require.Equal(t, "ec", answer.Text("private_key_type"))
		},
		"der": func(t *testing.T, answer pathstest.Answer) {
			der, err := base64.StdEncoding.DecodeString(answer.Text("certificate"))
			require.NoError(t, err)
			_, err = x509.ParseCertificate(der)
			require.NoError(t, err)
			key, err := base64.StdEncoding.DecodeString(answer.Text("private_key"))
			require.NoError(t, err)
			_, err = x509.ParseECPrivateKey(key)
			require.NoError(t, err)
		},
		"pem_bundle": func(t *testing.T, answer pathstest.Answer) {
			require.Equal(t, 2, strings.Count(answer.Text("certificate"), "BEGIN CERTIFICATE"))
			require.Contains(t, answer.Text("certificate"), "BEGIN EC PRIVATE KEY")
		},
	} {
		t.Run(form, func(t *testing.T) {
			check(t, m.Write(t, "issue/web", map[string]any{"common_name": "b.example.com", "format": form}).Expect(http.StatusOK))
		})
	}
	answer := m.Write(t, "issue/web", map[string]any{
		"common_name": "b.example.com", "private_key_format": "pkcs8", "remove_roots_from_chain": true,
	}).Expect(http.StatusOK)
	require.Contains(t, answer.Text("private_key"), "BEGIN PRIVATE KEY")
	require.NotContains(t, answer.Data, "ca_chain", "an empty chain is absent")
}

func TestRefusalsNameTheRule(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		csr, _ := newCSR(t, "a.example.com")
		for _, who := range []*pathstest.Mount{m, m.As("entity", "someone")} {
			unknown := who.Write(t, "issue/none", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusBadRequest)
			require.Contains(t, unknown.Errors[0], "unknown role: none")
		}
		evil := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.org"})
		require.Contains(t, []int{http.StatusBadRequest, http.StatusForbidden}, evil.Status, evil.Errors)
		require.Contains(t, evil.Errors[0], "example.org")
		require.Equal(t, http.StatusBadRequest, m.Write(t, "sign/web", map[string]any{"csr": csr, "key_type": "ec"}).Status)
		require.Equal(t, http.StatusBadRequest, m.Write(t, "sign/web", map[string]any{"csr": ""}).Status)
		garbage := m.Write(t, "sign/web", map[string]any{"csr": "not a CSR: hunter2", "common_name": "a.example.com"}).Expect(http.StatusBadRequest)
		require.NotContains(t, garbage.Errors[0], "hunter2")
		require.NotContains(t, m.Log.String(), "hunter2")
	})
}

func TestFields1_AMisspelledRestrictionIsRefused(t *testing.T) {
	m := pathstest.InProcess(t)
	answer := m.Write(t, "roles/web", map[string]any{"allowed_domain": "example.com"}).Expect(http.StatusBadRequest)
	require.Equal(t, []string{"allowed_domain: is not a known field; did you mean allowed_domains?"}, answer.Errors)
	m.Read(t, "roles/web", nil).Expect(http.StatusNotFound)
}

func TestRolesReadBackAsWritten(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		written := m.Write(t, "roles/web", map[string]any{"allowed_domains": []string{"b.example", "a.example"}, "ttl": "1h"}).Expect(http.StatusOK)
		read := m.Read(t, "roles/web", nil).Expect(http.StatusOK)
		require.Equal(t, written.Data, read.Data)
		require.Equal(t, []string{"b.example", "a.example"}, read.Texts("allowed_domains"))
		require.EqualValues(t, 3600, read.Number("ttl"))
		again := m.Write(t, "roles/web", read.Data).Expect(http.StatusOK)
		require.Equal(t, read.Data, again.Data, "what was read can be written")
		patched := m.Patch(t, "roles/web", map[string]any{"max_ttl": "2h"}).Expect(http.StatusOK)
		require.EqualValues(t, 7200, patched.Number("max_ttl"))
		require.EqualValues(t, 3600, patched.Number("ttl"))
		require.Equal(t, http.StatusConflict, m.Write(t, "roles/Web", nil).Status)
		require.Equal(t, []string{"web"}, m.List(t, "roles/", nil).Texts("keys"))
		m.Delete(t, "roles/web").Expect(http.StatusNoContent)
		m.Read(t, "roles/web", nil).Expect(http.StatusNotFound)
		m.List(t, "roles/", nil).Expect(http.StatusNotFound)
	})
}

func TestProfilesHaveVersions(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		first := m.Write(t, "profiles/web", map[string]any{"preset": "tls-server"}).Expect(http.StatusOK)
		require.EqualValues(t, 1, first.Number("version"))
		same := m.Write(t, "profiles/web", map[string]any{"preset": "tls-server"}).Expect(http.StatusOK)
		require.EqualValues(t, 1, same.Number("version"), "writing the same makes no version")
		second := m.Patch(t, "profiles/web", map[string]any{"max_ttl": "720h", "default_ttl": "240h"}).Expect(http.StatusOK)
		require.EqualValues(t, 2, second.Number("version"))
		require.Equal(t, []string{"1", "2"}, m.List(t, "profiles/web/versions/", nil).Texts("keys"))
		require.Equal(t, []string{"2"}, m.List(t, "profiles/web/versions/", map[string]any{"after": "1"}).Texts("keys"))
		old := m.Read(t, "profiles/web/versions/1", nil).Expect(http.StatusOK)
		require.Equal(t, first.Data, old.Data)
		diff := m.Read(t, "profiles/web/diff", map[string]any{"from": "1"}).Expect(http.StatusOK)
		require.Contains(t, diff.Data["changes"], "max_ttl")
		require.NotContains(t, diff.Data["changes"], "preset")
		require.Contains(t, m.List(t, "presets/", nil).Texts("keys"), "tls-server")
		m.Read(t, "presets/tls-server", nil).Expect(http.StatusOK)
		m.Read(t, "presets/none", nil).Expect(http.StatusNotFound)
		m.Write(t, "roles/web", map[string]any{"profile": "web", "allowed_domains": "example.com", "allow_subdomains": true}).Expect(http.StatusOK)
		m.Delete(t, "profiles/web").Expect(http.StatusConflict)
		simulated := m.Write(t, "roles/web/simulate", map[string]any{"common_name": "x.example.com"})
		require.Equal(t, http.StatusNotFound, simulated.Status, "there is no issuer: %v", simulated.Errors)
	})
}

func TestSimulateSignsNothing(t *testing.T) {
	m := pathstest.InProcess(t)
	root := withRoot(t, m)
	answer := m.Write(t, "roles/web/simulate", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
	der, err := base64.StdEncoding.DecodeString(answer.Text("draft"))
	require.NoError(t, err)
	draft, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.Error(t, draft.CheckSignatureFrom(root))
	require.Equal(t, []string{"a.example.com"}, answer.Texts("dns_names"))
	require.Equal(t, "ec-256", answer.Text("key_algorithm"))
}

func TestBatchAnswersEachRequest(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		good, _ := newCSR(t, "a.example.com")
		bad, _ := newCSR(t, "a.example.org")
		answer := m.Write(t, "sign/web/batch", map[string]any{"requests": []any{
			map[string]any{"csr": good}, map[string]any{"csr": bad}, map[string]any{"csr": good, "not_after": "tomorrow"}, map[string]any{},
		}}).Expect(http.StatusOK)
		rows, ok := answer.Data["responses"].([]any)
		require.True(t, ok)
		require.Len(t, rows, 4)
		first := rows[0].(map[string]any)
		require.NotContains(t, first, "error")
		parsePEM(t, first["certificate"].(string))
		for i, row := range rows[1:] {
			require.NotEmpty(t, row.(map[string]any)["error"], i)
			require.NotContains(t, row, "certificate")
		}
		require.Contains(t, rows[2].(map[string]any)["error"], "not_after")
		m.Read(t, "cert/"+first["serial_number"].(string), nil).Expect(http.StatusOK)
	})
}

func TestWithoutACAThePublicPathsAreEmpty(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		for _, path := range []string{"ca", "ca/pem", "ca_chain", "crl", "crl/pem"} {
			answer := m.Read(t, path, nil).Expect(http.StatusNoContent)
			require.Empty(t, answer.Body, path)
		}
		for _, path := range []string{"cert/ca", "cert/ca_chain", "cert/crl", "cert/01:02"} {
			m.Read(t, path, nil).Expect(http.StatusNotFound)
		}
		missing := m.Read(t, "issuer/none/pem", nil).Expect(http.StatusInternalServerError)
		require.Contains(t, missing.Errors[0], "unable to find PKI issuer for reference: none")
		m.List(t, "issuers/", nil).Expect(http.StatusNotFound)
		malformed := m.Read(t, "ocsp/!!!", nil).Expect(http.StatusOK)
		_, err := ocsp.ParseResponse(malformed.Body, nil)
		require.ErrorContains(t, err, "malformed")
	})
}

func TestAnIntermediateComesBackSigned(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		pending := m.Write(t, "intermediate/generate/internal", map[string]any{
			"common_name": "Test Issuing CA", "key_type": "ec", "issuer_name": "issuing",
		}).Expect(http.StatusOK)
		require.Equal(t, "pending", pending.Text("state"))
		signed := m.Write(t, "root/sign-intermediate", map[string]any{
			"csr": pending.Text("csr"), "common_name": "Test Issuing CA", "ttl": "43800h", "max_path_length": 0,
		}).Expect(http.StatusOK)
		ca := parsePEM(t, signed.Text("certificate"))
		require.NoError(t, ca.CheckSignatureFrom(root))
		require.True(t, ca.MaxPathLenZero)
		require.Equal(t, signed.Text("certificate"), signed.Texts("ca_chain")[0], "the new certificate comes first")

		back := m.Write(t, "intermediate/set-signed", map[string]any{
			"certificate": strings.Join(signed.Texts("ca_chain"), "\n"),
		}).Expect(http.StatusOK)
		require.Equal(t, []string{pending.Text("issuer_id")}, back.Texts("imported_issuers"))
		mapping, ok := back.Data["mapping"].(map[string]any)
		require.True(t, ok)
		require.Equal(t, pending.Text("key_id"), mapping[pending.Text("issuer_id")])

		issued := m.Write(t, "issuer/issuing/issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
		require.NoError(t, parsePEM(t, issued.Text("certificate")).CheckSignatureFrom(ca))
		require.Len(t, issued.Texts("ca_chain"), 2)

		listed := m.List(t, "issuers/", nil).Expect(http.StatusOK)
		require.Len(t, listed.Texts("keys"), 2)
		row, ok := listed.Data["key_info"].(map[string]any)[pending.Text("issuer_id")].(map[string]any)
		require.True(t, ok)
		require.Equal(t, "issuing", row["issuer_name"])
		read := m.Read(t, "issuer/issuing", nil).Expect(http.StatusOK)
		require.Equal(t, "crl-signing,issuing-certificates,ocsp-signing,read-only", read.Text("usage"))
		patched := m.Patch(t, "issuer/issuing", map[string]any{"usage": "read-only,crl-signing,ocsp-signing"}).Expect(http.StatusOK)
		require.Equal(t, "issuing", patched.Text("issuer_name"))
		require.NotEqual(t, http.StatusOK, m.Write(t, "issuer/issuing/issue/web", map[string]any{"common_name": "a.example.com"}).Status)
		m.Write(t, "config/issuers", map[string]any{"default": "issuing"}).Expect(http.StatusOK)
		require.True(t, ca.Equal(parsePEM(t, string(m.Read(t, "ca/pem", nil).Expect(http.StatusOK).Body))))
	})
}

func TestKeysAreListedAndNeverShown(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		made := m.Write(t, "keys/generate/internal", map[string]any{"key_name": "k1", "key_type": "ec", "key_bits": "384"}).Expect(http.StatusOK)
		require.NotContains(t, made.Data, "private_key")
		read := m.Read(t, "key/k1", nil).Expect(http.StatusOK)
		require.Equal(t, made.Data, read.Data)
		require.EqualValues(t, 384, read.Number("key_bits"))
		renamed := m.Write(t, "key/k1", map[string]any{"key_name": "k2"}).Expect(http.StatusOK)
		require.Equal(t, "k2", renamed.Text("key_name"))
		m.Read(t, "key/k1", nil).Expect(http.StatusNotFound)
		m.Write(t, "config/keys", map[string]any{"default": "k2"}).Expect(http.StatusOK)
		listed := m.List(t, "keys/", nil).Expect(http.StatusOK)
		require.Equal(t, []string{made.Text("key_id")}, listed.Texts("keys"))
		require.Equal(t, map[string]any{made.Text("key_id"): map[string]any{"key_name": "k2", "is_default": true}}, listed.Data["key_info"])
		require.Equal(t, made.Text("key_id"), m.Read(t, "key/default", nil).Expect(http.StatusOK).Text("key_id"))

		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		imported := m.Write(t, "keys/import", map[string]any{"pem_bundle": text, "key_name": "mine"}).Expect(http.StatusOK)
		again := m.Write(t, "keys/import", map[string]any{"pem_bundle": text}).Expect(http.StatusOK)
		require.Equal(t, imported.Text("key_id"), again.Text("key_id"))
		require.NotEmpty(t, again.Warnings)
		m.Delete(t, "key/mine").Expect(http.StatusNoContent)
		m.Read(t, "key/mine", nil).Expect(http.StatusNotFound)
	})
}

func TestConfigurationReadsBackWithEveryDefault(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		settings := m.Read(t, "config/crl", nil).Expect(http.StatusOK)
		require.Equal(t, "72h", settings.Text("expiry"))
		require.Equal(t, false, settings.Data["disable"])
		changed := m.Write(t, "config/crl", map[string]any{"expiry": "96h"}).Expect(http.StatusOK)
		require.Equal(t, "96h", changed.Text("expiry"))
		require.Equal(t, "12h", changed.Text("ocsp_expiry"))
		require.Equal(t, changed.Data, m.Read(t, "config/crl", nil).Expect(http.StatusOK).Data)

		urls := map[string]any{"crl_distribution_points": "http://pki.example.com/crl"}
		m.Write(t, "config/urls", urls).Expect(http.StatusOK)
		read := m.Write(t, "config/urls", map[string]any{"ocsp_servers": []string{"http://pki.example.com/ocsp"}}).Expect(http.StatusOK)
		require.Equal(t, []string{"http://pki.example.com/crl"}, read.Texts("crl_distribution_points"), "a write keeps what it does not give")
		require.Empty(t, read.Texts("issuing_certificates"))
		m.Write(t, "config/cluster", map[string]any{"path": "https://vault.example.com/v1/pki"}).Expect(http.StatusOK)
		require.Equal(t, "https://vault.example.com/v1/pki", m.Read(t, "config/cluster", nil).Text("path"))
	})
}

func TestAuthz3_GroupsAreAskedOfVaultAndDenyByDefault(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Patch(t, "roles/web", map[string]any{"allowed_groups": "web-admins"}).Expect(http.StatusOK)
	m.System.EntityVal = &logical.Entity{ID: "entity-1", Name: "alice"}
	ask := map[string]any{"common_name": "a.example.com"}
	m.Write(t, "issue/web", ask).Expect(http.StatusForbidden)
	m.As("entity-1", "alice").Write(t, "issue/web", ask).Expect(http.StatusForbidden)
	m.System.GroupsVal = []*logical.Group{{ID: "group-1", Name: "web-admins"}}
	m.As("entity-1", "alice").Write(t, "issue/web", ask).Expect(http.StatusOK)
	m.Write(t, "issue/web", ask).Expect(http.StatusForbidden)
}

func TestARestartForgetsNothing(t *testing.T) {
	m := pathstest.InProcess(t)
	root := withRoot(t, m)
	issued := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
	before := m.Read(t, "crl", nil).Expect(http.StatusOK).Body
	m.Restart(t)
	require.Equal(t, issued.Text("certificate"), m.Read(t, "cert/"+issued.Text("serial_number"), nil).Expect(http.StatusOK).Text("certificate"))
	again := m.Write(t, "issue/web", map[string]any{"common_name": "b.example.com"}).Expect(http.StatusOK)
	require.NoError(t, parsePEM(t, again.Text("certificate")).CheckSignatureFrom(root))
	require.Equal(t, before, m.Read(t, "crl", nil).Expect(http.StatusOK).Body)
}
