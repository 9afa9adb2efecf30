package crl_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// A revocation for which nobody hurries may come while a list is being made, which may
// have read the ledger before: it waits for the delay, and the end of that rebuild does
// not forget it.
func TestRevoked_DuringARebuildWaitsForTheNextList(t *testing.T) {
	schedule(t, func(t *testing.T, m *mount) {
		once := true
		m.source.onAsked(func(string) {
			if once {
				once = false
				m.Revoked("root", cert.Superseded) // as if another request came in
			}
		})
		first := m.rebuild(t)
		pass(59 * time.Second)
		_, head := m.read(t, m.Service)
		require.Equal(t, first, head, "not yet")
		pass(time.Second)
		_, head = m.read(t, m.Service)
		require.Equal(t, first.ThisUpdate.Add(time.Minute), head.ThisUpdate, "revoked during a rebuild and forgotten")
	})
}
