package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const module = "vault-plugin-secrets-enterprise-pki"

// Root returns the repository's root: the folder above the working directory whose
// go.mod is the product's.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(content), "module "+module+"\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("finding the root of module %s above the working directory: no such go.mod", module)
		}
		dir = parent
	}
}

// VaultBinary returns the server to test with: VAULT_BIN, bin/vault, or the vault on
// PATH, in this order.
func VaultBinary() (string, error) {
	if path := os.Getenv("VAULT_BIN"); path != "" {
		return executable(path)
	}
	path, err := Binary("vault")
	if err == nil {
		return path, nil
	}
	if path, lookErr := exec.LookPath("vault"); lookErr == nil {
		return path, nil
	}
	return "", err
}

// Binary returns the path of bin/<name>. The error of a missing one says how to
// build it.
func Binary(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	return executable(filepath.Join(root, "bin", name))
}

func executable(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("finding %s: not there; run `make vault build` first", path)
	case err != nil:
		return "", err
	case info.IsDir() || info.Mode()&0o111 == 0:
		return "", fmt.Errorf("finding %s: not an executable file", path)
	}
	return filepath.Abs(path)
}
