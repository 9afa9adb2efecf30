package attack_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

func TestFields1_NothingMisspelledDisappears(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		for _, c := range []struct {
			path string
			data body
		}{
			{"roles/x", body{"allowed_domain": "example.com"}},
			{"roles/x", body{"Allowed_Domains": "example.com"}},
			{"roles/x", body{"max_ttl ": "1h"}},
			{"roles/x", body{"denied_domain": "evil.org", "allow_any_name": true}},
			{"roles/x", body{"": "x"}},
			{"roles/x", body{"a.b": 1}},
			{"profiles/x", body{"preset": "tls-server", "maxttl": "1h"}},
			{"profiles/x", body{"preset": "tls_server"}},
			{"issue/web", body{"common_name": "a.example.com", "not_afer": "2030-01-01T00:00:00Z"}},
			{"issue/web", body{"CommonName": "a.example.com"}},
			{"sign/web/batch", body{"requests": []any{body{"csr": "x", "tll": "1h"}}}},
			{"sign/web/batch", body{"request": []any{}}},
			{"keys/generate/kms", body{"hsm": "a", "managed_key_name": "b"}},
			{"hsm/x", body{"modules": "/x"}},
			{"config/crl", body{"auto_rebuilt": true}},
			{"config/issuers", body{"defaults": "root"}},
			{"issuer/root", body{"usages": "read-only"}},
			{"root/sign-intermediate", body{"permitted_dns_domain": "corp", "common_name": "x", "csr": csrFor(t)}},
			{"root/sign-intermediate", body{"max_path_len": 0, "common_name": "x", "csr": csrFor(t)}},
			{"revoke", body{"serial": "01:02"}},
			{"revoke", body{"serial_number": "01:02", "reasons": "keyCompromise"}},
			{"issue/web", body{"common_name": nil}},
			{"issue/web", body{"common_name": "a.example.com", "metadata": body{"a": nil}}},
			{"sign/web/batch", body{"requests": []any{nil}}},
			{"sign/web/batch", body{"requests": nil}},
			{"sign/web/batch", body{"requests": body{}}},
			{"sign/web/batch", body{"requests": []any{[]any{}}}},
		} {
			answer := m.Write(t, c.path, c.data)
			require.Equal(t, http.StatusBadRequest, answer.Status, "%s %v: %v", c.path, c.data, answer.Data)
		}
		missing := m.Write(t, "sign/web/batch", body{"requests": []any{body{"csr": nil}}}).Expect(http.StatusOK)
		require.Contains(t, fmt.Sprint(missing.Data["responses"]), "csr: must not be empty", "null is not given")
		m.Read(t, "roles/x", nil).Expect(http.StatusNotFound)
		m.Read(t, "profiles/x", nil).Expect(http.StatusNotFound)
	})
}

// Whatever is refused leaves the storage as it was: no half of a key, an issuer or a
// certificate.
func TestRefusedRequestsLeaveNothingBehind(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "profiles/web", body{"preset": "tls-server"}).Expect(http.StatusOK)
	m.Write(t, "roles/bound", body{"profile": "web", "allowed_domains": "example.com", "allow_subdomains": true}).Expect(http.StatusOK)
	restart(t, m)
	m.Write(t, "crl/rotate", nil).Expect(http.StatusOK)
	storage := m.Count(t) // restarts
	m.Read(t, "crl", nil).Expect(http.StatusOK)
	storage.Settle(t)
	ca := body{"common_name": "Other CA", "key_type": "ec"}
	before := stored(t, m)
	for _, c := range []struct {
		path string
		data body
	}{
		{"root/generate/internal", ca.with(body{"issuer_name": "root"})},
		{"root/generate/internal", ca.with(body{"issuer_name": "default"})},
		{"root/generate/internal", ca.with(body{"ttl": "1h", "not_after": "2030-01-01T00:00:00Z"})},
		{"root/generate/internal", ca.with(body{"country": "Utopia"})},
		{"root/generate/internal", ca.with(body{"common_name": ""})},
		{"root/generate/internal", ca.with(body{"common_name": strings.Repeat("x", 65)})},
		{"root/generate/internal", ca.with(body{"permitted_dns_domains": "..."})},
		{"root/generate/internal", ca.with(body{"alt_names": "a..b"})},
		{"root/generate/internal", ca.with(body{"not_after": "1980-01-01T00:00:00Z"})},
		{"root/generate/internal", ca.with(body{"uri_sans": "x"})},
		{"root/generate/internal", ca.with(body{"key_type": "rsa", "key_bits": 1024})},
		{"root/generate/kms", ca.with(body{"hsm": "none"})},
		{"root/generate/existing", ca.with(body{"key_ref": "none"})},
		{"root/generate/internal", ca.with(body{"permitted_ip_ranges": "10.0.0.1"})},
		{"intermediate/generate/internal", ca.with(body{"issuer_name": "root"})},
		{"intermediate/generate/internal", ca.with(body{"issuer_name": "self"})},
		{"intermediate/generate/internal", ca.with(body{"profile": "web"})},
		{"intermediate/generate/internal", ca.with(body{"profile": "none"})},
		{"intermediate/generate/internal", ca.with(body{"alt_names": "a..b"})},
		{"intermediate/generate/internal", ca.with(body{"key_name": "a..b"})},
		{"root/sign-intermediate", body{"csr": csrFor(t), "common_name": "x", "not_after": "2999-01-01T00:00:00Z"}},
		{"root/sign-intermediate", body{"csr": csrFor(t), "common_name": strings.Repeat("x", 65), "ttl": "1h"}},
		{"keys/generate/internal", body{"key_type": "ec", "key_bits": 123}},
		{"keys/generate/kms", body{"hsm": "none", "key_type": "ec"}},
		{"issue/web", body{"common_name": "evil.org"}},
		{"issue/bound", body{"common_name": "a.example.com", "key_type": "ed25519"}},
		{"sign/web/batch", body{"requests": []any{body{"csr": csrFor(t, "evil.org")}}}},
		{"roles/bound", body{"profile": "web", "max_ttl": "99999h"}},
		{"profiles/web", body{"preset": "tls-server", "max_ttl": "1h", "default_ttl": "2h"}},
		{"issuer/root", body{"usage": "everything"}},
		{"issuer/root", body{"manual_chain": "none"}},
		{"config/urls", body{"ocsp_servers": "javascript:x"}},
		{"config/issuers", body{"default": "none"}},
		{"config/crl", body{"expiry": "-1h"}},
		{"revoke", body{"serial_number": "01:02"}},
	} {
		answer := m.Write(t, c.path, c.data)
		if c.path != "sign/web/batch" {
			require.GreaterOrEqual(t, answer.Status, 400, "%s %v", c.path, c.data)
			require.Less(t, answer.Status, 500, "%s %v: %v", c.path, c.data, answer.Errors)
		}
		after := stored(t, m)
		require.Equal(t, slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)), "%s %v", c.path, c.data)
		require.Equal(t, before, after, "%s %v", c.path, c.data)
	}
}

