package crl_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// shows asks which list shows a certificate.
func (m *mount) shows(t testing.TB, serial cert.Serial, reason cert.Reason) crl.Shows {
	t.Helper()
	shows, err := m.Shows(t.Context(), "root", serial, reason)
	require.NoError(t, err)
	return shows
}

// What a revocation is told is what happens.
func TestShows_TheListThatIsMade(t *testing.T) {
	for name, edit := range map[string]func(*crl.Settings){
		"complete": func(s *crl.Settings) { s.RebuildDelay = "10m" },
		"delta":    func(s *crl.Settings) { s.EnableDelta, s.DeltaRebuildInterval = true, "10m" },
	} {
		t.Run(name, func(t *testing.T) {
			schedule(t, func(t *testing.T, m *mount) {
				m.configure(t, edit)
				kind := crl.Kind(name)
				first := m.rebuild(t)
				pass(2 * time.Minute)
				if kind == crl.Delta { // the delay counts from the last delta, not from the complete list
					require.NoError(t, m.RebuildDeltas(t.Context()))
				} else {
					first = m.rebuild(t)
				}
				pass(3 * time.Minute)
				late := m.revoke(t, 1, cert.Superseded)[0]
				told := m.shows(t, late, cert.Superseded)
				require.Equal(t, first.Made.Add(10*time.Minute).Add(map[crl.Kind]time.Duration{crl.Delta: 2 * time.Minute}[kind]), told.Due.UTC().Truncate(time.Second))
				_, before := m.get(t, m.Service, kind)
				require.Greater(t, told.Number.Big().Int64(), before.Number, "not yet")
				pass(told.Due.Sub(m.now()))
				_, head := m.get(t, m.Service, kind)
				require.Equal(t, told.Due.UTC().Truncate(time.Second), head.Made)
				require.GreaterOrEqual(t, head.Number, told.Number.Big().Int64())
				require.Equal(t, crl.Shows{Number: cert.CRLNumberFrom(head.Number)}, m.shows(t, late, cert.Superseded))

				compromised := m.add(t, 1, &ledger.Revocation{At: m.now(), Reason: cert.KeyCompromise})[0]
				require.Equal(t, m.now(), m.shows(t, compromised, cert.KeyCompromise).Due, "at once")
				m.Revoked("root", cert.KeyCompromise)
				pass(0)
				_, head = m.get(t, m.Service, crl.Complete)
				require.Equal(t, crl.Shows{Number: cert.CRLNumberFrom(head.Number)}, m.shows(t, compromised, cert.KeyCompromise))
			})
		})
	}
}

func TestShows_NothingThatIsNotSo(t *testing.T) {
	now := &clock{now: noon}
	m := newMount(t, now.Now)
	leaf := m.add(t, 1, &ledger.Revocation{At: noon, Reason: cert.Superseded})[0]
	require.Equal(t, crl.Shows{Number: cert.CRLNumberFrom(noon.Unix()), Due: noon}, m.shows(t, leaf, cert.Superseded), "there is no list yet")
	head := m.rebuild(t)
	require.Equal(t, crl.Shows{Number: cert.CRLNumberFrom(head.Number)}, m.shows(t, leaf, cert.Superseded))

	loading := ledger.New(ledger.Config{Store: kvtest.New(), Now: now.Now})
	starting := crl.New(crl.Config{Store: m.store, Ledger: loading, Source: m.source, Now: now.Now})
	defer starting.Close()
	told, err := starting.Shows(t.Context(), "root", leaf, cert.Superseded)
	require.NoError(t, err)
	require.Equal(t, crl.Shows{Number: cert.CRLNumberFrom(head.Number + 1), Due: noon}, told, "while the ledger loads")

	m.configure(t, func(s *crl.Settings) { s.Disable = true })
	require.Zero(t, m.shows(t, leaf, cert.Superseded), "no list tells of anything")
}
