package paths_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

// merger is a path whose writes merge: two changes of different fields, each with two
// values as they read back, so that each round changes both. The second is sent with what
// is in with.
type merger struct {
	path string
	a, b map[string][2]any
	with map[string]any
}

// mergers has an entry for each path with PATCH and more than one field, by pattern. The
// test fails for a path that is not here.
func mergers(k *token.Token) map[string]merger {
	number := func(field string, a, b int) map[string][2]any {
		return map[string][2]any{field: {float64(a), float64(b)}}
	}
	flag := func(field string) map[string][2]any { return map[string][2]any{field: {true, false}} }
	text := func(field, a, b string) map[string][2]any { return map[string][2]any{field: {a, b}} }
	named := `(?P<name>[^/]+)`
	return map[string]merger{
		"roles/" + named:      {path: "roles/web", a: flag("allow_any_name"), b: number("ttl", 7200, 3600)},
		"profiles/" + named:   {path: "profiles/web", a: text("description", "one", "two"), b: number("default_ttl", 7200, 3600)},
		"publishers/" + named: {path: "publishers/web", a: map[string][2]any{"publish": {[]any{"complete"}, []any{"certificate"}}}, b: text("url", "http://a.example/{{issuer_id}}", "http://b.example/{{issuer_id}}")},
		"hsm/" + named: {
			path: "hsm/main", a: number("max_sessions", 5, 6),
			b:    map[string][2]any{"token_label": {"", "issuing"}, "token_serial": {k.Serial, ""}},
			with: map[string]any{"pin": k.PIN},
		},
		"issuer/(?P<issuer_ref>[^/]+)": {
			path: "issuer/root", a: text("leaf_not_after_behavior", "truncate", "err"), b: flag("enable_aia_url_templating"),
		},
		"config/urls":      {path: "config/urls", a: flag("enable_templating"), b: map[string][2]any{"ocsp_servers": {[]any{"http://a.example"}, []any{"http://b.example"}}}},
		"config/cluster":   {path: "config/cluster", a: text("path", "https://a.example", "https://b.example"), b: text("aia_path", "http://a.example", "http://b.example")},
		"config/issuers":   {path: "config/issuers", a: flag("default_follows_latest_issuer"), b: map[string][2]any{"default": {"", ""}}},
		"config/crl":       {path: "config/crl", a: text("expiry", "70h", "71h"), b: text("ocsp_expiry", "10h", "11h")},
		"config/ocsp":      {path: "config/ocsp", a: flag("nonce"), b: flag("allow_ca_direct")},
		"config/edge":      {path: "config/edge", a: text("organization", "A", "B"), b: number("staleness_limit", 7200, 3600)},
		"config/keypool":   {path: "config/keypool", a: number("rsa_2048", 3, 4), b: number("rsa_3072", 5, 6)},
		"config/auto-tidy": {path: "config/auto-tidy", a: flag("tidy_cert_store"), b: flag("tidy_revoked_certs")},
	}
}

// bodyFields lists the fields of a path that a body carries, aliases left out.
func bodyFields(p *framework.Path) []string {
	var names []string
	inPath := strings.Join(captured(p), " ")
	for name, field := range p.Fields {
		if !strings.Contains(inPath, name) && !field.Deprecated && name != "force" { // of a deletion
			names = append(names, name)
		}
	}
	return names
}

// raceMount makes a mount that has one object of each kind.
func raceMount(t *testing.T, k *token.Token) (*pathstest.Mount, *pathstest.Interposed) {
	t.Helper()
	m := pathstest.InProcess(t)
	interposed := m.Interpose(t)
	withRoot(t, m)
	m.Write(t, "root/generate/internal", map[string]any{"common_name": "Second", "key_type": "ec", "ttl": "87600h", "issuer_name": "second"}).Expect(http.StatusOK)
	m.Write(t, "profiles/web", map[string]any{"preset": "tls-server"}).Expect(http.StatusOK)
	m.Write(t, "publishers/web", map[string]any{"type": "http-put", "url": "http://a.example/{{issuer_id}}", "publish": "complete"}).Expect(http.StatusOK)
	m.Write(t, "hsm/main", map[string]any{"module": k.Module, "token_label": "issuing", "pin": k.PIN}).Expect(http.StatusOK)
	m.Write(t, "keys/generate/internal", map[string]any{"key_type": "ec", "key_name": "spare"}).Expect(http.StatusOK)
	return m, interposed
}

// interruption is how long a write waits for the one that was started in its middle. It
// is over at once when nothing holds the other back, and that is the bug.
const interruption = 50 * time.Millisecond

// inTheMiddle starts second just before the first write that first makes, and waits for
// both.
func inTheMiddle(interposed *pathstest.Interposed, first, second func()) {
	done := make(chan struct{})
	interposed.Before(func() {
		go func() {
			defer close(done)
			second()
		}()
		select {
		case <-done:
		case <-time.After(interruption):
		}
	})
	first()
	<-done
}

