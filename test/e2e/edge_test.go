package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// edgePolicy is what an edge may do, and what its selftest needs beside that.
const edgePolicy = `
path "%[1]s/edge/*" { capabilities = ["read", "create", "update"] }
path "%[1]s/publishers/+/status" { capabilities = ["create", "update"] }
path "%[1]s/issue/canary" { capabilities = ["create", "update"] }
path "%[1]s/revoke" { capabilities = ["create", "update"] }
`

// front is one pki-edge process.
type front struct {
	t       testing.TB
	binary  string
	config  string
	url     string
	process *exec.Cmd
	log     *bytes.Buffer
}

// newFront makes a root, a role and an AppRole, and starts an edge of the mount.
func newFront(t testing.TB, mount string) *front {
	t.Helper()
	write(t, mount+"/root/generate/internal", fields{"common_name": "Edge Root", "key_type": "ec", "ttl": "8760h"})
	write(t, mount+"/roles/canary", fields{"allow_any_name": true, "enforce_hostnames": false, "ttl": "1h"})
	dir := t.TempDir()
	name := "edge-" + mount
	put(t, filepath.Join(dir, "policy.hcl"), fmt.Sprintf(edgePolicy, mount))
	vault.CLI(t, "policy", "write", name, filepath.Join(dir, "policy.hcl"))
	vault.CLI(t, "auth", "enable", "-path="+name, "approle")
	vault.CLI(t, "write", "auth/"+name+"/role/edge", "token_policies="+name, "token_ttl=1h")
	role := strings.TrimSpace(vault.CLI(t, "read", "-field=role_id", "auth/"+name+"/role/edge/role-id"))
	secret := strings.TrimSpace(vault.CLI(t, "write", "-f", "-field=secret_id", "auth/"+name+"/role/edge/secret-id"))
	put(t, filepath.Join(dir, "secret-id"), secret)
	binary, err := harness.Binary("pki-edge")
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	f := &front{t: t, binary: binary, url: "http://" + address, config: filepath.Join(dir, "edge.yaml"), log: &bytes.Buffer{}}
	put(t, f.config, fmt.Sprintf(`
name: edge-1
data_dir: %s/data
vault:
  address: %s
  mount: %s
  approle: {path: %s, role_id: %s, secret_id_file: %s/secret-id}
listen: {address: "%s"}
signer: {key: file}
selftest: {role: canary, timeout: 30s}
`, dir, vault.Address, mount, name, role, dir, address))
	f.start()
	t.Cleanup(func() {
		f.end(syscall.SIGKILL)
		if t.Failed() {
			t.Log(f.log.String())
		}
	})
	return f
}

func (f *front) start() {
	f.t.Helper()
	f.process = exec.Command(f.binary, "-config", f.config)
	f.process.Stdout, f.process.Stderr = f.log, f.log
	require.NoError(f.t, f.process.Start())
}

// end signals the process and returns how it ended.
func (f *front) end(signal syscall.Signal) error {
	_ = f.process.Process.Signal(signal) // it may have ended
	return f.process.Wait()
}

