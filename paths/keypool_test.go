package paths_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/wait"
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

// The first key of a size is asked for by a request; from then on keys are ready.
func TestKeyPoolTellsHowManyKeysAreReady(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		ready := func() map[string]any { return m.Read(t, "keypool/status", nil).Expect(http.StatusOK).Data }
		require.Equal(t, map[string]any{"rsa_2048": 0.0, "rsa_3072": 0.0, "rsa_4096": 0.0}, ready())
		m.Write(t, "root/generate/internal", map[string]any{"common_name": "Root", "key_type": "ec", "ttl": "87600h"}).Expect(http.StatusOK)
		m.Write(t, "roles/rsa", map[string]any{"allow_any_name": true, "key_type": "rsa"}).Expect(http.StatusOK)
		m.Write(t, "config/keypool", map[string]any{"rsa_2048": 2}).Expect(http.StatusOK)
		m.Write(t, "issue/rsa", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
		wait.Until(t, "two RSA keys are ready", func() bool { return ready()["rsa_2048"] == 2.0 })
		m.Write(t, "config/keypool", map[string]any{"rsa_2048": 0}).Expect(http.StatusOK)
		require.Zero(t, ready()["rsa_2048"])
	})
}
