package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// packages names the Debian package of each foreign program that tests run.
var packages = map[string]string{
	"softhsm2-util": "softhsm2",
	"pkcs11-tool":   "opensc",
	"certtool":      "gnutls-bin",
	"p11tool":       "gnutls-bin",
	"ocsptool":      "gnutls-bin",
	"openssl":       "openssl",
	"p11-kit":       "p11-kit",
	"ssh-keygen":    "openssh-client",
	"jq":            "jq",
	"curl":          "curl",
}

// Command is one run of a program, with the server's environment.
type Command struct {
	Name  string // a program on PATH, or a path
	Args  []string
	Stdin string
	Env   []string // further "NAME=value" settings
	Dir   string   // "" for a folder that is the test's own
}

// Result is how a command ended.
type Result struct {
	Stdout string
	Stderr string
	Code   int // the exit code
}

// Run runs a command and returns how it ended, whatever its exit code. A program
// that is not installed fails the test and names its Debian package.
func (s *Server) Run(t testing.TB, command Command) Result {
	t.Helper()
	path, err := exec.LookPath(command.Name)
	if err != nil {
		t.Fatalf("running %s: %v%s", command.Name, err, packageHint(command.Name))
	}
	// Not the test's context: that one is over when a cleanup runs a command.
	ctx, cancel := wait.Context(context.Background())
	defer cancel()
	run := exec.CommandContext(ctx, path, command.Args...)
	run.Env = append(s.Environment(), command.Env...)
	run.Dir = command.Dir
	if run.Dir == "" {
		run.Dir = t.TempDir()
	}
	run.Stdin = strings.NewReader(command.Stdin)
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	run.WaitDelay = time.Second
	err = run.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("running %s %s: %v", command.Name, strings.Join(command.Args, " "), err)
	}
	if ctx.Err() != nil {
		t.Fatalf("running %s %s: %v", command.Name, strings.Join(command.Args, " "), context.Cause(ctx))
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: run.ProcessState.ExitCode()}
}

// Tool runs a program and returns its standard output without the last newline. Any
// exit code but 0 fails the test.
func (s *Server) Tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	return s.Must(t, Command{Name: name, Args: args})
}

// Must runs a command that has to succeed and returns its standard output without
// the last newline.
func (s *Server) Must(t testing.TB, command Command) string {
	t.Helper()
	result := s.Run(t, command)
	if result.Code != 0 {
		t.Fatalf("%s %s: exit code %d\n%s%s", filepath.Base(command.Name), strings.Join(command.Args, " "),
			result.Code, result.Stdout, result.Stderr)
	}
	return strings.TrimSuffix(result.Stdout, "\n")
}

// CLI runs the vault command with the root token and returns its standard output
// without the last newline. Any exit code but 0 fails the test.
func (s *Server) CLI(t testing.TB, args ...string) string {
	t.Helper()
	return s.Must(t, Command{Name: s.binary, Args: args})
}

// RunCLI runs the vault command, whatever its exit code: for refusals.
func (s *Server) RunCLI(t testing.TB, args ...string) Result {
	t.Helper()
	return s.Run(t, Command{Name: s.binary, Args: args})
}

// Ceremony runs bin/pki-ceremony, which needs no server but shares its tokens.
func (s *Server) Ceremony(t testing.TB, dir string, args ...string) string {
	t.Helper()
	path, err := Binary("pki-ceremony")
	if err != nil {
		t.Fatal(err)
	}
	return s.Must(t, Command{Name: path, Args: args, Dir: dir})
}

func packageHint(program string) string {
	if name, ok := packages[program]; ok {
		return fmt.Sprintf(" (Debian package %s; `make deps` installs it)", name)
	}
	return ""
}
