package paths_test

import (
	"maps"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// builtInConfig is what the configuration paths of the built-in engine read back on
// a fresh mount.
func builtInConfig() map[string]map[string]any {
	return map[string]map[string]any{
		"config/crl": {
			"auto_rebuild": false, "auto_rebuild_grace_period": "12h", "cross_cluster_revocation": false,
			"delta_rebuild_interval": "15m", "disable": false, "enable_delta": false, "expiry": "72h",
			"max_crl_entries": -1.0, // 100000 there: see divergences
			"ocsp_disable":    false, "ocsp_expiry": "12h", "unified_crl": false, "unified_crl_on_existing_paths": false,
		},
		"config/urls": {
			"issuing_certificates": []any{}, "crl_distribution_points": []any{}, "delta_crl_distribution_points": []any{},
			"ocsp_servers": []any{}, "enable_templating": false,
		},
		"config/cluster": {"path": "", "aia_path": ""},
		"config/issuers": {"default": "", "default_follows_latest_issuer": false},
		"config/keys":    {"default": ""},
	}
}

func TestConfigHasEveryBuiltInFieldAndDefault(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		for path, want := range builtInConfig() {
			if path == "config/crl" {
				want["rebuild_delay"], want["shards"], want["keep_after_expiry"], want["this_update_backdate"] = "1m", 1.0, "0s", "1m" // ours
			}
			read := m.Read(t, path, nil).Expect(http.StatusOK).Data
			require.Equal(t, want, read, path)
			if path != "config/keys" {
				require.Equal(t, want, m.Write(t, path, read).Expect(http.StatusOK).Data, "%s: what was read can be written", path)
			}
		}
	})
}

// TestTerraformConfig: what the resources for the configuration paths write reads
// back as they compare it, and what they leave out stays.
func TestTerraformConfig(t *testing.T) {
	rows := []struct {
		path string
		set  map[string]any
		read map[string]any // what differs from what was set
	}{
		{"config/crl", map[string]any{"expiry": "96h", "disable": false, "ocsp_disable": true, "ocsp_expiry": "23h", "auto_rebuild": true, "auto_rebuild_grace_period": "24h"}, nil},
		{"config/crl", map[string]any{"expiry": "72h", "ocsp_disable": "false", "auto_rebuild": "false", "enable_delta": false, "delta_rebuild_interval": "18m"}, map[string]any{"ocsp_disable": false, "auto_rebuild": false}},
		{"config/crl", map[string]any{"cross_cluster_revocation": false, "unified_crl": false, "unified_crl_on_existing_paths": false, "max_crl_entries": 5000.0}, nil},
		{"config/crl", map[string]any{"expiry": 86400, "ocsp_expiry": "", "disable": true}, map[string]any{"expiry": "86400", "ocsp_expiry": "12h"}},
		{"config/urls", map[string]any{"issuing_certificates": []any{"http://ca.example.com/ca"}, "crl_distribution_points": []any{"http://ca.example.com/crl"}, "ocsp_servers": []any{}}, nil},
		{"config/urls", map[string]any{"issuing_certificates": "http://a.example.com/ca,ldap://b.example.com/ca", "enable_templating": true}, map[string]any{"issuing_certificates": []any{"http://a.example.com/ca", "ldap://b.example.com/ca"}}},
		{"config/urls", map[string]any{"crl_distribution_points": []any{"{{cluster_aia_path}}/issuer/{{issuer_id}}/crl/der"}, "delta_crl_distribution_points": []any{}, "enable_templating": true}, nil},
		{"config/urls", map[string]any{"crl_distribution_points": []any{"{{cluster_aia_path}}/issuer/{{issuer_id}}/crl/shard/{{crl_shard}}/der"}, "delta_crl_distribution_points": []any{"{{cluster_aia_path}}/issuer/{{issuer_id}}/crl/delta/der"}}, nil},
		{"config/crl", map[string]any{"expiry": "72h", "disable": false, "auto_rebuild": true, "auto_rebuild_grace_period": "12h", "enable_delta": true, "delta_rebuild_interval": "15m"}, nil},
		{"config/crl", map[string]any{"auto_rebuild": false, "enable_delta": false}, nil},
		{"config/cluster", map[string]any{"path": "https://vault.example.com/v1/pki", "aia_path": "http://pki.example.com"}, nil},
		{"config/cluster", map[string]any{"aia_path": "http://cdn.example.com"}, nil},
		{"config/issuers", map[string]any{"default": "", "default_follows_latest_issuer": true}, nil},
	}
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		want := builtInConfig()
		for i, row := range rows {
			write := m.Write
			if i%2 == 1 {
				write = m.Patch
			}
			write(t, row.path, row.set).Expect(http.StatusOK)
			maps.Copy(want[row.path], row.set)
			maps.Copy(want[row.path], row.read)
			read := m.Read(t, row.path, nil).Expect(http.StatusOK).Data
			maps.DeleteFunc(read, ours)
			require.Equal(t, want[row.path], read, "%s: %v", row.path, row.set)
		}
		for path, refused := range map[string][]map[string]any{
			"config/crl": {
				{"enable_delta": true, "delta_rebuild_interval": "1s"},
				{"shards": 129},
				{"unified_crl": true},
				{"unified_crl_on_existing_paths": true},
				{"cross_cluster_revocation": true},
				{"expiry": "soon"},
				{"auto_rebuild": true, "expiry": "1h", "auto_rebuild_grace_period": "2h"},
				{"max_crl_entries": -2},
			},
			"config/urls":    {{"ocsp_servers": "no url"}, {"delta_crl_distribution_points": "no url"}, {"ocsp_servers": "http://a.example.com/{{crl_shard}}"}},
			"config/cluster": {{"path": "no url"}},
			"config/issuers": {{"default": "none"}},
			"config/keys":    {{"default": ""}, {"default": "none"}, {}},
		} {
			for _, body := range refused {
				answer := m.Write(t, path, body)
				require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, answer.Status, "%s %v", path, body)
			}
			read := m.Read(t, path, nil).Expect(http.StatusOK).Data
			maps.DeleteFunc(read, ours)
			require.Equal(t, want[path], read, "a refused write changes nothing in %s", path)
		}
	})
}

