package crl_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
)

// A revoked certificate leaves the list when one that was issued after its end has shown
// it (RFC 5280 section 3.3), or as much later as config/crl or its profile say.
func TestExpiredCertificatesLeaveAfterOneMoreList(t *testing.T) {
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		keep    string
		profile time.Duration
		stays   time.Duration
	}{
		"at once":                  {"0", 0, 0},
		"keep_after_expiry":        {"720h", 0, 30 * day},
		"crl_retention of profile": {"0", 60 * day, 60 * day},
		"the longer of both":       {"720h", 60 * day, 60 * day},
	} {
		t.Run(name, func(t *testing.T) {
			now := &clock{now: noon}
			m := shardMount(t, now.Now, 2)
			m.source.kept = map[string]time.Duration{"web@1": c.profile}
			m.configure(t, func(s *crl.Settings) { s.KeepAfterExpiry = c.keep })
			leaf := m.issue(t, []string{shardURL}, noon.Add(day))
			m.revokeOne(t, leaf.serial, cert.Superseded)
			kinds := []crl.Kind{crl.Complete, kindOf(leaf.serial, 2)}
			has := func(entries int, why string) {
				t.Helper()
				m.rebuild(t)
				for _, kind := range kinds {
					list, _ := m.get(t, m.Service, kind)
					require.Len(t, list.RevokedCertificateEntries, entries, "%s: %s", kind, why)
				}
			}
			has(1, "revoked")
			departure, err := m.Departure(t.Context(), "root")
			require.NoError(t, err)
			row, _, err := m.ledger.Row(leaf.serial)
			require.NoError(t, err)
			require.False(t, departure.Gone(&row))
			now.move(day + time.Minute + time.Second) // thisUpdate is backdated by a minute
			has(1, "the first list after its end")
			if c.stays > 0 {
				now.move(c.stays - time.Hour)
				has(1, "kept")
				departure, err = m.Departure(t.Context(), "root")
				require.NoError(t, err)
				require.False(t, departure.Gone(&row), "tidy must leave it to the list")
				now.move(time.Hour)
			}
			has(0, "the next")
			departure, err = m.Departure(t.Context(), "root")
			require.NoError(t, err)
			require.True(t, departure.Gone(&row))
			require.NoError(t, m.Tick(t.Context()))
			again := m.restart(m.store)
			defer again.Close()
			m.store.Reset()
			require.NoError(t, again.Tick(t.Context()))
			require.Empty(t, m.store.Written(), "a restart finds nothing missing")
		})
	}
}
