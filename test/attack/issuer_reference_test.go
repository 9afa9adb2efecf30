package attack_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// TestAuthz2_NoIssuerTakesTheIDOfADeletedOne: a role that refers to an issuer by id
// never issues by another one, and by no door does an issuer get such a name.
func TestAuthz2_NoIssuerTakesTheIDOfADeletedOne(t *testing.T) {
	m := pathstest.InProcess(t)
	rootNamed(t, m, "good", nil)
	id := m.Read(t, "issuer/good", nil).OK().Text("issuer_id")
	for _, name := range []string{"Default", "SELF", "0a1b2c3d-0a1b-4c3d-8a1b-0a1b2c3d4e5f", id} {
		fields := map[string]any{"common_name": "evil", "key_type": "ec", "issuer_name": name}
		for _, path := range []string{"root/generate/internal", "root/rotate/internal", "issuers/generate/root/internal", "issuers/generate/intermediate/internal", "intermediate/generate/internal"} {
			require.Contains(t, m.Write(t, path, fields).Expect(400).Errors[0], "issuer_name", "%s %s", path, name)
		}
		m.Write(t, "issuer/good", map[string]any{"issuer_name": name}).Expect(400)
		m.Patch(t, "issuer/good", map[string]any{"issuer_name": name}).Expect(400)
	}
}
