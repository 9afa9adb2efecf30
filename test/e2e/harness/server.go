package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

const (
	// PluginName is the name under which the engine is registered.
	PluginName = "enterprise-pki"
	rootToken  = "root"
)

// Config says what a server has.
type Config struct {
	// Tokens are the labels of SoftHSM tokens that exist before the server starts,
	// each with the PINs UserPIN and SecurityOfficerPIN.
	Tokens []string
	// Environment holds further "NAME=value" settings for the server and so for the
	// plugin, which inherits them.
	Environment []string
	// Modules are paths of further PKCS#11 libraries that the plugin may load.
	Modules []string
	// Settings are further lines of the configuration file of a raft cluster's nodes.
	Settings string
}

// Server is a running dev server: unsealed, storage in memory, one root token.
type Server struct {
	// Address is the server's URL.
	Address string
	// Dir is the server's folder; it is removed by Stop.
	Dir string
	// Log is the file to which server and plugin write.
	Log string

	binary  string
	client  *api.Client
	process *exec.Cmd
	exited  chan struct{} // closed once the server process was waited for
	tokens  *softHSM
	mounts  atomic.Int64
}

// Main starts a server with the engine registered in it, runs the tests of a
// package and stops the server. It returns the exit code for os.Exit: not 0 also
// when the server cannot start, or leaves processes behind.
func Main(m *testing.M, server **Server, config Config) int {
	started, err := Start(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		return 1
	}
	*server = started
	code := 1
	if err := started.Register(PluginName, module); err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
	} else {
		code = m.Run()
	}
	if err := started.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		code = 1
	}
	return code
}

// Start starts a server and waits until it answers. The caller stops it.
func Start(config Config) (*Server, error) {
	binary, err := VaultBinary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pki-e2e-")
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, Log: filepath.Join(dir, "vault.log"), binary: binary, exited: make(chan struct{})}
	if err := s.start(config); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the Vault server: %w\n%s", err, tailOf(s.Log, 0)), s.Stop())
	}
	return s, nil
}

func (s *Server) start(config Config) error {
	for _, folder := range []string{s.pluginDir(), s.home()} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return err
		}
	}
	tokens, err := newSoftHSM(filepath.Join(s.Dir, "softhsm"), config)
	if err != nil {
		return err
	}
	s.tokens = tokens
	address, err := freeAddress()
	if err != nil {
		return err
	}
	s.Address = "http://" + address
	if err := s.launch(address, config.Environment); err != nil {
		return err
	}
	if s.client, err = s.NewClient(rootToken); err != nil {
		return err
	}
	return s.waitReady()
}

// launch starts the process in a process group of its own, which its plugins join.
func (s *Server) launch(address string, environment []string) error {
	log, err := os.Create(s.Log)
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own copy of the descriptor
	s.process = exec.Command(s.binary, "server", "-dev", "-dev-no-store-token",
		"-dev-root-token-id="+rootToken, "-dev-listen-address="+address,
		"-dev-plugin-dir="+s.pluginDir(), "-log-level=debug")
	s.process.Env = append(s.Environment(), environment...)
	s.process.Dir = s.Dir
	s.process.Stdout, s.process.Stderr = log, log
	s.process.SysProcAttr = ownGroup()
	if err := s.process.Start(); err != nil {
		return err
	}
	go func() {
		_ = s.process.Wait() // how it ended is in the log
		close(s.exited)
	}()
	return nil
}

// waitReady asks for the server's health until it is unsealed and active.
func (s *Server) waitReady() error {
	ctx, cancel := wait.Context(context.Background())
	defer cancel()
	for {
		health, err := s.client.Sys().HealthWithContext(ctx)
		if err == nil && health.Initialized && !health.Sealed && !health.Standby {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("it ended at once: %v", s.process.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w: %w", context.Cause(ctx), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop ends the server, waits for its plugin processes to end and removes its
// folder. A process that outlives the server by more than ten seconds is killed and
// reported: the plugin has to notice that its server is gone.
func (s *Server) Stop() error {
	err := s.end()
	if removeErr := os.RemoveAll(s.Dir); err == nil {
		err = removeErr
	}
	return err
}

// Client returns the client that has the root token.
func (s *Server) Client() *api.Client { return s.client }

// NewClient returns a client with a token of its own, which never retries.
func (s *Server) NewClient(token string) (*api.Client, error) {
	config := api.DefaultConfig()
	if config.Error != nil {
		return nil, config.Error
	}
	config.Address = s.Address
	config.MaxRetries = 0
	client, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	client.SetToken(token)
	client.ClearNamespace()
	return client, nil
}

// Environment returns what a child process needs to reach the server and its
// tokens; nothing of the caller's environment that concerns Vault passes through.
func (s *Server) Environment() []string {
	environment := append(withoutVault(os.Environ()),
		"HOME="+s.home(), "VAULT_ADDR="+s.Address, "VAULT_TOKEN="+rootToken)
	return append(environment, s.tokens.environment()...)
}

func (s *Server) home() string { return filepath.Join(s.Dir, "home") }

func (s *Server) pluginDir() string { return filepath.Join(s.Dir, "plugins") }

// freeAddress returns a loopback address that nobody listened on a moment ago.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
