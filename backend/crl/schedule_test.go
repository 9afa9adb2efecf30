package crl_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// pass lets time pass and waits until the background has done its work.
func pass(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

// schedule runs a test in a bubble, in which time passes at once; the mount's list
// was made just now and its settings are read.
func schedule(t *testing.T, test func(t *testing.T, m *mount)) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t, time.Now)
		m.rebuild(t)
		test(t, m)
		m.Close()
	})
}

func TestRevoked_BurstBecomesOneListWithinTheDelay(t *testing.T) {
	schedule(t, func(t *testing.T, m *mount) {
		_, before := m.read(t, m.Service)
		for range 10 {
			m.revoke(t, 10, cert.Superseded)
			pass(time.Second)
		}
		_, head := m.read(t, m.Service)
		require.Equal(t, before, head, "not yet: the last list is 10 seconds old")
		pass(49 * time.Second)
		_, head = m.read(t, m.Service)
		require.Equal(t, before, head)
		pass(time.Second)
		_, head = m.read(t, m.Service)
		require.Equal(t, 100, head.Entries)
		require.Equal(t, before.ThisUpdate.Add(time.Minute), head.ThisUpdate)
		pass(time.Hour)
		_, last := m.read(t, m.Service)
		require.Equal(t, head, last, "one list for the whole burst")
	})
}

func TestRevoked_AtOnceWhenTheLastListIsOld(t *testing.T) {
	schedule(t, func(t *testing.T, m *mount) {
		pass(2 * time.Minute)
		m.revoke(t, 1, cert.Superseded)
		synctest.Wait()
		_, head := m.read(t, m.Service)
		require.Equal(t, 1, head.Entries)
	})
}

func TestRevoked_CompromiseIsListedAtOnce(t *testing.T) {
	for _, reason := range []cert.Reason{cert.KeyCompromise, cert.CACompromise, cert.AACompromise} {
		schedule(t, func(t *testing.T, m *mount) {
			m.revoke(t, 3, cert.Superseded) // waits for its turn
			pass(time.Second)
			m.revoke(t, 1, reason)
			synctest.Wait()
			_, head := m.read(t, m.Service)
			require.Equal(t, 4, head.Entries, "those that waited are on the same list")
			pass(time.Hour)
			_, last := m.read(t, m.Service)
			require.Equal(t, head, last)
		})
	}
}

func TestRevoked_DuringARebuildIsOnTheNextList(t *testing.T) {
	schedule(t, func(t *testing.T, m *mount) {
		once := true
		m.source.onAsked(func(string) {
			if once {
				once = false
				m.Revoked("root", cert.KeyCompromise) // as if another request came in
			}
		})
		first := m.rebuild(t)
		synctest.Wait()
		_, head := m.read(t, m.Service)
		require.Equal(t, first.Number+1, head.Number)
	})
}

func TestRebuild_CallersShareTheNextList(t *testing.T) {
	schedule(t, func(t *testing.T, m *mount) {
		_, before := m.read(t, m.Service)
		proceed := make(chan struct{})
		m.source.onAsked(func(string) { <-proceed })
		numbers := map[int64]int{}
		heads := make(chan crl.Head)
		call := func() {
			head, err := m.Rebuild(t.Context(), "root")
			require.NoError(t, err)
			heads <- head
		}
		go call()
		synctest.Wait() // the first rebuild is under way
		for range 49 {
			go call()
		}
		synctest.Wait()
		close(proceed)
		for range 50 {
			numbers[(<-heads).Number]++
		}
		require.Equal(t, map[int64]int{before.Number + 1: 1, before.Number + 2: 49}, numbers)
		require.Len(t, m.store.Dump(), 2, "nothing is left over")
	})
}

func TestRevoked_FailureIsLeftToTick(t *testing.T) {
	schedule(t, func(t *testing.T, m *mount) {
		broken := errors.New("token is gone")
		m.source.fail(broken)
		m.revoke(t, 1, cert.KeyCompromise)
		synctest.Wait()
		require.ErrorIs(t, m.LastError("root"), broken)
		_, head := m.read(t, m.Service)
		require.Zero(t, head.Entries, "the old list is still served")
		require.ErrorIs(t, m.Tick(t.Context()), broken)

		m.source.fail(nil)
		require.NoError(t, m.Tick(t.Context()))
		require.NoError(t, m.LastError("root"))
		_, head = m.read(t, m.Service)
		require.Equal(t, 1, head.Entries)
	})
}

func TestRevoked_FollowsTheRebuildDelay(t *testing.T) {
	schedule(t, func(t *testing.T, m *mount) {
		settings := crl.DefaultSettings()
		settings.RebuildDelay = "10s"
		require.NoError(t, m.PutSettings(t.Context(), settings))
		m.revoke(t, 1, cert.Superseded)
		pass(9 * time.Second)
		_, head := m.read(t, m.Service)
		require.Zero(t, head.Entries)
		pass(time.Second)
		_, head = m.read(t, m.Service)
		require.Equal(t, 1, head.Entries)
	})
}

