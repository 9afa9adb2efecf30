package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/vault/api"
)

// Register puts bin/<binary> into the server's plugin folder and registers it as a
// secrets engine under a name. Registering the binary under a second name (the
// built-in "pki" may be shadowed) is allowed.
func (s *Server) Register(name, binary string) error {
	source, err := Binary(binary)
	if err != nil {
		return err
	}
	sum, err := copyExecutable(filepath.Join(s.pluginDir(), binary), source)
	if err != nil {
		return fmt.Errorf("copying plugin %s: %w", binary, err)
	}
	err = s.client.Sys().RegisterPlugin(&api.RegisterPluginInput{
		Name:    name,
		Type:    api.PluginTypeSecrets,
		Command: binary,
		SHA256:  sum,
		Env:     s.tokens.environment(),
	})
	if err != nil {
		return fmt.Errorf("registering plugin %s: %w", name, err)
	}
	return nil
}

// Mount enables the engine at a path of the test's own and returns the path, without
// a slash. It is disabled when the test ends. When the test failed by then, what the
// server logged meanwhile is shown.
func (s *Server) Mount(t testing.TB) string {
	t.Helper()
	return s.MountWith(t, &api.MountInput{Type: PluginName})
}

// MountWith is Mount with settings: another type, or a tuned mount.
func (s *Server) MountWith(t testing.TB, input *api.MountInput) string {
	t.Helper()
	s.ShowLog(t)
	path := fmt.Sprintf("pki-%d", s.mounts.Add(1))
	if err := s.client.Sys().Mount(path, input); err != nil {
		t.Fatalf("mounting %s at %s: %v", input.Type, path, err)
	}
	t.Cleanup(func() {
		if err := s.client.Sys().Unmount(path); err != nil {
			t.Errorf("unmounting %s: %v", path, err)
		}
	})
	return path
}

// copyExecutable copies a file, unless it is there already, and returns the
// lower-case hex of its SHA-256. Vault follows no link out of its plugin folder.
func copyExecutable(target, source string) (string, error) {
	from, err := os.Open(source)
	if err != nil {
		return "", err
	}
	defer from.Close()
	hash := sha256.New()
	to, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if os.IsExist(err) {
		_, err = io.Copy(hash, from)
		return hex.EncodeToString(hash.Sum(nil)), err
	}
	if err != nil {
		return "", err
	}
	if _, err = io.Copy(io.MultiWriter(to, hash), from); err != nil {
		_ = to.Close()
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), to.Close()
}
