package e2e_test

import (
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// remoteSocket is where the plugin looks for a p11-kit server.
var remoteSocket string

// remoteModule returns the path of p11-kit's client library where distributions put
// it, empty when it is not installed.
func remoteModule() string {
	for _, path := range []string{
		"/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
		"/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so",
		"/usr/lib64/pkcs11/p11-kit-client.so",
	} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// remote is a p11-kit server in front of the token remoteToken: a token that can be
// lost and come back, as one in the network can.
type remote struct {
	t       testing.TB
	process *exec.Cmd
}

func newRemote(t testing.TB) *remote {
	t.Helper()
	if remoteModule() == "" {
		t.Fatal("p11-kit-client.so was not found (Debian package p11-kit-modules; `make deps` installs it)")
	}
	r := &remote{t: t}
	t.Cleanup(r.lose)
	r.comeBack()
	return r
}

// comeBack starts the server and waits until it takes connections.
func (r *remote) comeBack() {
	r.t.Helper()
	path, err := exec.LookPath("p11-kit")
	if err != nil {
		r.t.Fatal("p11-kit was not found (Debian package p11-kit; `make deps` installs it)")
	}
	_ = os.Remove(remoteSocket) // of the server that was killed
	r.process = exec.Command(path, "server", "--foreground", "--name", remoteSocket, "--provider", vault.Module(), "pkcs11:token="+remoteToken)
	r.process.Env = vault.Environment()
	// A group of its own: the server forks a process for each client.
	r.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(r.t, r.process.Start())
	wait.Until(r.t, "p11-kit server answers", func() bool {
		connection, err := net.Dial("unix", remoteSocket)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	})
}

// lose ends the server and its connections at once.
func (r *remote) lose() {
	if r.process == nil {
		return
	}
	_ = syscall.Kill(-r.process.Process.Pid, syscall.SIGKILL)
	_ = r.process.Wait() // it was killed
	r.process = nil
}
