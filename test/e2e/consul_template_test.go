package e2e_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// consulTemplate builds consul-template from the module that pins it, and returns the
// program.
func consulTemplate(t testing.TB) string {
	t.Helper()
	root, err := harness.Root()
	require.NoError(t, err)
	program := filepath.Join(t.TempDir(), "consul-template")
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=readonly", "-trimpath", "-o", program, "github.com/hashicorp/consul-template")
	build.Dir = filepath.Join(root, "test", "consul-template")
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)
	return program
}

// watch runs consul-template with one template until the test ends, and returns the file
// that it renders.
func watch(t testing.TB, template string) string {
	t.Helper()
	dir := t.TempDir()
	source, rendered := filepath.Join(dir, "in.ctmpl"), filepath.Join(dir, "out.pem")
	require.NoError(t, os.WriteFile(source, []byte(template), 0o600))
	running, stop := context.WithCancel(context.Background())
	process := exec.CommandContext(running, consulTemplate(t), "-template", source+":"+rendered,
		"-vault-addr", vault.Address, "-vault-token", vault.Client().Token(), "-vault-renew-token=false")
	var log bytes.Buffer
	process.Dir, process.Stdout, process.Stderr = dir, &log, &log
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	process.Cancel = func() error { return process.Process.Signal(os.Interrupt) } // it passes other signals by
	process.WaitDelay = 5 * time.Second
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		stop()
		_ = process.Wait() // it was told to end
		if t.Failed() {
			t.Logf("consul-template said:\n%s", log.String())
		}
	})
	return rendered
}

// consul-template's function secret renews a certificate by its lease. A lease that is
// as long as the certificate, which begins in the past, outlives it.
func TestConsulTemplateRenewsBeforeTheCertificateExpires(t *testing.T) {
	t.Parallel()
	mount := softwareRoot(t, fields{"generate_lease": true, "ttl": "40s", "not_before_duration": "5m"})
	file := watch(t, `{{ with secret "`+mount+`/issue/web" "common_name=a.example.com" }}{{ .Data.certificate }}{{ end }}`)
	var rendered []byte
	changed := func() bool {
		found, err := os.ReadFile(file)
		if err != nil || len(found) == 0 || bytes.Equal(found, rendered) {
			return false
		}
		rendered = found
		return true
	}
	until(t, "rendering a certificate", changed)
	first := certificateOf(t, string(rendered))
	until(t, "renewing the certificate", changed)
	second := certificateOf(t, string(rendered))
	require.True(t, time.Now().Before(first.NotAfter), "renewed at %s, after %s", time.Now(), first.NotAfter)
	require.True(t, second.NotAfter.After(first.NotAfter))
}
