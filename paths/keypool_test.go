package paths_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

func TestKeyPoolSettings(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		read := m.Read(t, "config/keypool", nil).Expect(http.StatusOK)
		require.Equal(t, map[string]any{"rsa_2048": 32.0, "rsa_3072": 8.0, "rsa_4096": 4.0}, read.Data)
		m.Write(t, "config/keypool", map[string]any{"rsa_2048": "3"}).Expect(http.StatusOK)
		m.Restart(t)
		read = m.Read(t, "config/keypool", nil).Expect(http.StatusOK)
		require.Equal(t, map[string]any{"rsa_2048": 3.0, "rsa_3072": 8.0, "rsa_4096": 4.0}, read.Data)
		m.Write(t, "config/keypool", map[string]any{"rsa_4096": -1}).Expect(http.StatusBadRequest)
	})
}
