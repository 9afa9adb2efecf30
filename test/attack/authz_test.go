package attack_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

// public reports whether Vault lets requests without a token through to a path.
func public(m *pathstest.Mount, path string) bool {
	for _, pattern := range m.Backend().SpecialPaths().Unauthenticated {
		prefix, open := strings.CutSuffix(pattern, "*")
		want, have := strings.Split(prefix, "/"), strings.Split(path, "/")
		if !open && len(want) != len(have) || len(have) < len(want) {
			continue
		}
		matches := true
		for at, part := range want {
			last := open && at == len(want)-1
			matches = matches && (part == "+" || part == have[at] || last && strings.HasPrefix(have[at], part))
		}
		if matches {
			return true
		}
	}
	return false
}

func TestAuthz1_PublicPathsCannotBeWritten(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		storage := m.Count(t)
		withRoot(t, m)
		leaf := open(t, m, "web", body{"common_name": "a.example.com"})
		tried := 0
		paths := []string{"ocsp/MAo=", "cert/" + serialOf(leaf), "cert/crl/raw/pem", "issuer/default/crl/pem", "cert/ca/raw"}
		for _, d := range described(t, m) {
			paths = append(paths, d.path("root"), d.path("default"))
		}
		for _, path := range paths {
			if !public(m, path) {
				continue
			}
			m.Read(t, path, nil)
			storage.Settle(t)
			storage.Reset()
			for _, operation := range []logical.Operation{
				logical.CreateOperation, logical.UpdateOperation, logical.PatchOperation, logical.DeleteOperation,
			} {
				for _, data := range []map[string]any{nil, {"usage": "read-only"}, {"certificate": "x"}, {"issuer_ref": "root"}} {
					answer := m.Do(t, operation, path, data)
					require.Contains(t, []int{http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotFound}, answer.Status, "%s %s", operation, path)
					tried++
				}
			}
			m.List(t, path, nil)
			require.Zero(t, storage.Total(), path)
		}
		require.Greater(t, tried, 200)
		for _, path := range []string{"crl/rotate", "certs/", "issuer/root", "issuer/root/issue/web", "issuer/root/revoke", "hsm/x", "config/ca", "revoke"} {
			require.False(t, public(m, path), path)
		}
	})
}

// What is shown without a token is what a certificate shows anyway.
func TestAuthz1_PublicPathsShowNoSettings(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	leaf := open(t, m, "web", body{"common_name": "a.example.com", "owner": "someone", "metadata": body{"a": "b"}})
	shown := []string{
		"certificate", "ca_chain", "issuer_id", "issuer_name", "serial_number", "crl", "authority_key_id",
		"revocation_time", "revocation_time_rfc3339", "revocation_reason",
		"state", "not_after", "key_sha256", // which the certificate and its CRL say
	}
	paths := []string{"cert/" + serialOf(leaf)}
	for _, d := range described(t, m) {
		paths = append(paths, d.path("root"))
	}
	for _, path := range paths {
		if answer := m.Read(t, path, nil); public(m, path) && answer.ContentType == "" {
			for name := range answer.Data {
				require.Contains(t, shown, name, path)
			}
		}
	}
}

