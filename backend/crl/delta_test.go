package crl_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

func withDeltas(s *crl.Settings) { s.EnableDelta = true }

// deltaMount has a complete list and publishes deltas.
func deltaMount(t *testing.T, now *clock) *mount {
	m := newMount(t, now.Now)
	m.source.point(crl.Points{CRL: []string{fullURL}, Delta: []string{deltaURL}})
	m.rebuild(t)
	now.move(time.Hour)
	m.configure(t, withDeltas)
	return m
}

// number reads an INTEGER of few octets.
func number(t *testing.T, der []byte) (n int64) {
	t.Helper()
	require.Greater(t, len(der), 2)
	for _, octet := range der[2:] {
		n = n<<8 | int64(octet)
	}
	return n
}

func TestDelta_IsIssuedWithTheCompleteListUnderOneNumber(t *testing.T) {
	now := &clock{now: noon}
	m := newMount(t, now.Now)
	m.source.point(crl.Points{CRL: []string{fullURL}, Delta: []string{deltaURL}})
	first := m.rebuild(t)
	list, _ := m.get(t, m.Service, crl.Complete)
	value, _ := extensionOf(list, "2.5.29.46")
	require.Nil(t, value, "no deltas, no freshestCRL")
	der, _, err := m.List(t.Context(), "root", crl.Delta)
	require.NoError(t, err)
	require.Nil(t, der)

	now.move(time.Hour)
	serial := m.issue(t, []string{fullURL}, noon.AddDate(1, 0, 0)).serial
	m.revokeOne(t, serial, cert.Superseded)
	m.configure(t, withDeltas)
	list, complete := m.get(t, m.Service, crl.Complete)
	value, critical := extensionOf(list, "2.5.29.46")
	require.Equal(t, cert.MarshalPoints([]string{deltaURL}), value)
	require.False(t, critical, "RFC 5280 section 5.2.6")

	delta, head := m.get(t, m.Service, crl.Delta)
	require.Equal(t, complete.Number, head.Number, "issued at the same time, RFC 5280 section 5.2.3")
	require.Equal(t, complete.ThisUpdate, head.ThisUpdate)
	require.Equal(t, first.Number, head.Base)
	value, critical = extensionOf(delta, "2.5.29.27")
	require.True(t, critical, "RFC 5280 section 5.2.4")
	require.Equal(t, first.Number, number(t, value))
	value, _ = extensionOf(delta, "2.5.29.46")
	require.Nil(t, value, "freshestCRL is not in deltas, RFC 5280 section 5.2.6")
	require.Equal(t, []cert.Serial{serial}, serials(delta))
	require.Equal(t, head.Made.Add(30*time.Minute), head.NextUpdate, "twice the interval")
	text := openssl(t, "crl", "-in", file(t, "X509 CRL", delta.Raw), "-text", "-noout")
	require.Contains(t, text, "X509v3 Delta CRL Indicator: critical")
	whole(t, m.store)

	m.configure(t, func(s *crl.Settings) { s.EnableDelta = false })
	der, _, err = m.List(t.Context(), "root", crl.Delta)
	require.NoError(t, err)
	require.Nil(t, der)
	require.Len(t, m.store.Dump(), 3, "config/crl, head and body: the delta is gone")
	list, last := m.get(t, m.Service, crl.Complete)
	value, _ = extensionOf(list, "2.5.29.46")
	require.Nil(t, value)
	require.Greater(t, last.Number, head.Number)
}