func (f *front) get(path string) (int, string) {
	f.t.Helper()
	response, err := http.Get(f.url + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(f.t, err)
	return response.StatusCode, string(body)
}

func (f *front) ready() {
	f.t.Helper()
	until(f.t, "the edge is ready", func() bool {
		status, _ := f.get("/readyz")
		return status == http.StatusOK
	})
}

// selftest runs the command and returns its table.
func (f *front) selftest() string {
	f.t.Helper()
	result := vault.Run(f.t, harness.Command{Name: f.binary, Args: []string{"-config", f.config, "selftest"}})
	require.Zero(f.t, result.Code, "%s%s", result.Stdout, result.Stderr)
	return result.Stdout
}

func TestEdge_SelftestSeesTheRevocation(t *testing.T) {
	mount := vault.Mount(t)
	f := newFront(t, mount)
	f.ready()
	table := f.selftest()
	for _, step := range []string{"certificate issued", "OCSP says good", "certificate revoked", "OCSP says revoked", "CRL says revoked"} {
		require.Regexp(t, step+` +ok`, table)
	}
	t.Log(table)
}

// With shards the certificate names one of them, at the edge or where a publisher has
// put it.
func TestEdge_SelftestLooksAtTheListThatTheCertificateNames(t *testing.T) {
	mount := vault.Mount(t)
	f := newFront(t, mount)
	write(t, mount+"/config/crl", fields{"shards": 4})
	names := func(point string) {
		write(t, mount+"/config/urls", fields{"enable_templating": true, "crl_distribution_points": point})
	}
	names(f.url + "/crl/{{issuer_id}}/{{crl_shard}}.crl")
	f.ready()
	require.Regexp(t, `CRL `+f.url+`/crl/[0-9a-f-]{36}/4-[0-3]\.crl says revoked +ok`, f.selftest())
	names("http://127.0.0.1:1/other.crl")
	require.Regexp(t, `CRL http://127.0.0.1:1/other.crl says revoked +ok`, f.selftest(), "the edge serves the complete list at that path")
}

// The plugin is killed, Vault seals, the edge is restarted: what it knew it still says.
func TestEdge_OutlivesPluginAndMountAndItself(t *testing.T) {
	mount := vault.Mount(t)
	f := newFront(t, mount)
	f.ready()
	issued := write(t, mount+"/issue/canary", fields{"common_name": "known"})
	leaf := file(t, "leaf.pem", []byte(text(t, issued, "certificate")))
	ca := file(t, "ca.pem", []byte(text(t, issued, "issuing_ca")))
	says := func(word string) bool {
		result := vault.Run(t, harness.Command{Name: "openssl", Args: []string{
			"ocsp", "-url", f.url + "/ocsp", "-issuer", ca, "-cert", leaf, "-CAfile", ca,
		}})
		return strings.Contains(result.Stdout, ": "+word) && strings.Contains(result.Stderr, "Response verify OK")
	}
	until(t, "the edge knows the certificate", func() bool { return says("good") })

	kill(t, mount)
	until(t, "the mount is followed again", func() bool { status, _ := f.get("/readyz"); return status == http.StatusOK && says("good") })
	write(t, mount+"/revoke", fields{"serial_number": text(t, issued, "serial_number"), "reason": "keyCompromise"})
	until(t, "the revocation is seen after a restart of the plugin", func() bool { return says("revoked") })

	require.NoError(t, f.end(syscall.SIGTERM), "it drains and ends well")
	f.config = withoutVault(t, f.config)
	f.start()
	f.ready()
	require.True(t, says("revoked"), "from disk, with the key in its file")
	status, _ := f.get("/ca/bundle.pem")
	require.Equal(t, http.StatusOK, status)
	status, page := f.get("/")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "Edge Root")
}

// withoutVault returns a configuration that leads to no Vault.
func withoutVault(t testing.TB, path string) string {
	t.Helper()
	settings := strings.Replace(string(contents(t, path)), vault.Address, "http://127.0.0.1:1", 1)
	changed := filepath.Join(filepath.Dir(path), "away.yaml")
	require.NoError(t, os.WriteFile(changed, []byte(settings), 0o600))
	return changed
}

func TestEdge_CommandLine(t *testing.T) {
	binary, err := harness.Binary("pki-edge")
	require.NoError(t, err)
	run := func(arguments ...string) harness.Result {
		return vault.Run(t, harness.Command{Name: binary, Args: arguments})
	}
	require.Regexp(t, `^v\d`, run("-version").Stdout)
	require.Equal(t, 66, run("-config", "/nonexistent").Code)
	good := file(t, "edge.yaml", []byte("name: e\nvault: {address: 'https://v:8200', token_file: /t}\n"))
	require.Equal(t, "the configuration is valid\n", run("-config", good, "-check-config").Stdout)
	bad := run("-config", file(t, "bad.yaml", []byte("nmae: e\n")), "-check-config")
	require.Equal(t, 65, bad.Code)
	require.Contains(t, bad.Stderr, "field nmae is not known; did you mean name?")
	require.Equal(t, 65, run("-config", good, "serve").Code)
	require.Equal(t, 65, run("-nonsense").Code)
	require.Zero(t, run("-help").Code)
}
