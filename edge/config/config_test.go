package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/edge/config"
)

// minimal is the shortest configuration that an edge starts with.
const minimal = `
name: edge-1
vault:
  address: https://vault.example.com:8200
  token_file: /run/token
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "edge.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestLoad_DefaultsHold(t *testing.T) {
	c, err := config.Load(write(t, minimal), nil)
	require.NoError(t, err)
	want := config.Default()
	want.Name, want.Vault.Address, want.Vault.TokenFile = "edge-1", "https://vault.example.com:8200", "/run/token"
	require.Equal(t, want, c)
}

func TestLoad_JSONIsYAML(t *testing.T) {
	c, err := config.Load(write(t, `{"name": "e", "poll_interval": "2s", "vault": {"address": "http://127.0.0.1:8200", "token_file": "/t"}}`), nil)
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, c.PollInterval)
}

func TestLoad_TheEnvironmentAlone(t *testing.T) {
	c, err := config.Load("", []string{
		"HOME=/", "PKI_EDGE_VAULT_ADDRESS=https://v:8200", "PKI_EDGE_VAULT_APPROLE_ROLE_ID=123",
		"PKI_EDGE_VAULT_APPROLE_SECRET_ID_FILE=/s", "PKI_EDGE_POLL_INTERVAL=500ms", "PKI_EDGE_LISTEN_MAX_CONNECTIONS=7",
	})
	require.NoError(t, err)
	require.Equal(t, "123", c.Vault.AppRole.RoleID)
	require.Equal(t, 500*time.Millisecond, c.PollInterval)
	require.Equal(t, 7, c.Listen.MaxConnections)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, host, c.Name)
}

func TestLoad_TheEnvironmentIsOverTheFile(t *testing.T) {
	c, err := config.Load(write(t, minimal), []string{"PKI_EDGE_NAME=edge-2"})
	require.NoError(t, err)
	require.Equal(t, "edge-2", c.Name)
}

func TestLoad_RefusalsNameTheField(t *testing.T) {
	cases := []struct {
		text, want string
	}{
		{"vaults: {}", "field vaults is not known; did you mean vault?"},
		{minimal + "signer: {keys: memory}", "field keys is not known; did you mean key?"},
		{minimal + "listen: {max_connection: 5}", "field max_connection is not known; did you mean max_connections?"},
		{minimal + "token_file: /t", "field token_file is not known here; did you mean vault.token_file?"},
		{minimal + "log: {xyz: 1}", "field xyz is not known here; the fields are level, format"},
		{minimal + "credentials: {a: {tokenfile: t}}", "did you mean token_file?"},
		{minimal + "listen: {metrics_address: here}", "listen.metrics_address: must be host:port"},
		{minimal + "---\nname: two", "one YAML document"},
		{"name: e", "vault.address: is required"},
		{"name: 'a b'", "name: must be letters"},
		{"name: e\ndata_dir: here", "data_dir: must be an absolute path"},
		{minimal + "url: pki.example.com", "url: must be http://"},
		{minimal + "poll_interval: 1ms", "poll_interval: must be from 100ms to 1h0m0s, not 1ms"},
		{minimal + "poll_interval: soon", "cannot unmarshal"},
		{"name: e\nvault: {address: 'ftp://x'}", "vault.address: must be http:// or https://"},
		{"name: e\nvault: {address: 'https://x/v1'}", "vault.address: must be"},
		{"name: e\nvault: {address: 'https://x', mount: ../sys}", "vault.mount: must be the path"},
		{"name: e\nvault: {address: 'https://x', namespace: /a}", "vault.namespace: must be a path"},
		{"name: e\nvault: {address: 'https://x', timeout: 1ms}", "vault.timeout: must be from"},
		{"name: e\nvault: {address: 'https://x'}", "vault: needs token_file, or approle"},
		{"name: e\nvault: {address: 'https://x', token_file: /t, approle: {role_id: r}}", "vault.token_file: excludes"},
		{"name: e\nvault: {address: 'https://x', approle: {role_id: r}}", "vault.approle: needs both"},
		{"name: e\nvault: {address: 'https://x', approle: {role_id: r, secret_id_file: /s, path: ''}}", "vault.approle.path: must be"},
		{minimal + "listen: {address: here}", "listen.address: must be host:port"},
		{minimal + "listen: {max_connections: 0}", "listen.max_connections: must be from 1"},
		{minimal + "listen: {shutdown_grace: -1s}", "listen.shutdown_grace: must be from"},
		{minimal + "signer: {key: cloud}", "signer.key: must be memory, file or pkcs11"},
		{minimal + "signer: {pkcs11: {module: /m}}", "signer.pkcs11: is used only with"},
		{minimal + "signer: {key: pkcs11}", "signer.pkcs11.module: is required"},
		{minimal + "signer: {key: pkcs11, pkcs11: {module: /m}}", "needs either token_label or token_serial"},
		{minimal + "signer: {key: pkcs11, pkcs11: {module: /m, token_label: t}}", "signer.pkcs11.pin_file: is required"},
		{minimal + "log: {level: loud}", "log.level: must be debug"},
		{minimal + "log: {format: xml}", "log.format: must be text or json"},
		{minimal + "selftest: {url: here}", "selftest.url: must be"},
		{minimal + "selftest: {timeout: 0s}", "selftest.timeout: must be from"},
		{minimal + "credentials: {'a/b': {token_file: /t}}", "credentials: names must be letters"},
		{minimal + "credentials: {a: {}}", "credentials.a: needs token_file"},
		{minimal + "credentials: {a: {username: u}}", "credentials.a: needs both username"},
		{minimal + "credentials: {a: {key_file: k}}", "credentials.a: needs both certificate_file"},
		{minimal + "credentials: {a: {token_file: t, username: u, password_file: p}}", "credentials.a: has either"},
		{minimal + "credentials: {a: {token_file: t}}", "credentials.a.hosts: must name"},
		{minimal + "credentials: {a: {token_file: t, hosts: ['']}}", "credentials.a.hosts: must name"},
		{minimal + "publish_directories: [srv]", "publish_directories: must be absolute"},
		{minimal + "publish_directories: [/srv/../etc]", "publish_directories: must be absolute"},
	}
	for _, c := range cases {
		_, err := config.Load(write(t, c.text), nil)
		require.ErrorContains(t, err, c.want, c.text)
		require.True(t, fault.Is(err, fault.Invalid), c.text)
	}
}

func TestLoad_RefusesVariablesThatSetNothing(t *testing.T) {
	_, err := config.Load(write(t, minimal), []string{"PKI_EDGE_VAULT_ADRESS=x"})
	require.EqualError(t, err, "PKI_EDGE_VAULT_ADRESS: is not a variable of pki-edge; did you mean PKI_EDGE_VAULT_ADDRESS?")
	_, err = config.Load(write(t, minimal), []string{"PKI_EDGE_POLL_INTERVAL=x"})
	require.EqualError(t, err, `PKI_EDGE_POLL_INTERVAL: must be a time.Duration, not "x"`)
}

func TestLoad_NoFileAndATooLargeOne(t *testing.T) {
	_, err := config.Load("/nonexistent/edge.yaml", nil)
	require.True(t, fault.Is(err, fault.NotFound))
	_, err = config.Load(write(t, strings.Repeat("#", 2<<20)), nil)
	require.True(t, fault.Is(err, fault.TooLarge))
}

// Every name is one field's alone: two fields that share a variable would both be set
// by it, or one of them never.
func TestNames_AreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range config.Names() {
		require.False(t, seen[name], name)
		seen[name] = true
	}
	require.Contains(t, seen, "PKI_EDGE_SIGNER_PKCS11_PIN_FILE")
}

// The page that says how to run an edge names every field and its variable.
func TestNames_AreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/how-to/run-pki-edge.md")
	require.NoError(t, err)
	for _, name := range config.Names() {
		require.Contains(t, string(page), "`"+name+"` |", name)
	}
	example, err := config.Load("../../docs/examples/edge.yaml", nil)
	require.NoError(t, err)
	require.Equal(t, "edge-1", example.Name)
}