// Templates in URLs are filled in once, and only those that exist.
func TestTemplatesInURLsAreFilledInOnce(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	id := m.Read(t, "issuer/root", nil).Text("issuer_id")
	m.Write(t, "config/cluster", body{"path": "https://v/v1/{{issuer_id}}"}).Expect(http.StatusBadRequest)
	m.Write(t, "config/cluster", body{"aia_path": "http://aia/{{cluster_path}}"}).Expect(http.StatusBadRequest)
	for _, url := range []string{"http://h/{{nothing}}", "http://h/{{issuer_id", "{{cluster_path}}{{", "http://h/{{ issuer_id }}", "javascript:{{issuer_id}}"} {
		answer := m.Write(t, "config/urls", body{"enable_templating": true, "ocsp_servers": []string{url}})
		require.Equal(t, http.StatusBadRequest, answer.Status, "%q", url)
	}
	for _, url := range []string{"http://hé/", "http://h/\n", "http://user:pw@h/", "//h/", "http://", "http://h/ x", "http://h/\"", "file:///etc/passwd", "http://h/{{issuer_id}}"} {
		answer := m.Write(t, "config/urls", body{"enable_templating": false, "ocsp_servers": []string{url}})
		require.Equal(t, http.StatusBadRequest, answer.Status, "%q", url)
		require.Equal(t, http.StatusBadRequest, m.Patch(t, "issuer/root", body{"ocsp_servers": []string{url}}).Status, "%q", url)
	}
	m.Write(t, "config/cluster", body{"path": "https://v/v1/pki", "aia_path": "http://aia/pki"}).Expect(http.StatusOK)
	m.Write(t, "config/urls", body{"enable_templating": true, "ocsp_servers": []string{"{{cluster_aia_path}}/{{issuer_id}}/ocsp"}}).Expect(http.StatusOK)
	require.Equal(t, []string{"http://aia/pki/" + id + "/ocsp"}, open(t, m, "web", body{"common_name": "a.example.com"}).OCSPServer)
}

// What callers write into names and notes cannot forge lines of the log.
func TestTheLogHasOneLineForEachEvent(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	const forged = "x\n2026-01-01T00:00:00.000Z [ERROR] forged"
	m.Write(t, "issue/web", body{"common_name": "a.example.com", "owner": forged, "metadata": body{forged: forged}, "contacts": forged}).Expect(http.StatusOK)
	for _, path := range []string{"issue/" + forged, "issuer/" + forged, "cert/" + forged, "roles/" + forged, "hsm/" + forged, "key/" + forged, "ocsp/" + forged} {
		for _, operation := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation, logical.DeleteOperation} {
			m.Do(t, operation, path, body{"comment": forged})
		}
	}
	m.Write(t, "revoke", body{"serial_number": "01", "comment": forged})
	m.Write(t, "keys/generate/internal", body{"key_type": "ec", "key_name": forged})
	for line := range strings.Lines(m.Log.String()) {
		require.False(t, strings.HasPrefix(line, "2026-01-01T00:00:00.000Z"), line)
	}
}

// Where an empty list lifts a restriction, [""] must not pass for one.
func TestFields1_AnEmptyEntryOpensNothing(t *testing.T) {
	m := pathstest.InProcess(t)
	for path, fields := range map[string][]string{
		"roles/x":    {"allowed_groups", "allowed_entities", "allowed_ip_sans_cidr", "denied_domains", "metadata_required"},
		"profiles/x": {"allowed_revocation_reasons", "issuer_key_algorithms", "uri_schemes", "subject_required", "san_required_types"},
	} {
		for _, field := range fields {
			for _, value := range []any{[]string{""}, []string{"unspecified", ""}, ",", " , "} {
				refused := m.Write(t, path, map[string]any{field: value}).Expect(http.StatusBadRequest)
				require.Contains(t, refused.Errors[0], field)
			}
		}
	}
}
