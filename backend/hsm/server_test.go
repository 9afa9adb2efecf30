//go:build cgo

package hsm_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/test/token"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// server is a p11-kit server in front of SoftHSM: a token that can be lost
// (SIGKILL), fall silent (SIGSTOP) and come back.
type server struct {
	t      *testing.T
	module string
	socket string
	cmd    *exec.Cmd
}

// clients lists where distributions keep the p11-kit client module.
var clients = []string{
	"/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
	"/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so",
	"/usr/lib64/pkcs11/p11-kit-client.so",
}

// socketDir holds the socket of all servers of this process, because the client
// module reads its address only once.
var socketDir string

func TestMain(m *testing.M) {
	if serial := os.Getenv(childSerial); serial != "" {
		os.Exit(child(serial))
	}
	var err error
	if socketDir, err = os.MkdirTemp("", "p11"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(socketDir)
	os.Exit(code)
}

// serve makes a token, starts a server in front of it and returns the config that
// opens the token through the server.
func serve(t *testing.T) (*server, hsm.Config) {
	t.Helper()
	made := token.New(t, "remote")
	s := &server{t: t, module: made.Module, socket: filepath.Join(socketDir, "socket")}
	t.Setenv("P11_KIT_SERVER_ADDRESS", "unix:path="+s.socket)
	s.start()
	t.Cleanup(s.kill)
	remote := config(made)
	remote.Module = ""
	for _, client := range clients {
		if _, err := os.Stat(client); err == nil {
			remote.Module = client
		}
	}
	if remote.Module == "" {
		t.Fatal("p11-kit-client.so was not found: install the Debian package p11-kit-modules")
	}
	remote.Timeout = time.Second
	return s, remote
}

// start starts the server and waits until it accepts connections.
func (s *server) start() {
	s.t.Helper()
	path, err := exec.LookPath("p11-kit")
	if err != nil {
		s.t.Fatal("p11-kit was not found: install the Debian package p11-kit")
	}
	_ = os.Remove(s.socket)
	s.cmd = exec.Command(path, "server", "--foreground", "--name", s.socket, "--provider", s.module, "pkcs11:")
	// A group of its own: the server forks a process for each client.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(s.t, s.cmd.Start())
	wait.Until(s.t, "p11-kit server answers", func() bool {
		connection, err := net.Dial("unix", s.socket)
		if err == nil {
			connection.Close()
		}
		return err == nil
	})
}

// signal sends a signal to the server and the processes that serve its clients.
func (s *server) signal(signal syscall.Signal) {
	s.t.Helper()
	require.NoError(s.t, syscall.Kill(-s.cmd.Process.Pid, signal))
}

// kill ends the server at once; a killed one stays killed.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	_ = s.cmd.Wait() // it was killed
	s.cmd = nil
}
