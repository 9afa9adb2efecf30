package crl_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// Every storage operation of Forget is lost in turn: what is left is whole, nobody
// reads half of it, and Forget goes on where it was.
func TestCrash1_ForgetGoesOn(t *testing.T) {
	now := &clock{now: noon}
	m := newMount(t, now.Now)
	m.add(t, large, &ledger.Revocation{At: noon, Reason: cert.Superseded})
	m.rebuild(t)
	old := m.store.Clone()
	delete(m.source.byID, "root")
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		n := 1
		for ; ; n++ {
			store := old.Clone()
			s := m.restart(store)
			store.Break(n, loss)
			err := s.Forget(t.Context(), "root")
			broken := store.Broken()
			require.Equal(t, broken, err != nil)
			report, err := fsck.Check(t.Context(), store)
			require.NoError(t, err)
			require.NoError(t, report.Err(), "operation %d", n)
			for _, again := range []*crl.Service{m.restart(store), s} {
				if broken {
					_, _, err = again.Get(t.Context(), "root")
					require.NoError(t, err)
				}
				require.NoError(t, again.Forget(t.Context(), "root"))
				left, err := again.Stored(t.Context())
				require.NoError(t, err)
				require.Empty(t, left)
				der, _, err := again.Get(t.Context(), "root")
				require.NoError(t, err)
				require.Nil(t, der)
			}
			require.Empty(t, store.Dump())
			if !broken {
				break
			}
		}
		require.Greater(t, n, 4)
	}
}

// A list says up to which change of the ledger it has the revocations.
func TestNewestSaysWhatIsOnTheList(t *testing.T) {
	now := &clock{now: noon}
	m := newMount(t, now.Now)
	head, err := m.Newest(t.Context(), "root")
	require.NoError(t, err)
	require.Zero(t, head)
	before := m.add(t, 1, &ledger.Revocation{At: noon, Reason: cert.Superseded})[0]
	m.rebuild(t)
	after := m.add(t, 1, &ledger.Revocation{At: noon, Reason: cert.Superseded})[0]
	for _, s := range []*crl.Service{m.Service, m.restart(m.store)} {
		head, err = s.Newest(t.Context(), "root")
		require.NoError(t, err)
		row, _, err := m.ledger.Row(before)
		require.NoError(t, err)
		require.LessOrEqual(t, row.Sequence, head.Through)
		row, _, err = m.ledger.Row(after)
		require.NoError(t, err)
		require.Greater(t, row.Sequence, head.Through)
	}
	settings := crl.DefaultSettings()
	settings.Disable = true
	require.NoError(t, m.PutSettings(t.Context(), settings))
	head, err = m.Newest(t.Context(), "root")
	require.NoError(t, err)
	require.Zero(t, head.Through, "a disabled list has nothing on it")
}
