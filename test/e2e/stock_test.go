package e2e_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The paths whose help Vault's web UI reads before it shows a mount of type pki. It gives
// up on the whole mount when one is missing.
var uiHelp = []string{
	"config/acme", "config/cluster", "config/crl", "config/urls", "config/auto-tidy", "tidy",
	"roles/example", "issue/example", "sign/example", "keys/generate/internal", "key/example",
	"issuers/generate/root/internal", "issuers/generate/intermediate/internal", "issuers/import/bundle", "issuer/example",
}

func TestCompatHelpThatTheWebUIReads(t *testing.T) {
	builtin, ours := engines(t)
	for _, path := range uiHelp {
		for _, mount := range []string{builtin, ours} {
			a := get(t, rootClient, mount+"/"+path+"?help=1")
			require.Equal(t, http.StatusOK, a.Status, "%s/%s", mount, path)
			var help struct {
				OpenAPI struct{ Paths map[string]fields } `json:"openapi"`
			}
			a.decode(t, &help)
			require.NotEmpty(t, help.OpenAPI.Paths, "%s/%s", mount, path)
			if mount == ours {
				requireBodies(t, path, help.OpenAPI.Paths)
			}
		}
	}
}

// requireBodies expects each request body of these paths to say which fields it has.
func requireBodies(t testing.TB, where string, paths map[string]fields) int {
	t.Helper()
	bodies := 0
	for path, item := range paths {
		for method, operation := range item {
			described, ok := operation.(fields)
			if !ok || described["requestBody"] == nil {
				continue
			}
			content := described["requestBody"].(fields)["content"].(fields)
			schema := content["application/json"].(fields)["schema"].(fields)
			require.NotEmpty(t, schema["properties"], "%s: %s %s: %v", where, method, path, schema)
			bodies++
		}
	}
	return bodies
}

func TestCompatACMEReadsAsOff(t *testing.T) {
	builtin, ours := engines(t)
	require.Equal(t, read(t, builtin+"/config/acme"), read(t, ours+"/config/acme"))
	write(t, ours+"/config/acme", fields{"enabled": false, "allowed_roles": "*", "max_ttl": "2160h"})
	post(t, rootClient, ours+"/config/acme", fields{"enabled": true}).refused(t, http.StatusBadRequest, "no ACME server")
	post(t, rootClient, ours+"/config/acme", fields{"eab_policy": "always-required"}).refused(t, http.StatusBadRequest, "eab_policy")
}

// The vault command's pki commands do on both engines what they do on the built-in one.
func TestCompatStockCommands(t *testing.T) {
	builtin, ours := engines(t)
	for _, mount := range []string{builtin, ours} {
		// The root expires before the mount's default lifetime is over: a CA that is signed
		// without a ttl takes the root's end.
		write(t, mount+"/root/generate/internal", fields{"common_name": "Root", "key_type": "ec", "ttl": "700h", "issuer_name": "root"})
		root := mount + "/issuer/root"
		vault.CLI(t, "pki", "issue", "-issuer_name=sub", root, mount, "common_name=Sub", "key_type=ec")
		vault.CLI(t, "pki", "reissue", "-issuer_name=again", root, mount+"/issuer/sub", mount, "key_type=ec")
		listed := vault.CLI(t, "pki", "list-intermediates", root, mount)
		require.Len(t, regexp.MustCompile(mount+`/issuer/\S+ +true`).FindAllString(listed, -1), 3, listed)
		for _, issuer := range []string{"sub", "again"} {
			var matches map[string]any
			verified := vault.CLI(t, "pki", "verify-sign", "-format=json", root, mount+"/issuer/"+issuer)
			require.NoError(t, json.Unmarshal([]byte(verified), &matches))
			for _, name := range []string{"subject_match", "path_match", "trust_match", "key_id_match", "signature_match"} {
				require.Equal(t, true, matches[name], "%s %s: %s", mount, name, verified)
			}
		}
		sub, again := read(t, mount+"/issuer/sub"), read(t, mount+"/issuer/again")
		require.NotEqual(t, sub["key_id"], again["key_id"], mount)
		require.Equal(t, certificateOf(t, text(t, sub, "certificate")).Subject.String(), certificateOf(t, text(t, again, "certificate")).Subject.String(), mount)
	}
}

// A fresh mount has the health of a fresh mount of the built-in engine.
func TestCompatHealthOfAFreshMount(t *testing.T) {
	builtin, ours := engines(t)
	statuses := map[string]map[string]string{}
	for _, mount := range []string{builtin, ours} {
		write(t, mount+"/root/generate/internal", fields{"common_name": "Root", "key_type": "ec", "ttl": "43800h"})
		statuses[mount] = map[string]string{}
		for name, results := range healthCheck(t, mount) {
			for _, result := range results {
				status, _, _ := strings.Cut(result, " ")
				if name == "root_issued_leaves" && strings.Contains(result, "directly issued non-CA") {
					status = "ok" // the delegated OCSP responder's certificate, see docs/divergences.md
				}
				if statuses[mount][name] != "critical" {
					statuses[mount][name] = status
				}
			}
		}
	}
	require.Equal(t, statuses[builtin], statuses[ours])
}

// Tools that read every issuer of a mount pass over one that waits for its certificate.
func TestCompatPendingIssuersDoNotDisturb(t *testing.T) {
	mount := shadow(t)
	write(t, mount+"/root/generate/internal", fields{"common_name": "Root", "key_type": "ec", "ttl": "43800h", "issuer_name": "root"})
	before := healthCheck(t, mount)
	write(t, mount+"/issuers/generate/intermediate/internal", fields{"common_name": "Sub", "key_type": "ec", "issuer_name": "sub"})
	require.Contains(t, vault.RunCLI(t, "list", mount+"/issuers").Stderr, "Pending")
	after := healthCheck(t, mount)
	for name, results := range before {
		require.Len(t, after[name], len(results), "%s: %v", name, after[name])
	}
	listed := vault.CLI(t, "pki", "list-intermediates", mount+"/issuer/root", mount)
	require.Regexp(t, mount+`/issuer/\S+ +true`, listed)
}