// body is one of the two changes in a round.
func body(fields map[string][2]any, with map[string]any, round int) map[string]any {
	given := maps.Clone(with)
	if given == nil {
		given = map[string]any{}
	}
	for name, values := range fields {
		given[name] = values[round%2]
	}
	return given
}

// TestRace1_NoAcknowledgedChangeIsLost changes two fields of one record at a time, on
// every path that merges: once in the middle of the other's write, and thirty times side
// by side.
func TestRace1_NoAcknowledgedChangeIsLost(t *testing.T) {
	k := token.New(t, "issuing")
	m, interposed := raceMount(t, k)
	table := mergers(k)
	first, second := m.Read(t, "issuer/root", nil).Text("issuer_id"), m.Read(t, "issuer/second", nil).Text("issuer_id")
	table["config/issuers"].b["default"] = [2]any{first, second}
	merging := 0
	for _, p := range all(t) {
		if p.Operations[logical.PatchOperation] == nil || len(bodyFields(p)) < 2 {
			continue
		}
		r, known := table[p.Pattern]
		require.True(t, known, "%s merges and is not in the table of this test", p.Pattern)
		merging++
		t.Run(strings.ReplaceAll(r.path, "/", " "), func(t *testing.T) {
			operation := logical.Operation(logical.PatchOperation)
			if strings.HasPrefix(p.Pattern, "config/") {
				operation = logical.UpdateOperation // a POST merges there as well
			}
			for round := range 31 {
				a, b := body(r.a, nil, round), body(r.b, r.with, round)
				one := func() { m.Patch(t, r.path, a).OK() }
				other := func() { m.Do(t, operation, r.path, b).OK() }
				if round == 0 {
					inTheMiddle(interposed, one, other)
				} else {
					sideBySide(one, other)
				}
				found := m.Read(t, r.path, nil).OK().Data
				for _, fields := range []map[string][2]any{r.a, r.b} {
					for name, values := range fields {
						require.EqualValues(t, values[round%2], found[name], "round %d: acknowledged and lost: %s", round, name)
					}
				}
			}
		})
	}
	require.Equal(t, len(table), merging, "paths of the table that are no more")
}

func sideBySide(requests ...func()) {
	var running sync.WaitGroup
	for _, request := range requests {
		running.Go(request)
	}
	running.Wait()
}

// TestRace1_AChangeDoesNotBringBackWhatIsDeleted lets each DELETE race a PATCH of the
// same object, each in the middle of the other.
func TestRace1_AChangeDoesNotBringBackWhatIsDeleted(t *testing.T) {
	k := token.New(t, "issuing")
	table := mergers(k)
	table["key/(?P<key_ref>[^/]+)"] = merger{path: "key/spare", a: map[string][2]any{"key_name": {"renamed", "spare"}}}
	for _, p := range all(t) {
		if p.Operations[logical.PatchOperation] == nil || p.Operations[logical.DeleteOperation] == nil {
			continue
		}
		r, known := table[p.Pattern]
		require.True(t, known, "%s merges and is not in the table of this test", p.Pattern)
		for round, order := range []string{"deleted in the middle of a change", "changed in the middle of a deletion"} {
			t.Run(fmt.Sprintf("%s is %s", r.path, order), func(t *testing.T) {
				m, interposed := raceMount(t, k)
				path := r.path
				if id := m.Read(t, path, nil).OK().Data; strings.HasPrefix(path, "key/") {
					path = "key/" + id["key_id"].(string)
				}
				if strings.HasPrefix(path, "issuer/") {
					path = "issuer/" + external(t, m)
				}
				remove := func() { m.Delete(t, path).OK() }
				change := func() { m.Patch(t, path, body(r.a, nil, 0)) } // acknowledged or 404, as it happens
				if round == 0 {
					inTheMiddle(interposed, change, remove)
				} else {
					inTheMiddle(interposed, remove, change)
				}
				require.GreaterOrEqual(t, m.Read(t, path, nil).Status, http.StatusBadRequest, "it came back")
				m.Restart(t)
				require.GreaterOrEqual(t, m.Read(t, path, nil).Status, http.StatusBadRequest, "it came back after a restart")
			})
		}
	}
}

// external imports a CA certificate without its key, which nothing here depends on, and
// returns the issuer's id.
func external(t *testing.T, m *pathstest.Mount) string {
	t.Helper()
	elsewhere := pathstest.InProcess(t)
	root := elsewhere.Write(t, "root/generate/internal", map[string]any{"common_name": "Elsewhere", "key_type": "ec"}).Expect(http.StatusOK)
	return m.Write(t, "issuers/import/cert", map[string]any{"pem_bundle": root.Text("certificate")}).Expect(http.StatusOK).Texts("imported_issuers")[0]
}
