package edge_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// What a killed edge was writing is there as it was before or as a whole, on every
// kind of place, and the edge that is started next brings all of them up to date.
func TestKilledEdgeLeavesWholeLists(t *testing.T) {
	slapd, encrypted := startSlapd(t)
	nginx := startNginx(t, "")
	mount, dir := edgemount.New(t, time.Now), t.TempDir()
	var revoked []cert.Serial // so many that a list takes several packets
	for range 3000 {
		revoked = append(revoked, mount.Good())
	}
	trusted, err := os.ReadFile(slapd.ca)
	require.NoError(t, err)
	web, err := os.ReadFile(nginx.ca)
	require.NoError(t, err)
	www := filepath.Join(dir, "www")
	require.NoError(t, os.Mkdir(www, 0o700))
	entry := "cn=web,ou=pki," + suffix
	mount.Edit(func(manifest *feed.Manifest) {
		all := []string{"complete", "certificate"}
		manifest.Publishers = []feed.Publisher{
			{Name: "files", Version: 1, Type: "file", Publish: all, Path: www + "/{{list}}"},
			{Name: "web", Version: 1, Type: "http-put", Publish: all, URL: "https://localhost:" + port(t, nginx.address) + "/{{list}}", CACertificates: []string{string(web)}},
			{
				Name: "directory", Version: 1, Type: "ldap", Publish: all, URL: "ldaps://localhost:" + port(t, encrypted), CACertificates: []string{string(trusted)},
				Credential: "directory", LDAP: feed.PublisherLDAP{BaseDN: "cn={{issuer_name}},ou=pki," + suffix},
			},
		}
	})
	file := func(path string) func() []byte {
		return func() []byte {
			content, _ := os.ReadFile(path) // none yet
			return content
		}
	}
	places := map[string]func() []byte{
		"file":  file(filepath.Join(www, "complete")),
		"nginx": file(filepath.Join(nginx.dir, "www", "complete")),
		"slapd": func() []byte { return bytes.Join(slapd.attribute(t, entry, "certificateRevocationList;binary"), nil) },
	}
	settings := writeFile(t, filepath.Join(dir, "edge.yaml"), fmt.Sprintf(`
name: edge-1
data_dir: %[1]s/data
poll_interval: 100ms
vault: {address: %[2]s, mount: pki, token_file: %[3]s}
listen: {address: "127.0.0.1:0"}
publish_directories: [%[1]s/www]
credentials: {directory: {username: "%[4]s", password_file: %[5]s, hosts: [localhost]}}
`, dir, mount.Server.URL, writeFile(t, filepath.Join(dir, "token"), edgemount.Token), admin, writeFile(t, filepath.Join(dir, "password"), adminSecret)))

	newest := mount.List(t, 1, revoked...)
	edge := startEdge(t, settings)
	defer func() { edge.kill() }()
	holds(t, places, newest)
	for number := int64(2); number < 12; number++ {
		newest = mount.List(t, number, revoked...)
		requests, watch := mount.Requests("crl"), wait.New()
		// The edge has begun to fetch the list: it publishes within the next moments.
		for mount.Requests("crl") == requests { // soon, and not a look later
			require.False(t, watch.Still())
			runtime.Gosched()
		}
		time.Sleep(time.Duration(number*number) * time.Millisecond)
		edge.kill()
		for name, place := range places {
			list, err := x509.ParseRevocationList(place())
			require.NoError(t, err, name)
			require.NoError(t, list.CheckSignatureFrom(mount.CA), name)
		}
		edge = startEdge(t, settings)
	}
	holds(t, places, newest)
	left, err := os.ReadDir(www)
	require.NoError(t, err)
	require.LessOrEqual(t, len(left), 2+10, "at most one unfinished file for each kill, until it is an hour old")
}

// process is an edge that is not asked to end.
type process struct{ command *exec.Cmd }

func startEdge(t testing.TB, settings string) process {
	t.Helper()
	binary, err := harness.Binary("pki-edge")
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), binary, "-config", settings)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, command.Start())
	return process{command}
}

func (p process) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
}

// holds waits until every place has this list.
func holds(t testing.TB, places map[string]func() []byte, list []byte) {
	t.Helper()
	for watch := wait.New(); ; time.Sleep(50 * time.Millisecond) {
		var behind []string
		for name, place := range places {
			if !bytes.Equal(place(), list) {
				behind = append(behind, name)
			}
		}
		if len(behind) == 0 {
			return
		}
		require.False(t, watch.Still(), "%v are not up to date", behind)
	}
}