// TestDelta_OverTheCompleteListIsTheTruth follows certificates through revocation,
// suspension and resumption, with OpenSSL as the relying party.
func TestDelta_OverTheCompleteListIsTheTruth(t *testing.T) {
	now := &clock{now: noon}
	m := deltaMount(t, now)
	leaf := func() issued { return m.issue(t, []string{fullURL}, noon.AddDate(1, 0, 0)) }
	before, revoked, held, resumed, released := leaf(), leaf(), leaf(), leaf(), leaf()
	m.revokeOne(t, before.serial, cert.Superseded)
	m.revokeOne(t, released.serial, cert.CertificateHold)
	now.move(time.Hour)
	m.rebuild(t)
	full, head := m.get(t, m.Service, crl.Complete)

	now.move(time.Hour)
	m.revokeOne(t, revoked.serial, cert.KeyCompromise)
	m.revokeOne(t, held.serial, cert.CertificateHold)
	m.revokeOne(t, resumed.serial, cert.CertificateHold)
	m.resume(t, resumed.serial)
	m.resume(t, released.serial)
	require.NoError(t, m.RebuildDeltas(t.Context()))
	delta, deltaHead := m.get(t, m.Service, crl.Delta)
	_, same := m.get(t, m.Service, crl.Complete)
	require.Equal(t, head, same, "the complete list is as it was")
	require.Greater(t, deltaHead.Number, head.Number)
	reasons := map[cert.Serial]int{}
	for _, entry := range delta.RevokedCertificateEntries {
		reasons[cert.SerialOf(entry.SerialNumber)] = entry.ReasonCode
	}
	require.Equal(t, map[cert.Serial]int{
		before.serial:   int(cert.Superseded), // since the base, which is the first list
		revoked.serial:  int(cert.KeyCompromise),
		held.serial:     int(cert.CertificateHold),
		resumed.serial:  int(cert.RemoveFromCRL),
		released.serial: int(cert.RemoveFromCRL),
	}, reasons)

	m.refused(t, before, full)
	m.refused(t, released, full)
	m.good(t, revoked, full)
	for _, gone := range []issued{before, revoked, held} {
		m.refused(t, gone, full, delta)
	}
	for _, back := range []issued{resumed, released} {
		m.good(t, back, full, delta)
	}
	now.move(time.Hour)
	m.rebuild(t)
	full, _ = m.get(t, m.Service, crl.Complete)
	require.ElementsMatch(t, []cert.Serial{before.serial, revoked.serial, held.serial}, serials(full))
	whole(t, m.store)
}

// RFC 5280 section 5.2.4: a delta is combined with a complete list whose number is not
// below the base; so the base is the oldest list that a relying party may hold.
func TestDelta_ServesEveryCompleteListThatIsStillValid(t *testing.T) {
	now := &clock{now: noon}
	m := deltaMount(t, now)
	var numbers []int64
	_, head := m.get(t, m.Service, crl.Delta)
	numbers = append(numbers, head.Base)
	for range 4 {
		_, complete := m.get(t, m.Service, crl.Complete)
		numbers = append(numbers, complete.Number)
		now.move(20 * time.Hour)
		m.rebuild(t)
		_, head := m.get(t, m.Service, crl.Delta)
		require.Contains(t, numbers, head.Base)
	}
	_, head = m.get(t, m.Service, crl.Delta)
	// noon and noon+1h have ended at noon+81h; noon+21h has not.
	require.Equal(t, numbers[2], head.Base)
	for range 20 {
		now.move(time.Second)
		m.rebuild(t)
	}
	_, complete := m.get(t, m.Service, crl.Complete)
	require.Len(t, complete.Before, 8, "bounded")
}

func TestDelta_NumbersShareOneSequence(t *testing.T) {
	now := &clock{now: noon}
	m := deltaMount(t, now)
	last := int64(0)
	check := func(s *crl.Service, kind crl.Kind) {
		_, head := m.get(t, s, kind)
		require.Greater(t, head.Number, last)
		last = head.Number
	}
	for range 3 {
		now.move(time.Second)
		require.NoError(t, m.RebuildDeltas(t.Context()))
		check(m.Service, crl.Delta)
		require.NoError(t, m.RebuildDeltas(t.Context()))
		check(m.Service, crl.Delta)
		m.rebuild(t)
		check(m.Service, crl.Complete)
		require.NoError(t, m.RebuildDeltas(t.Context()), "in the second of the complete list")
		check(m.Service, crl.Delta)
		_, complete := m.get(t, m.Service, crl.Complete)
		require.Equal(t, last, complete.Number, "both anew, under one number")
	}
	backup := m.store.Clone()
	now.move(time.Hour)
	require.NoError(t, m.RebuildDeltas(t.Context()))
	check(m.Service, crl.Delta)
	m.rebuild(t)
	check(m.Service, crl.Complete)

	now.move(time.Hour)
	restored := m.restart(backup)
	defer restored.Close()
	require.NoError(t, restored.RebuildDeltas(t.Context()))
	check(restored, crl.Delta)
	_, err := restored.Rebuild(t.Context(), "root")
	require.NoError(t, err)
	check(restored, crl.Complete)
}

func TestRevoked_WithDeltasTheDeltaTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t, time.Now)
		defer m.Close()
		m.rebuild(t)
		pass(time.Hour)
		m.configure(t, withDeltas)
		_, complete := m.get(t, m.Service, crl.Complete)
		pass(time.Minute)
		m.revoke(t, 2, cert.Superseded)
		pass(13 * time.Minute)
		_, head := m.get(t, m.Service, crl.Delta)
		require.Zero(t, head.Entries, "delta_rebuild_interval is 15 minutes")
		pass(time.Minute)
		_, head = m.get(t, m.Service, crl.Delta)
		require.Equal(t, 2, head.Entries)
		_, same := m.get(t, m.Service, crl.Complete)
		require.Equal(t, complete, same, "the complete list waits until it is due")

		m.revoke(t, 1, cert.KeyCompromise)
		synctest.Wait()
		_, head = m.get(t, m.Service, crl.Complete)
		require.Equal(t, 3, head.Entries, "at once, also for who knows no deltas")
		_, head = m.get(t, m.Service, crl.Delta)
		require.Equal(t, 3, head.Entries)
	})
}

func TestTick_RenewsDeltasByTheInterval(t *testing.T) {
	for _, interval := range []time.Duration{15 * time.Minute, time.Hour} {
		now := &clock{now: noon}
		m := deltaMount(t, now)
		m.configure(t, func(s *crl.Settings) { s.DeltaRebuildInterval = interval.String() })
		require.NoError(t, m.Tick(t.Context()))
		_, first := m.get(t, m.Service, crl.Delta)
		now.move(interval - time.Second)
		m.store.Reset()
		require.NoError(t, m.Tick(t.Context()))
		require.Zero(t, m.store.Counts().Total(), "nothing is due")
		now.move(time.Second)
		require.NoError(t, m.Tick(t.Context()))
		_, next := m.get(t, m.Service, crl.Delta)
		require.Equal(t, first.ThisUpdate.Add(interval), next.ThisUpdate)
		require.Equal(t, kvtest.Counts{Puts: 2, Deletes: 1}, m.store.Counts(), "body and head, then the old body goes")
	}
}

// A certificate that ended before a complete list could show it stays on deltas until
// one has (RFC 5280 section 5.2.4, last paragraph), and on that one (section 3.3).
func TestDelta_EndedCertificatesWaitForACompleteList(t *testing.T) {
	now := &clock{now: noon}
	m := deltaMount(t, now)
	leaf := m.issue(t, []string{fullURL}, now.Now().Add(30*time.Minute))
	m.revokeOne(t, leaf.serial, cert.Superseded)
	for range 3 {
		now.move(20 * time.Minute)
		require.NoError(t, m.RebuildDeltas(t.Context()))
		delta, _ := m.get(t, m.Service, crl.Delta)
		require.Equal(t, []cert.Serial{leaf.serial}, serials(delta))
	}
	m.rebuild(t)
	full, _ := m.get(t, m.Service, crl.Complete)
	require.Equal(t, []cert.Serial{leaf.serial}, serials(full))
	now.move(time.Hour)
	m.rebuild(t)
	full, _ = m.get(t, m.Service, crl.Complete)
	require.Empty(t, serials(full))
}

// TestCrash1_DeltaIsAllOrNothing loses each storage operation of a rebuild of both lists
// and of a delta alone.
func TestCrash1_DeltaIsAllOrNothing(t *testing.T) {
	now := &clock{now: noon}
	m := deltaMount(t, now)
	m.add(t, large, &ledger.Revocation{At: noon, Reason: cert.Superseded})
	now.move(time.Hour)
	m.rebuild(t)
	old := m.store.Clone()
	now.move(time.Hour)
	steps := map[string]func(*crl.Service) error{
		"both":  func(s *crl.Service) error { _, err := s.Rebuild(t.Context(), "root"); return err },
		"delta": func(s *crl.Service) error { return s.RebuildDeltas(t.Context()) },
	}
	for name, step := range steps {
		failed := 0
		for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
			for n := 1; ; n++ {
				store := old.Clone()
				s := m.restart(store)
				store.Break(n, loss)
				_ = step(s)
				broke := store.Broken()
				s.Close()
				next := m.restart(store)
				for _, kind := range []crl.Kind{crl.Complete, crl.Delta} {
					m.get(t, next, kind)
				}
				whole(t, store)
				_, err := next.Rebuild(t.Context(), "root")
				require.NoError(t, err)
				_, complete := m.get(t, next, crl.Complete)
				_, delta := m.get(t, next, crl.Delta)
				require.Equal(t, complete.Number, delta.Number)
				require.Len(t, store.Dump(), 3+complete.Chunks+delta.Chunks, "%s, operation %d: leftovers", name, n)
				next.Close()
				if !broke {
					break
				}
				failed++
			}
		}
		require.GreaterOrEqual(t, failed, 2*8, name)
	}
}
