package paths_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

func TestTokensAreDeclaredAndTheirPINNeverShown(t *testing.T) {
	k := token.New(t, "issuing")
	m := pathstest.OverGRPC(t)
	m.List(t, "hsm/", nil).Expect(http.StatusNotFound)
	settings := map[string]any{"module": k.Module, "token_label": "issuing", "pin": k.PIN}
	written := m.Write(t, "hsm/main", settings).Expect(http.StatusOK)
	require.NotContains(t, written.Data, "pin")
	require.EqualValues(t, 8, written.Number("max_sessions"))
	require.Equal(t, written.Data, m.Read(t, "hsm/main", nil).Expect(http.StatusOK).Data)
	require.Equal(t, []string{"main"}, m.List(t, "hsm/", nil).Expect(http.StatusOK).Texts("keys"))
	require.Equal(t, http.StatusConflict, m.Write(t, "hsm/Main", settings).Status)

	patched := m.Patch(t, "hsm/main", map[string]any{"max_sessions": "4"}).Expect(http.StatusOK)
	require.EqualValues(t, 4, patched.Number("max_sessions"))
	require.Equal(t, "issuing", patched.Text("token_label"))

	status := m.Read(t, "hsm/main/status", nil).Expect(http.StatusOK)
	require.Equal(t, true, status.Data["reachable"])
	require.Equal(t, k.Serial, status.Text("serial"))
	require.NotEmpty(t, status.Texts("mechanisms"))

	key := m.Write(t, "keys/generate/kms", map[string]any{"hsm": "main", "key_type": "ec", "key_name": "ca"}).Expect(http.StatusOK)
	require.Equal(t, "main", key.Text("managed_key_name"))
	require.NotEmpty(t, key.Text("managed_key_id"))
	evidence, ok := key.Data["evidence"].(map[string]any)
	require.True(t, ok)
	require.Equal(t, true, evidence["never_extractable"])
	require.Equal(t, false, evidence["extractable"])
	require.Equal(t, http.StatusConflict, m.Delete(t, "hsm/main").Status)
	m.Write(t, "root/generate/existing", map[string]any{"key_ref": "ca", "common_name": "Token Root"}).Expect(http.StatusOK)
	require.Equal(t, http.StatusConflict, m.Delete(t, "key/ca").Status)
	m.Read(t, "hsm/none", nil).Expect(http.StatusNotFound)
}

func TestHSM1_AWrongPINIsRefusedAndNotRepeated(t *testing.T) {
	k := token.New(t, "issuing")
	m := pathstest.OverGRPC(t)
	wrong := m.Write(t, "hsm/main", map[string]any{"module": k.Module, "token_label": "issuing", "pin": "not-the-pin"})
	require.Equal(t, http.StatusForbidden, wrong.Status, wrong.Errors)
	require.NotContains(t, strings.Join(wrong.Errors, " "), "not-the-pin")
	m.Read(t, "hsm/main", nil).Expect(http.StatusNotFound)
}

func TestHSM3_OnlyAllowedLibrariesAreLoaded(t *testing.T) {
	m := pathstest.OverGRPC(t)
	evil := m.Write(t, "hsm/main", map[string]any{"module": "/tmp/evil.so", "token_label": "x", "pin": "1"})
	require.Equal(t, http.StatusForbidden, evil.Status, evil.Errors)
	for _, settings := range []map[string]any{
		{"token_label": "x", "pin": "1"},
		{"module": "/usr/lib/softhsm/libsofthsm2.so", "pin": "1"},
		{"module": "/usr/lib/softhsm/libsofthsm2.so", "token_label": "x", "token_serial": "y", "pin": "1"},
		{"module": "/usr/lib/softhsm/libsofthsm2.so", "token_label": "x", "pin": "1", "max_sessions": 1},
	} {
		m.Write(t, "hsm/main", settings).Expect(http.StatusBadRequest)
	}
}