func TestAuthz2_OneObjectHasOneName(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		m.Write(t, "profiles/short", body{"preset": "tls-server"}).Expect(http.StatusOK)
		m.Write(t, "keys/generate/internal", body{"key_name": "spare", "key_type": "ec"}).Expect(http.StatusOK)
		before := issued(t, m)
		for _, role := range []string{
			"Web", "WEB", "web/", "/web", "./web", "a/../web", "web ", " web", "web\x00", "web%00", "%77eb", "ｗｅｂ", "web.", "web\n", "web?x", "we\u200bb", "wéb",
		} {
			for _, path := range []string{"issue/" + role, "issuer/root/issue/" + role, "issuer/ROOT/issue/web", "issuer/root./issue/web", "issuer/./root/issue/web"} {
				answer := m.Write(t, path, body{"common_name": "a.example.com"})
				require.NotEqual(t, http.StatusOK, answer.Status, "%q", path)
			}
			for _, path := range []string{"roles/" + role, "profiles/" + strings.ReplaceAll(role, "web", "short")} {
				if strings.Trim(path, "/") == "roles/web" || path == "roles//web" {
					continue
				}
				require.NotEqual(t, http.StatusOK, m.Read(t, path, nil).Status, "%q", path)
				require.NotEqual(t, http.StatusOK, m.Patch(t, path, body{"max_ttl": "1h"}).Status, "%q", path)
			}
		}
		require.Equal(t, before, issued(t, m))
		// No second object whose name reads the same.
		for path, data := range map[string]body{
			"roles/WEB": webRole, "profiles/Short": {"preset": "tls-server"}, "issuer/ROOT": {"issuer_name": "x"},
			"keys/generate/internal": {"key_name": "Spare", "key_type": "ec"}, "root/generate/internal": {"issuer_name": "Root", "common_name": "x", "key_type": "ec"},
			"intermediate/generate/internal": {"issuer_name": "rOOT", "common_name": "x", "key_type": "ec"},
		} {
			require.GreaterOrEqual(t, m.Write(t, path, data).Status, 400, path)
		}
		other := m.Write(t, "root/generate/internal", body{"issuer_name": "other", "common_name": "x", "key_type": "ec"}).Expect(http.StatusOK)
		id := m.Read(t, "issuer/root", nil).Text("issuer_id")
		for _, name := range []string{"ROOT", "root", id, strings.ToUpper(id), "default", "self", "a..b", "../x", "-x", "x-", strings.Repeat("x", 129), "r oot"} {
			answer := m.Patch(t, "issuer/other", body{"issuer_name": name})
			require.Equal(t, http.StatusBadRequest, answer.Status, "%q", name)
		}
		m.Patch(t, "issuer/other", body{"issuer_name": other.Text("issuer_id")}) // its own id leads nowhere else
		require.Equal(t, id, m.Read(t, "issuer/root", nil).Text("issuer_id"))
	})
}

// What an ACL grants by path must not be changed by the body.
func TestAuthz2_TheBodyCannotNameAnotherObject(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		subordinate(t, m, "root", "sub", body{})
		m.Write(t, "roles/admin", body{"allow_any_name": true, "key_type": "ec", "ttl": "1h"}).Expect(http.StatusOK)
		evil := body{"common_name": "evil.org", "ttl": "1h"}
		for _, more := range []body{
			{"role": "admin"}, {"name": "admin"}, {"issuer_ref": "sub"}, {"role_name": "admin"}, {"Role": "admin"}, {"issuer": "sub"},
		} {
			for _, path := range []string{"issue/web", "issuer/root/issue/web", "roles/web/simulate"} {
				answer := m.Write(t, path, evil.with(more))
				require.Equal(t, http.StatusBadRequest, answer.Status, "%s %v", path, more)
			}
			batch := m.Write(t, "sign/web/batch", body{"requests": []any{map[string]any(more.with(body{"csr": csrFor(t, "evil.org")}))}})
			if _, named := more["issuer_ref"]; named { // a field of each request, which refuses that one
				row, ok := batch.Expect(http.StatusOK).Data["responses"].([]any)[0].(map[string]any)
				require.True(t, ok)
				require.EqualValues(t, http.StatusBadRequest, row["error_status"])
				require.NotContains(t, row, "certificate")
			} else {
				require.Equal(t, http.StatusBadRequest, batch.Status, "%v", more)
			}
			require.Equal(t, http.StatusBadRequest, m.Write(t, "sign/web/batch", more.with(body{"requests": []any{}})).Status)
		}
		m.Write(t, "roles/web", webRole.with(body{"name": "admin"})).Expect(http.StatusBadRequest)
		m.Write(t, "issuer/root", body{"issuer_ref": "sub"}).Expect(http.StatusBadRequest)
		m.Write(t, "hsm/a", body{"name": "b"}).Expect(http.StatusBadRequest)
		m.Write(t, "keys/generate/internal", body{"exported": "exported", "key_type": "ec"}).Expect(http.StatusBadRequest)
		m.Write(t, "root/generate/internal", body{"exported": "existing", "key_ref": "default", "common_name": "x"}).Expect(http.StatusBadRequest)
	})
}

