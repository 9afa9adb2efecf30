package token_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/token"
)

func TestTokensOfOneTestShareADirectory(t *testing.T) {
	first := token.New(t, "one")
	second := token.New(t, "two")
	twin := token.New(t, "two")

	require.Equal(t, first.Config, second.Config)
	require.Equal(t, first.Config, os.Getenv("SOFTHSM2_CONF"))
	require.NotEqual(t, second.Serial, twin.Serial, "tokens with one label are told apart by serial number")
	require.Len(t, first.Serial, 16)

	cmd := exec.Command("softhsm2-util", "--show-slots")
	cmd.Env = append(os.Environ(), first.Env())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err)
	for _, made := range []*token.Token{first, second, twin} {
		require.Contains(t, string(out), made.Serial)
	}
	require.Equal(t, 2, strings.Count(string(out), " two "))
}

func TestTPMLivesAsLongAsItsTest(t *testing.T) {
	for range 2 {
		var store string
		t.Run("one", func(t *testing.T) {
			tpm := token.NewTPM(t)
			store = os.Getenv("TPM2_PKCS11_STORE")
			require.DirExists(t, store)
			first, second := tpm.Token("first"), tpm.Token("second")
			require.Equal(t, first.Serial, second.Serial)
			tpm.PowerOff()
			tpm.PowerOff() // once more than it was on
			tpm.PowerOn()
			out, err := exec.Command("pkcs11-tool", "--module", tpm.Module, "--list-token-slots").CombinedOutput()
			require.NoError(t, err, "%s", out)
			for _, label := range []string{"first", "second"} {
				require.Regexp(t, `token label\s+: `+label, string(out))
			}
		})
		require.NoDirExists(t, store)
	}
}

func TestEachTestHasItsOwnDirectory(t *testing.T) {
	var configs []string
	for _, name := range []string{"a", "b"} {
		t.Run(name, func(t *testing.T) { configs = append(configs, token.New(t, name).Config) })
	}
	require.NotEqual(t, configs[0], configs[1])
	require.NoFileExists(t, configs[0])
}
