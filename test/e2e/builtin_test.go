package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

// engines mounts the engine that is built into Vault and ours, both as type "pki".
func engines(t testing.TB) (builtin, ours string) {
	t.Helper()
	plugins, err := vault.Client().Sys().ListPlugins(&api.ListPluginsInput{Type: api.PluginTypeSecrets})
	require.NoError(t, err)
	version := ""
	for _, each := range plugins.Details {
		if each.Name == "pki" && each.Builtin {
			version = each.Version
		}
	}
	require.NotEmpty(t, version)
	require.NoError(t, vault.Register("pki", plugin))
	builtin = vault.MountWith(t, &api.MountInput{Type: "pki", Config: api.MountConfigInput{PluginVersion: version}})
	return builtin, vault.MountWith(t, &api.MountInput{Type: "pki"})
}

// kind returns the JSON type of a value.
func kind(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	case []any:
		return "list"
	}
	return "object"
}

// differences lists what clients of the built-in engine would miss: fields of its
// answer that ours has not, or has with another type. A null there may be anything.
func differences(builtin, ours fields) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(builtin)) {
		value, ok := ours[name]
		switch {
		case !ok:
			found = append(found, name+": missing")
		case builtin[name] != nil && kind(value) != kind(builtin[name]):
			found = append(found, fmt.Sprintf("%s: %s, not %s", name, kind(value), kind(builtin[name])))
		case name == "key_info":
			found = append(found, differences(first(builtin[name]), first(value))...)
		}
	}
	return found
}

// first returns one of the objects that a map holds.
func first(value any) fields {
	for _, each := range value.(fields) {
		return each.(fields)
	}
	return nil
}

// step is one request that both engines get.
type step struct {
	method, path string
	body         fields
	// prepare returns what path and body need from earlier answers of the same engine.
	prepare func(t testing.TB, mount string) (path string, body fields)
	// lacks holds the differences that there are; each is one too many.
	lacks []string
}

func (s step) name() string { return s.method + " " + s.path }

// ask sends the step to one engine.
func (s step) ask(t testing.TB, mount string) fields {
	t.Helper()
	path, body := s.path, s.body
	if s.prepare != nil {
		path, body = s.prepare(t, mount)
	}
	return send(t, rootClient, s.method, mount+"/"+path, body).data(t)
}

// issued returns the serial number of a new certificate.
func issued(t testing.TB, mount string) any {
	t.Helper()
	return write(t, mount+"/issue/web", fields{"common_name": "a.example.com"})["serial_number"]
}

// requested returns the request for a new CA.
func requested(t testing.TB, mount, name string) any {
	t.Helper()
	return write(t, mount+"/intermediate/generate/internal", fields{"common_name": name, "key_type": "ec"})["csr"]
}

// noName is about a field of a token's display name, which is not known to a plugin.
var noName = []string{"allow_token_displayname: missing"}

// steps go through what clients of the built-in engine do, in this order.
var steps = []step{
	{method: "POST", path: "root/generate/internal", body: fields{"common_name": "Root", "key_type": "ec", "ttl": "700h", "issuer_name": "root", "key_name": "root"}},
	{method: "POST", path: "roles/web", body: fields{"allow_any_name": true, "key_type": "ec", "key_bits": 256, "ttl": "1h"}, lacks: noName},
	{method: "GET", path: "roles/web", lacks: noName},
	{method: "POST", path: "issue/web", body: fields{"common_name": "a.example.com"}},
	{method: "POST", path: "sign/web", prepare: func(t testing.TB, _ string) (string, fields) {
		return "sign/web", fields{"csr": csr(t, "a.example.com")}
	}},
	{method: "GET", path: "cert/:serial", prepare: func(t testing.TB, mount string) (string, fields) {
		return fmt.Sprintf("cert/%s", issued(t, mount)), nil
	}},
	{method: "POST", path: "revoke", prepare: func(t testing.TB, mount string) (string, fields) {
		return "revoke", fields{"serial_number": issued(t, mount)}
	}},
	{method: "LIST", path: "certs"},
	{method: "LIST", path: "certs/revoked"},
	{method: "LIST", path: "issuers"},
	{method: "LIST", path: "keys"},
	{method: "LIST", path: "roles"},
	{method: "GET", path: "issuer/root"},
	{method: "GET", path: "issuer/root/json"},
	{method: "GET", path: "issuer/root/crl"},
	{method: "GET", path: "key/root"},
	{method: "GET", path: "cert/ca"},
	{method: "GET", path: "cert/ca_chain"},
	{method: "GET", path: "cert/crl"},
	{method: "GET", path: "crl/rotate"},
	{method: "GET", path: "config/crl"},
	{method: "GET", path: "config/auto-tidy"},
	{method: "GET", path: "tidy-status"},
	{method: "POST", path: "config/crl", body: fields{"expiry": "80h"}},
	{method: "POST", path: "config/cluster", body: fields{"path": "https://v.example.com/v1/pki", "aia_path": "http://v.example.com/v1/pki"}},
	{method: "GET", path: "config/cluster"},
	{method: "POST", path: "config/urls", body: fields{"crl_distribution_points": "http://a.example.com/crl"}},
	{method: "GET", path: "config/urls"},
	{method: "GET", path: "config/issuers"},
	{method: "GET", path: "config/keys"},
	{method: "POST", path: "intermediate/generate/internal", body: fields{"common_name": "Sub", "key_type": "ec"}},
	{method: "POST", path: "keys/generate/exported", body: fields{"key_type": "ec"}},
	{method: "POST", path: "keys/import", prepare: func(t testing.TB, _ string) (string, fields) {
		return "keys/import", fields{"pem_bundle": opensslKey(t)}
	}},
	{method: "POST", path: "root/sign-intermediate", prepare: func(t testing.TB, mount string) (string, fields) {
		return "root/sign-intermediate", fields{"common_name": "Sub", "ttl": "100h", "csr": requested(t, mount, "Sub")}
	}},
	{method: "POST", path: "intermediate/set-signed", prepare: func(t testing.TB, mount string) (string, fields) {
		signed := write(t, mount+"/root/sign-intermediate", fields{"common_name": "Other", "ttl": "90h", "csr": requested(t, mount, "Other")})
		return "intermediate/set-signed", fields{"certificate": signed["certificate"]}
	}},
}

func TestAnswersHaveTheShapeOfTheBuiltInEngine(t *testing.T) {
	builtin, ours := engines(t)
	for _, s := range steps {
		t.Run(s.name(), func(t *testing.T) {
			require.Equal(t, s.lacks, differences(s.ask(t, builtin), s.ask(t, ours)))
		})
	}
}

func TestRoleDefaultsAreThoseOfTheBuiltInEngine(t *testing.T) {
	builtin, ours := engines(t)
	plain := func(mount string) fields {
		write(t, mount+"/roles/plain", fields{})
		return read(t, mount+"/roles/plain")
	}
	theirs, own := plain(builtin), plain(ours)
	different := map[string]string{}
	for name, want := range theirs {
		if list, ok := want.([]any); (want == nil || ok && len(list) == 0) && len(texts(t, own, name)) == 0 {
			continue
		}
		if got := own[name]; fmt.Sprint(got) != fmt.Sprint(want) {
			different[name] = fmt.Sprintf("%v, not %v", got, want)
		}
	}
	require.Equal(t, map[string]string{
		// 0 means what suits the key; there it is resolved for the default type when it is written.
		"key_bits": "0, not 2048", "signature_bits": "0, not 256",
		"allow_token_displayname": "<nil>, not false",
	}, different)
}