func TestAuthz2_VersionsOfProfilesHaveOneSpelling(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "profiles/web", body{"preset": "tls-server"}).Expect(http.StatusOK)
	m.Write(t, "roles/pinned", body{"profile": "web@1", "allowed_domains": "example.com"}).Expect(http.StatusOK)
	for _, ref := range []string{
		"web@0", "web@-1", "web@2", "web@999999999999", "web@99999999999999999999", "web@", "@1", "web@1@1", "web@1 ", " web@1", "web@01", "web@+1",
		"web@1.0", "web@0x1", "WEB@1", "web@one", "web/../web", "web\x00@1", "tls-server@1", "tls-server@0", "none", strings.Repeat("w", 5000),
	} {
		answer := m.Write(t, "roles/odd", body{"profile": ref, "allowed_domains": "example.com"})
		require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, answer.Status, "%q", ref)
		require.NotEqual(t, http.StatusOK, m.Write(t, "intermediate/generate/internal", body{"common_name": "x", "key_type": "ec", "profile": ref}).Status, "%q", ref)
	}
	for _, version := range []string{"0", "-1", "2", "01", "999999999999", "1e0", "", "x"} {
		require.NotEqual(t, http.StatusOK, m.Read(t, "profiles/web/versions/"+version, nil).Status, "%q", version)
	}
	for _, after := range []string{"9223372036854775807", "-9223372036854775808", "99999999999999999999"} {
		answer := m.List(t, "profiles/web/versions/", body{"after": after})
		require.Less(t, answer.Status, 500, after)
		require.NotContains(t, answer.Data, "key_info")
	}
	require.Len(t, m.List(t, "keys/", nil).Texts("keys"), 1, "what was refused left no key")
}

func TestAuthz3_NobodyUnlistedGetsThroughAnyDoor(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		m.Write(t, "roles/closed", webRole.with(body{"allowed_entities": "entity-1", "allowed_groups": "admins"})).Expect(http.StatusOK)
		m.System.EntityVal = &logical.Entity{ID: "entity-2", Name: "entity-1"}
		m.System.GroupsVal = []*logical.Group{{ID: "g1", Name: "Admins"}, {ID: "g2", Name: "admins2"}}
		for _, who := range []*pathstest.Mount{m, m.As("", "root"), m.As("entity-2", "entity-1"), m.As("Entity-1", ""), m.As("entity-1 ", ""), m.As("admins", "admins")} {
			shut(t, who, "closed", body{"common_name": "a.example.com"}, "allowed_entities")
			shut(t, who, "closed", body{"csr": csrFor(t, "a.example.com")}, "allowed_entities")
			shut(t, who, "closed", body{"common_name": "evil.org"}, "allowed_entities") // before anything is said of names
		}
		open(t, m.As("entity-1", ""), "closed", body{"common_name": "a.example.com"})
		for _, list := range []any{"*", "entity-1,*", []string{"*"}, []string{" "}} {
			for _, field := range []string{"allowed_entities", "allowed_groups"} {
				answer := m.Write(t, "roles/odd", webRole.with(body{field: list}))
				require.Equal(t, http.StatusBadRequest, answer.Status, "%s=%q", field, list)
			}
		}
	})
}

func TestHSM3_NoWayToLoadAnotherLibrary(t *testing.T) {
	k := token.New(t, "issuing")
	m := pathstest.InProcess(t)
	folder := t.TempDir()
	evil := filepath.Join(folder, "evil.so")
	require.NoError(t, os.WriteFile(evil, []byte("\x7fELF"), 0o755))
	named := filepath.Join(folder, "libsofthsm2.so")
	require.NoError(t, os.Symlink(evil, named))
	for _, module := range []string{
		"/tmp/evil.so", evil, named, filepath.Dir(k.Module) + "/../../.." + evil, k.Module + "/../" + filepath.Base(evil), filepath.Base(k.Module),
		"./" + filepath.Base(k.Module), k.Module + "\x00" + evil, "file://" + k.Module, k.Module + ".bak", "", " " + k.Module, k.Module + ":" + evil,
		strings.ToUpper(k.Module), filepath.Dir(k.Module), "/proc/self/exe", "/dev/null",
	} {
		answer := m.Write(t, "hsm/main", body{"module": module, "token_label": "issuing", "pin": k.PIN})
		require.Contains(t, []int{http.StatusBadRequest, http.StatusForbidden}, answer.Status, "%q: %v", module, answer.Data)
	}
	m.List(t, "hsm/", nil).Expect(http.StatusNotFound)
	m.Write(t, "hsm/main", body{"module": k.Module, "token_label": "issuing", "pin": k.PIN}).Expect(http.StatusOK)
	for _, module := range []string{evil, named} {
		require.NotEqual(t, http.StatusOK, m.Patch(t, "hsm/main", body{"module": module}).Status)
	}
	require.Equal(t, k.Module, m.Read(t, "hsm/main", nil).Text("module"))
}
