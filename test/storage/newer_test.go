package storage_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// newer is the version that a later build has written.
const newer = 9

// raised returns a stored value as a later build would write it: JSON records name their
// version first, everything else begins with a version octet.
func raised(value []byte) []byte {
	if version, rest, found := bytes.Cut(value, []byte(",")); found && bytes.HasPrefix(version, []byte(`{"v":`)) {
		return fmt.Appendf(nil, `{"v":%d,%s`, newer, rest)
	}
	return append([]byte{newer}, value[1:]...)
}

// made are values for prefixes of which the fixture has none.
var made = map[string][]byte{
	layout.Token + "t":                      []byte(`{"v":1,"r":{"name":"t"}}`),
	layout.Dirty + strings.Repeat("07", 20): {1},
}

// unread are prefixes without a version of their own, and why.
var unread = map[string]string{
	layout.CRLBody: "the octets of a CRL: its head has the version",
	layout.Foreign: "reserved: nothing is stored there yet",
}

// question is a request that a room answers, for the prefix that it needs.
var question = map[string]string{
	layout.ConfigIssuers: "config/issuers", layout.ConfigKeys: "config/keys", layout.ConfigURLs: "config/urls",
	layout.ConfigCluster: "config/cluster", layout.ConfigCRL: "config/crl", layout.ConfigOCSP: "config/ocsp",
	layout.ConfigEdge: "config/edge", layout.ConfigKeyPool: "config/keypool", layout.ConfigAutoTidy: "config/auto-tidy",
	layout.Token: "hsm/t", layout.Key: "key/active", layout.Issuer: "issuer/active", layout.Profile: "profiles/server",
	layout.ProfileVersion: "profiles/server", layout.Role: "roles/server", layout.Page: "cert/", layout.Segment: "certs/revoked",
	layout.Dirty: "certs/revoked", layout.Fence: "certs/revoked", layout.CRLHead: "issuer/active/crl/der", layout.CRLPlaces: "issuer/active/crl/shard/0/der",
	layout.Place: "", layout.Responder: "", layout.Publisher: "publishers/files", layout.PublisherStatus: "publishers/files/status",
	layout.TidyHorizon: "", layout.TidyRun: "tidy-status", layout.BulkRun: "revoke/bulk/status",
}

// everything sends requests that make every room write.
func everything(t *testing.T, m *pathstest.Mount, said facts) (answers []pathstest.Answer) {
	t.Helper()
	add := func(a pathstest.Answer) { answers = append(answers, a) }
	write := func(path string, data body) { add(m.Write(t, path, data)) }
	for name, data := range said.Config {
		if name != "issuers" && name != "keys" {
			write("config/"+name, data)
		}
	}
	write("config/issuers", body{"default": "root"})
	write("config/keys", body{"default": "root"})
	write("hsm/t", body{"library": "/nowhere.so", "pin": "1234", "token_label": "t"})
	add(m.Delete(t, "hsm/t"))
	write("keys/generate/internal", body{"key_type": "ec"})
	write("key/spare", body{"key_name": "other"})
	add(m.Delete(t, "key/edwards"))
	write("root/generate/internal", body{"common_name": "New", "key_type": "ec"})
	add(m.Patch(t, "issuer/active", body{"leaf_not_after_behavior": "truncate"}))
	add(m.Patch(t, "issuer/retiring", body{"issuer_name": "another"}))
	write("issuer/active/retire", nil)
	write("issuer/active/activate", nil)
	write("issuers/import/cert", body{"pem_bundle": said.Deleted["certificate"]})
	add(m.Patch(t, "profiles/server", body{"min_ttl": "2s"}))
	write("profiles/new", body{"preset": "tls-server"})
	write("roles/server", body{"allowed_domains": "example.org"})
	write("roles/new", body{"allowed_domains": "example.org"})
	write("issue/builtin", body{"common_name": "new.example.com"})
	for _, c := range said.Certificates {
		if c.State == "active" && c.Issuer != "deleted" {
			write("revoke", body{"serial_number": c.Serial, "reason": "superseded"})
		}
	}
	write("revoke/bulk", body{"role": "server", "reason": "superseded"})
	write("crl/rotate", nil)
	write("crl/rotate-delta", nil)
	write("publishers/files", body{"type": "file", "path": "/other/{{issuer_id}}/{{list}}"})
	write("publishers/files/status", body{"edge": "edge-2", "items": []any{body{"issuer": "x", "list": "complete"}}})
	write("tidy", body{"tidy_cert_store": true, "tidy_revoked_certs": true, "tidy_expired_issuers": true, "safety_buffer": "1s"})
	add(m.Delete(t, "publishers/files"))
	add(m.Delete(t, "roles/brief"))
	add(m.Delete(t, "profiles/brief"))
	add(m.DeleteWith(t, "issuer/revoked", body{"force": true}))
	add(m.DeleteWith(t, "issuer/active", body{"force": true}))
	return answers
}

// TestPast1_StorageOfANewerBuildIsLeftAlone: an older build that is started on it says so
// and changes nothing that it cannot read.
func TestPast1_StorageOfANewerBuildIsLeftAlone(t *testing.T) {
	for _, row := range layout.Table {
		if unread[row.Prefix] != "" {
			continue
		}
		t.Run(strings.ReplaceAll(strings.TrimSuffix(row.Prefix, "/"), "/", "-"), func(t *testing.T) {
			t.Parallel()
			storage, said := written(t, "208c7cf")
			for key, value := range made {
				require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: value}))
			}
			if row.Prefix == layout.Place {
				mountOn(t, storage) // writes it
			}
			left := map[string][]byte{}
			for key := range dump(t, storage) {
				if found, _ := layout.Find(key); found.Prefix == row.Prefix {
					entry, err := storage.Get(t.Context(), key)
					require.NoError(t, err)
					left[key] = raised(entry.Value)
					require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: left[key]}))
				}
			}
			require.NotEmpty(t, left, "a prefix that the fixture does not have")
			m, counted := mountOn(t, storage)
			path, known := question[row.Prefix]
			require.True(t, known, "no request is known that reads %s", row.Prefix)
			if path == "cert/" {
				path += said.Certificates[0].Serial
			}
			words := fmt.Sprintf("has version %d, this release reads up to", newer)
			spoken := false
			if path != "" {
				ask := m.Read
				if path == "certs/revoked" {
					ask = m.List
				}
				answer := ask(t, path, nil)
				require.Contains(t, []int{http.StatusInternalServerError, http.StatusServiceUnavailable}, answer.Status, "%s: %v", path, answer.Data)
				require.Contains(t, answer.Errors[0], words)
				require.Contains(t, answer.Errors[0], strings.TrimSuffix(row.Prefix, "/"))
				spoken = true
			}
			for _, answer := range everything(t, m, said) {
				spoken = spoken || len(answer.Errors) > 0 && strings.Contains(answer.Errors[0], words)
			}
			rest(t, m, counted)
			m.Restart(t)
			rest(t, m, counted)
			if !spoken {
				require.Contains(t, m.Log.String(), words)
			}
			for key, value := range left {
				entry, err := storage.Get(t.Context(), key)
				require.NoError(t, err)
				require.NotNil(t, entry, "%s was deleted", key)
				require.Equal(t, value, entry.Value, "%s was changed", key)
			}
		})
	}
}
