package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

// shadow mounts our engine in the place of the built-in one, for tools that ask for
// the type "pki".
func shadow(t testing.TB) string {
	t.Helper()
	require.NoError(t, vault.Register("pki", plugin))
	mount := vault.MountWith(t, &api.MountInput{Type: "pki", Config: api.MountConfigInput{MaxLeaseTTL: "43800h", DefaultLeaseTTL: "24h"}})
	info, err := vault.Client().Sys().GetMount(mount)
	require.NoError(t, err)
	require.NotContains(t, info.RunningVersion, "builtin")
	return mount
}

// healthCheck runs `vault pki health-check` and returns the results by check, each as
// "status endpoint: message".
func healthCheck(t testing.TB, mount string) map[string][]string {
	t.Helper()
	result := vault.RunCLI(t, "pki", "health-check", "-format=json", mount)
	var checks map[string][]struct{ Status, Endpoint, Message string }
	require.NoError(t, json.Unmarshal([]byte(result.Stdout), &checks), "%s%s", result.Stdout, result.Stderr)
	found := map[string][]string{}
	for name, results := range checks {
		for _, r := range results {
			endpoint := strings.TrimPrefix(strings.TrimPrefix(r.Endpoint, "/"), mount)
			found[name] = append(found[name], fmt.Sprintf("%s %s: %s", r.Status, endpoint, r.Message))
		}
	}
	return found
}

func TestCompatHealthCheck(t *testing.T) {
	mount := shadow(t)
	write(t, mount+"/issuers/generate/root/internal", fields{"common_name": "Root", "key_type": "ec", "ttl": "43800h"})
	write(t, mount+"/roles/web", fields{"allowed_domains": "example.com", "allow_subdomains": true, "allow_localhost": false, "no_store": true, "key_type": "ec"})
	write(t, mount+"/config/crl", fields{"auto_rebuild": true})
	write(t, mount+"/config/auto-tidy", fields{"enabled": true, "tidy_cert_store": true, "tidy_revoked_certs": true})
	write(t, mount+"/tidy", fields{"tidy_cert_store": true})
	found := healthCheck(t, mount)
	// ACME, which the engine does not have yet, reads as off.
	for _, name := range []string{"enable_acme_issuance", "allow_acme_headers"} {
		require.Len(t, found[name], 1, name)
		require.Contains(t, found[name][0], "not_applicable /config/acme", name)
	}
	for _, name := range []string{
		"ca_validity_period", "crl_validity_period", "role_allows_localhost", "role_allows_glob_wildcards",
		"enable_auto_tidy", "tidy_last_run", "role_no_store_false", "audit_visibility", "allow_if_modified_since", "too_many_certs",
	} {
		require.NotEmpty(t, found[name], name)
		for _, result := range found[name] {
			status, _, _ := strings.Cut(result, " ")
			delta := strings.Contains(result, "/crl/delta")
			require.True(t, delta || status == "ok" || status == "informational", "%s: %s", name, result)
		}
	}
}

func TestCompatHealthCheckFindsWhatIsWrong(t *testing.T) {
	mount := shadow(t)
	write(t, mount+"/issuers/generate/root/internal", fields{"common_name": "Root", "key_type": "ec", "ttl": "700h"})
	write(t, mount+"/roles/web", fields{"allowed_domains": "example.com", "allow_subdomains": true, "key_type": "ec"})
	write(t, mount+"/issue/web", fields{"common_name": "a.example.com"})
	found := healthCheck(t, mount)
	for name, want := range map[string]string{
		"ca_validity_period":    "critical",
		"root_issued_leaves":    "warning",
		"role_allows_localhost": "warning",
		"role_no_store_false":   "warning",
	} {
		require.Contains(t, strings.Join(found[name], "\n"), want+" ", name)
	}
}

func TestCompatCommandsOfThePKICLI(t *testing.T) {
	parent, child := shadow(t), shadow(t)
	write(t, parent+"/issuers/generate/root/internal", fields{"common_name": "Root", "key_type": "ec", "ttl": "43000h", "issuer_name": "root"})
	vault.CLI(t, "pki", "issue", "-issuer_name=sub", parent+"/issuer/root", child, "common_name=Sub")

	require.Equal(t, "active", read(t, child+"/issuer/sub")["state"])
	require.NotEmpty(t, read(t, child+"/issuer/sub")["key_id"])
	verified := vault.CLI(t, "pki", "verify-sign", "-format=json", parent+"/issuer/root", child+"/issuer/sub")
	var matches map[string]any
	require.NoError(t, json.Unmarshal([]byte(verified), &matches))
	for _, name := range []string{"subject_match", "path_match", "trust_match", "key_id_match", "signature_match"} {
		require.Equal(t, true, matches[name], "%s: %s", name, verified)
	}
	listed := vault.CLI(t, "pki", "list-intermediates", parent+"/issuer/root", child)
	require.Regexp(t, child+`/issuer/\S+ +true`, listed)
}

// Consul makes a role without common names and signs a request that has a URI alone.
func TestCompatConsul(t *testing.T) {
	mount := shadow(t)
	write(t, mount+"/root/generate/internal", fields{"common_name": "Root", "key_type": "ec", "uri_sans": "spiffe://11111111-2222-3333-4444-555555555555.consul"})
	write(t, mount+"/roles/leaf-cert", fields{
		"allow_any_name": true, "allowed_uri_sans": "spiffe://*", "key_type": "any", "max_ttl": "72h", "no_store": true, "require_cn": false,
	})
	request := vault.Tool(t, "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null",
		"-subj", "/", "-addext", "subjectAltName=URI:spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web")
	signed := write(t, mount+"/sign/leaf-cert", fields{"csr": request, "ttl": "1h"})
	leaf := certificateOf(t, text(t, signed, "certificate"))
	require.Len(t, leaf.URIs, 1)
	require.Empty(t, leaf.Subject.Names)
	get(t, anonymous, mount+"/cert/"+text(t, signed, "serial_number")).refused(t, http.StatusNotFound, "is not recorded")
}

// SPIRE has its intermediate signed with its trust domain as a URI.
func TestCompatSPIRE(t *testing.T) {
	mount := shadow(t)
	write(t, mount+"/root/generate/internal", fields{"common_name": "Root", "key_type": "ec", "ttl": "700h"})
	request := vault.Tool(t, "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-keyout", "/dev/null",
		"-subj", "/C=US/O=SPIFFE", "-addext", "subjectAltName=URI:spiffe://example.org")
	signed := write(t, mount+"/root/sign-intermediate", fields{
		"common_name": "", "organization": "SPIFFE", "country": "US", "uri_sans": "spiffe://example.org", "csr": request, "ttl": "10h",
	})
	ca := certificateOf(t, text(t, signed, "certificate"))
	require.True(t, ca.IsCA)
	require.Equal(t, "spiffe://example.org", ca.URIs[0].String())
	require.Equal(t, text(t, signed, "certificate"), texts(t, signed, "ca_chain")[0])
}

// step-ca takes the root from the chain of the mount.
func TestCompatStepCA(t *testing.T) {
	h := shared(t)
	chain := text(t, read(t, h.mount+"/cert/ca_chain"), "ca_chain")
	require.Contains(t, chain, strings.TrimSpace(string(contents(t, h.root))))
	require.Equal(t, 2, strings.Count(chain, "BEGIN CERTIFICATE"))
}
