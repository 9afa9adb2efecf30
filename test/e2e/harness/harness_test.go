package harness_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

var vault *harness.Server

func TestMain(m *testing.M) {
	started, err := harness.Start(harness.Config{Tokens: []string{"first"}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	vault = started
	code := m.Run()
	if err := vault.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func TestServerTakesAWriteFromCLIAndGivesItToTheClient(t *testing.T) {
	vault.CLI(t, "kv", "put", "-mount=secret", "harness", "word=plain")
	secret, err := vault.Client().KVv2("secret").Get(t.Context(), "harness")
	require.NoError(t, err)
	require.Equal(t, "plain", secret.Data["word"])
}

func TestRefusalComesBackWithItsExitCode(t *testing.T) {
	result := vault.RunCLI(t, "read", "no-such-mount/thing")
	require.NotZero(t, result.Code)
	require.Contains(t, result.Stderr, "no-such-mount")
}

func TestTokensAreTheServersOwn(t *testing.T) {
	vault.NewToken(t, "second")
	list := vault.Tool(t, "pkcs11-tool", "--module", vault.Module(), "--list-token-slots")
	require.Contains(t, list, "first")
	require.Contains(t, list, "second")
	require.Contains(t, vault.Environment(), "PKI_PKCS11_MODULES="+vault.Module())
}

func TestAgentRendersATemplateOnceAndEnds(t *testing.T) {
	vault.CLI(t, "kv", "put", "-mount=secret", "agent", "word=rendered")
	dir := vault.Agent(t, harness.Template{
		Contents:    `{{ with secret "secret/data/agent" }}{{ .Data.data.word }}{{ end }}`,
		Destination: "out.txt",
	})
	content, err := os.ReadFile(filepath.Join(dir, "out.txt"))
	require.NoError(t, err)
	require.Equal(t, "rendered", string(content))
}

func TestStopLeavesNothingBehind(t *testing.T) {
	other, err := harness.Start(harness.Config{})
	require.NoError(t, err)
	health, err := other.Client().Sys().Health()
	require.NoError(t, err)
	require.True(t, health.Initialized)
	require.NoError(t, other.Stop())
	require.NoDirExists(t, other.Dir)
	_, err = other.Client().Sys().Health()
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestMissingBinarySaysHowToBuildIt(t *testing.T) {
	_, err := harness.Binary("no-such-command")
	require.ErrorContains(t, err, "make vault build")
}

func TestVaultBinaryFollowsItsVariable(t *testing.T) {
	t.Setenv("VAULT_BIN", filepath.Join(t.TempDir(), "absent"))
	_, err := harness.VaultBinary()
	require.ErrorContains(t, err, "absent")
}