func TestClose_DoesNotWaitForTheDelay(t *testing.T) {
	schedule(t, func(t *testing.T, m *mount) {
		m.revoke(t, 1, cert.Superseded)
		start := time.Now()
		m.Close()
		require.Equal(t, start, time.Now())
	})
}

func TestClose_DoesNotWaitLongForAHangingToken(t *testing.T) {
	schedule(t, func(t *testing.T, m *mount) {
		hang := make(chan struct{})
		m.source.onAsked(func(string) { <-hang })
		m.revoke(t, 1, cert.KeyCompromise)
		synctest.Wait()
		start := time.Now()
		m.Close()
		require.LessOrEqual(t, time.Since(start), 2*time.Second)
		close(hang)
		synctest.Wait()
	})
}

func TestTick_RenewsAtHalfOfTheLife(t *testing.T) {
	schedule(t, func(t *testing.T, m *mount) {
		first := ticked(t, m)
		pass(36*time.Hour - time.Second)
		require.Equal(t, first, ticked(t, m))
		pass(time.Second)
		require.Greater(t, ticked(t, m), first)
	})
}

func TestTick_AutoRebuildRenewsInTheGracePeriod(t *testing.T) {
	schedule(t, func(t *testing.T, m *mount) {
		settings := crl.DefaultSettings()
		settings.AutoRebuild, settings.AutoRebuildGracePeriod = true, "5h"
		require.NoError(t, m.PutSettings(t.Context(), settings))
		first := ticked(t, m)
		pass(67*time.Hour - time.Second)
		require.Equal(t, first, ticked(t, m))
		pass(time.Second)
		require.Greater(t, ticked(t, m), first)
	})
}

// ticked calls Tick and returns the number that is served then.
func ticked(t *testing.T, m *mount) int64 {
	t.Helper()
	require.NoError(t, m.Tick(t.Context()))
	_, head := m.read(t, m.Service)
	return head.Number
}

func TestTick_WarmCostsNoStorageOperation(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	require.NoError(t, m.Tick(t.Context()), "an issuer without a list gets one")
	m.read(t, m.Service)
	m.store.Reset()
	require.NoError(t, m.Tick(t.Context()))
	require.Zero(t, m.store.Counts().Total())
}

// TestTick_FindsRevocationsThatACrashForgot: the process ended between recording a
// revocation and rebuilding the list.
func TestTick_FindsRevocationsThatACrashForgot(t *testing.T) {
	for name, at := range map[string]time.Duration{"in the second of the list": 0, "dated back": -48 * time.Hour, "later": time.Second} {
		now := &clock{now: noon}
		m := newMount(t, now.Now)
		m.add(t, 2, &ledger.Revocation{At: noon.Add(-time.Hour), Reason: cert.Superseded})
		m.rebuild(t)
		now.move(30 * time.Second)
		m.add(t, 1, &ledger.Revocation{At: noon.Add(at), Reason: cert.Superseded})
		next := m.restart(m.store)
		require.NoError(t, next.Tick(t.Context()))
		_, head := m.read(t, next)
		require.Equal(t, 3, head.Entries, name)
		number := head.Number
		require.NoError(t, next.Tick(t.Context()))
		_, head = m.read(t, next)
		require.Equal(t, number, head.Number, "once")
		next.Close()

		again := m.restart(m.store)
		m.store.Reset()
		require.NoError(t, again.Tick(t.Context()))
		require.Empty(t, m.store.Written(), "a list that has everything is left alone by a restart")
		again.Close()
	}
}

// With deltas the next of those has what a crash forgot, but who knows none must not wait
// for the news that a key was compromised.
func TestTick_WithDeltasFindsCompromisesThatACrashForgot(t *testing.T) {
	for reason, wanted := range map[cert.Reason]int{cert.KeyCompromise: 1, cert.Superseded: 0} {
		now := &clock{now: noon}
		m := newMount(t, now.Now)
		m.configure(t, func(s *crl.Settings) { s.EnableDelta = true })
		m.rebuild(t)
		now.move(time.Minute)
		m.add(t, 1, &ledger.Revocation{At: now.Now(), Reason: reason})
		next := m.restart(m.store)
		require.NoError(t, next.Tick(t.Context()))
		_, head := m.read(t, next)
		require.Equal(t, wanted, head.Entries, reason.String())
		next.Close()
	}
}

// A suspension keeps its date and its place on the list when it becomes final: only the
// sequence number tells that the list has the wrong reason.
func TestTick_FindsReasonsThatACrashForgot(t *testing.T) {
	now := &clock{now: noon}
	m := newMount(t, now.Now)
	leaf := m.issue(t, nil, noon.AddDate(1, 0, 0))
	m.revokeOne(t, leaf.serial, cert.CertificateHold)
	now.move(time.Minute)
	m.rebuild(t)
	now.move(time.Minute)
	m.revokeOne(t, leaf.serial, cert.KeyCompromise)
	next := m.restart(m.store)
	defer next.Close()
	require.NoError(t, next.Tick(t.Context()))
	list, _ := m.read(t, next)
	require.Len(t, list.RevokedCertificateEntries, 1)
	require.EqualValues(t, cert.KeyCompromise, list.RevokedCertificateEntries[0].ReasonCode)
}