func TestTerraformDefaultIssuerAndKey(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withIssuing(t, m)
		root, issuing := m.Read(t, "issuer/root", nil).Text("issuer_id"), m.Read(t, "issuer/issuing", nil).Text("issuer_id")
		written := m.Write(t, "config/issuers", map[string]any{"default": root, "default_follows_latest_issuer": false}).Expect(http.StatusOK)
		require.Equal(t, map[string]any{"default": root, "default_follows_latest_issuer": false}, written.Data)
		m.Write(t, "config/issuers", map[string]any{"default": "", "default_follows_latest_issuer": false}).Expect(http.StatusBadRequest)
		require.Equal(t, issuing, m.Write(t, "config/issuers", map[string]any{"default": "issuing"}).Expect(http.StatusOK).Text("default"))

		first := m.Read(t, "issuer/root", nil).Text("key_id")
		require.Equal(t, first, m.Read(t, "config/keys", nil).Expect(http.StatusOK).Text("default"), "the first key is the default")
		made := m.Write(t, "keys/generate/internal", map[string]any{"key_name": "k", "key_type": "ec", "key_bits": 384}).Expect(http.StatusOK)
		read := m.Read(t, "key/"+made.Text("key_id"), nil).Expect(http.StatusOK)
		require.Equal(t, "k", read.Text("key_name"))
		require.Equal(t, "ec", read.Text("key_type"))
		m.Write(t, "key/"+made.Text("key_id"), map[string]any{"key_name": "other"}).Expect(http.StatusOK)
		require.Equal(t, "other", m.Read(t, "key/"+made.Text("key_id"), nil).Text("key_name"))
		require.Equal(t, made.Text("key_id"), m.Write(t, "config/keys", map[string]any{"default": "other"}).Expect(http.StatusOK).Text("default"))
		m.Delete(t, "key/"+made.Text("key_id")).OK()
		m.Read(t, "key/"+made.Text("key_id"), nil).Expect(http.StatusNotFound) // the provider then makes it anew
		m.Delete(t, "key/"+first).Expect(http.StatusConflict)
	})
}

// TestTerraformIssuer: the resource reads, then posts the fields that its
// configuration changed, and reads them back; what it does not post is reset, as in
// the built-in engine, except the name.
func TestTerraformIssuer(t *testing.T) {
	fresh := map[string]any{
		"leaf_not_after_behavior": "err", "manual_chain": []any{}, "usage": "crl-signing,issuing-certificates,ocsp-signing,read-only",
		"revocation_signature_algorithm": "", "issuing_certificates": []any{}, "crl_distribution_points": []any{},
		"delta_crl_distribution_points": []any{}, "ocsp_servers": []any{}, "enable_aia_url_templating": false,
	}
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		id := m.Read(t, "issuer/root", nil).Text("issuer_id")
		for _, set := range []map[string]any{
			{"issuer_name": "root"},
			{"issuer_name": "root", "leaf_not_after_behavior": "truncate"},
			{"issuer_name": "renamed", "usage": "read-only,crl-signing"},
			{"issuer_name": "root", "manual_chain": []any{id}},
			{"issuer_name": "root", "revocation_signature_algorithm": "ECDSAWithSHA384"},
			{"issuer_name": "root", "issuing_certificates": []any{"http://a.example.com/1"}, "crl_distribution_points": []any{"http://a.example.com/2"}, "ocsp_servers": []any{"http://a.example.com/3"}},
			{"issuer_name": "root", "crl_distribution_points": []any{"http://a.example.com/{{issuer_id}}"}, "enable_aia_url_templating": true},
			{},
		} {
			m.Write(t, "issuer/"+id, set).Expect(http.StatusOK)
			read := m.Read(t, "issuer/"+id, nil).Expect(http.StatusOK)
			want := maps.Clone(fresh)
			want["issuer_name"] = "root" // URLs of live certificates have the name, so it stays
			maps.Copy(want, set)
			for name, value := range want {
				require.Equal(t, value, read.Data[name], "%s after %v", name, set)
			}
		}
		m.Patch(t, "issuer/"+id, map[string]any{"issuer_name": "root", "leaf_not_after_behavior": "truncate"}).Expect(http.StatusOK)
		patched := m.Patch(t, "issuer/root", map[string]any{"usage": "crl-signing,read-only"}).Expect(http.StatusOK)
		require.Equal(t, "truncate", patched.Text("leaf_not_after_behavior"))
		require.Equal(t, "crl-signing,read-only", patched.Text("usage"), "in the order of the configuration")
		m.Patch(t, "issuer/root", map[string]any{"leaf_not_after_behavior": "permit"}).Expect(http.StatusBadRequest)
	})
}

// ours reports whether a field of config/crl is not the built-in engine's.
func ours(field string, _ any) bool {
	return field == "rebuild_delay" || field == "shards" || field == "keep_after_expiry" || field == "this_update_backdate"
}
