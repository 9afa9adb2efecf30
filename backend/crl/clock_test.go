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

// After the clock was set back and the process started anew, the ledger counts on from
// below the number that the lists were made at. No revocation may be missed for that.
func TestSequenceThatWentBackHidesNoRevocation(t *testing.T) {
	now := &clock{now: noon}
	m := newMount(t, now.Now)
	m.source.point(crl.Points{CRL: []string{fullURL, shardURL}, Delta: []string{deltaURL}})
	m.rebuild(t)
	now.move(time.Hour)
	m.configure(t, func(s *crl.Settings) { s.EnableDelta, s.Shards = true, 2 })
	_, before := m.get(t, m.Service, crl.Complete)

	now.move(-24 * time.Hour)
	m.ledger = ledger.New(ledger.Config{Store: kvtest.New(), Now: now.Now})
	require.NoError(t, m.ledger.Load(t.Context()))
	require.Less(t, m.ledger.Sequence(), before.Through)
	m.Service = m.restart(m.store)
	defer m.Close()
	leaf := m.issue(t, []string{fullURL}, noon.AddDate(1, 0, 0))
	m.revokeOne(t, leaf.serial, cert.Superseded)
	now.move(23*time.Hour + 30*time.Minute)
	require.NoError(t, m.RebuildDeltas(t.Context()))
	full, complete := m.get(t, m.Service, crl.Complete)
	require.Contains(t, serials(full), leaf.serial, "where no delta can be told, a complete list is made")
	require.Greater(t, complete.Number, before.Number)
	require.NoError(t, m.Tick(t.Context()))
	list, _ := m.get(t, m.Service, kindOf(leaf.serial, 2))
	require.Contains(t, serials(list), leaf.serial)

	next := m.issue(t, []string{fullURL}, noon.AddDate(1, 0, 0))
	now.move(time.Hour)
	m.revokeOne(t, next.serial, cert.Superseded)
	require.NoError(t, m.RebuildDeltas(t.Context()))
	delta, head := m.get(t, m.Service, crl.Delta)
	require.Contains(t, serials(delta), next.serial)
	require.Equal(t, complete.Number, head.Base, "earlier lists are no base any more")
}
