package hsm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
)

func TestHSM3_ModuleOutsideTheAllowListIsNeverLoaded(t *testing.T) {
	evil := filepath.Join(t.TempDir(), "evil.so")
	require.NoError(t, os.WriteFile(evil, []byte("not loaded, or dlopen would complain"), 0o700))
	link := filepath.Join(t.TempDir(), "libsofthsm2.so")
	require.NoError(t, os.Symlink(evil, link))
	for _, module := range []string{evil, link, "/tmp/evil.so", "libsofthsm2.so", "./libsofthsm2.so", "/usr/lib/softhsm/../../.." + evil} {
		_, err := hsm.Open(t.Context(), hsm.Config{Module: module, TokenLabel: "x", PIN: "y"})
		require.True(t, fault.Is(err, fault.Denied), "%s: %v", module, err)
		require.Equal(t, "module", fault.FieldOfError(err))
		require.Contains(t, err.Error(), "PKI_PKCS11_MODULES")
	}
	// Allowed by name but absent is another matter.
	t.Setenv("PKI_PKCS11_MODULES", "/nowhere/vendor.so")
	_, err := hsm.Open(t.Context(), hsm.Config{Module: "/nowhere/vendor.so", TokenLabel: "x", PIN: "y"})
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	// And a list is the whole list.
	_, err = hsm.Open(t.Context(), hsm.Config{Module: "/usr/lib/softhsm/libsofthsm2.so", TokenLabel: "x", PIN: "y"})
	require.True(t, fault.Is(err, fault.Denied), "%v", err)
}

func TestAllowedModules(t *testing.T) {
	t.Setenv("PKI_PKCS11_MODULES", "/a/one.so: /b/two.so ::")
	require.Equal(t, []string{"/a/one.so", "/b/two.so"}, hsm.AllowedModules())
	t.Setenv("PKI_PKCS11_MODULES", " ")
	require.Contains(t, hsm.AllowedModules(), "/usr/lib/softhsm/libsofthsm2.so")
	for _, path := range hsm.AllowedModules() {
		require.True(t, filepath.IsAbs(path), path)
	}
}

func TestBuildWithoutCgo(t *testing.T) {
	main := `package main

import (
	"context"
	"fmt"
	"os"

	"vault-plugin-secrets-enterprise-pki/backend/hsm"
)

func main() {
	_, err := hsm.Open(context.Background(), hsm.Config{Module: os.Args[1], TokenLabel: "x", PIN: "y"})
	fmt.Println(err)
}
`
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(file, []byte(main), 0o600))
	binary := filepath.Join(t.TempDir(), "main")
	build := exec.Command("go", "build", "-o", binary, file)
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	run := exec.Command(binary, "/tmp/evil.so")
	out, err = run.Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "allow-list")
	run = exec.Command(binary, binary)
	run.Env = append(os.Environ(), "PKI_PKCS11_MODULES="+binary)
	out, err = run.Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "no PKCS#11 support")
	require.Contains(t, string(out), "CGO_ENABLED=1")
}
