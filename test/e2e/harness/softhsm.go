package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The PINs of every SoftHSM token that the harness makes.
const (
	UserPIN            = "1234"
	SecurityOfficerPIN = "5678"
)

// softHSM is a SoftHSM installation of the server's own: a configuration file and a
// folder of tokens, in which a plugin sees no token of the machine's user.
type softHSM struct {
	dir     string
	module  string   // path of the PKCS#11 library
	allowed []string // paths of all libraries that the plugin may load
}

// newSoftHSM lays out dir and initialises the tokens.
func newSoftHSM(dir string, config Config) (*softHSM, error) {
	module, err := softHSMModule()
	if err != nil {
		return nil, err
	}
	h := &softHSM{dir: dir, module: module, allowed: append([]string{module}, config.Modules...)}
	if err := os.MkdirAll(h.objects(), 0o700); err != nil {
		return nil, err
	}
	settings := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n", h.objects())
	if err := os.WriteFile(h.config(), []byte(settings), 0o600); err != nil {
		return nil, err
	}
	for _, label := range config.Tokens {
		if err := h.initialise(label); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// initialise makes a token in a free slot.
func (h *softHSM) initialise(label string) error {
	tool := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label,
		"--pin", UserPIN, "--so-pin", SecurityOfficerPIN)
	tool.Env = append(os.Environ(), h.environment()...)
	output, err := tool.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("making token %s: %w%s", label, err, packageHint("softhsm2-util"))
	}
	if err != nil {
		return fmt.Errorf("making token %s: %w: %s", label, err, output)
	}
	return nil
}

func (h *softHSM) objects() string { return filepath.Join(h.dir, "tokens") }

func (h *softHSM) config() string { return filepath.Join(h.dir, "softhsm2.conf") }

// environment holds what a process needs to use the tokens.
func (h *softHSM) environment() []string {
	if h == nil {
		return nil
	}
	return []string{"SOFTHSM2_CONF=" + h.config(), "PKI_PKCS11_MODULES=" + strings.Join(h.allowed, ":")}
}

// Module returns the path of the PKCS#11 library that the server may load: SoftHSM's.
func (s *Server) Module() string { return s.tokens.module }

// NewToken makes a token while the server runs; its PINs are UserPIN and
// SecurityOfficerPIN. A plugin that has the library open may have to open it again
// to see the token.
func (s *Server) NewToken(t testing.TB, label string) {
	t.Helper()
	if err := s.tokens.initialise(label); err != nil {
		t.Fatal(err)
	}
}

// TokenDir returns the folder that holds the tokens' objects. Moving it away is how
// a test loses them.
func (s *Server) TokenDir() string { return s.tokens.objects() }

// softHSMModule finds the library where Linux distributions put it.
func softHSMModule() (string, error) {
	for _, pattern := range []string{
		"/usr/lib/softhsm/libsofthsm2.so",
		"/usr/lib/*/softhsm/libsofthsm2.so",
		"/usr/lib64/pkcs11/libsofthsm2.so",
		"/usr/local/lib/softhsm/libsofthsm2.so",
	} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("finding libsofthsm2.so: not installed%s", packageHint("softhsm2-util"))
}
