package crl_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// large is a number of entries whose list takes two chunks.
const large = 13_000

func TestRebuild_ListsWhatIsRevoked(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	m.add(t, 3, nil)
	revoked := append(
		m.add(t, 2, &ledger.Revocation{At: noon.Add(-time.Hour), Reason: cert.Superseded, InvalidityAt: noon.Add(-2 * time.Hour)}),
		m.add(t, 1, &ledger.Revocation{At: noon.Add(-time.Minute), Reason: cert.RemoveFromCRL})...)
	head := m.rebuild(t)
	require.Equal(t, noon, head.Made)
	require.Equal(t, noon.Add(-time.Minute), head.ThisUpdate, "for clients whose clocks are behind")
	require.Equal(t, noon.Add(72*time.Hour), head.NextUpdate)
	list, read := m.read(t, m.Service)
	require.Equal(t, head, read)
	require.ElementsMatch(t, revoked, serials(list))
	require.True(t, slices.IsSorted(serials(list)))
	for _, entry := range list.RevokedCertificateEntries {
		if cert.SerialOf(entry.SerialNumber) == revoked[2] {
			require.Empty(t, entry.Extensions, "a reason that has no place on the list does not keep the certificate off it")
			continue
		}
		require.Equal(t, int(cert.Superseded), entry.ReasonCode)
		require.Len(t, entry.Extensions, 2, "reason and invalidity date")
	}
}

func TestCA4_IssuerIsNotOnItsOwnList(t *testing.T) {
	now := (&clock{now: noon}).Now
	m := newMount(t, now)
	own := m.add(t, 1, &ledger.Revocation{At: noon, Reason: cert.Superseded})[0]
	other := m.add(t, 1, &ledger.Revocation{At: noon, Reason: cert.Superseded})[0]
	record, err := m.ledger.Get(t.Context(), own)
	require.NoError(t, err)
	require.NotNil(t, record.Revocation)

	root := *m.ca.Certificate()
	root.SerialNumber = own.Big()
	m.source.byID["root"] = withCertificate(t, m.ca, &root)
	m.rebuild(t)
	list, _ := m.read(t, m.Service)
	require.Equal(t, []cert.Serial{other}, serials(list), "a self-issued CA is not on its own list")

	// A subordinate CA may share a serial number with a certificate that it issued.
	sub := root
	sub.RawIssuer = []byte("another name")
	m.source.byID["root"] = withCertificate(t, m.ca, &sub)
	m.rebuild(t)
	list, _ = m.read(t, m.Service)
	require.ElementsMatch(t, []cert.Serial{own, other}, serials(list))
}

func TestRebuild_Budget(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	m.add(t, large, &ledger.Revocation{At: noon, Reason: cert.KeyCompromise})
	first := m.rebuild(t)
	require.Equal(t, 2, first.Chunks)
	require.Equal(t, kvtest.Counts{Gets: 3, Puts: 3, Lists: 3}, m.store.Counts(), "a start reads config/crl, the head and that there are no shards, and looks once for leftovers, and for lists and places of an earlier release")
	require.Equal(t, []string{
		fmt.Sprintf("crl-body/root/%d/0", first.Number), fmt.Sprintf("crl-body/root/%d/1", first.Number), "crl-head/root",
	}, m.store.Written(), "the head comes last")

	m.store.Reset()
	second := m.rebuild(t)
	require.Equal(t, kvtest.Counts{Puts: 3, Deletes: 2}, m.store.Counts(), "warm: chunks and head, then the old chunks go")
	require.Len(t, m.store.Dump(), 3)

	m.store.Reset()
	_, head := m.read(t, m.Service)
	require.Equal(t, second, head)
	require.Zero(t, m.store.Counts().Total(), "a list that is in memory costs no storage operation")

	cold := m.restart(m.store)
	defer cold.Close()
	m.read(t, cold)
	require.Equal(t, kvtest.Counts{Gets: 3, Lists: 2}, m.store.Counts(), "head and two chunks, and once whether an earlier release left lists")
	m.read(t, cold)
	require.Equal(t, 5, m.store.Counts().Total())
	for key := range m.store.Dump() {
		row, found := layout.Find(key)
		require.True(t, found && row.Owner == "crl", key)
	}
}

func TestDos2_ReadingListsDoesNotGrow(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	for i := range 1000 {
		der, head, err := m.Get(t.Context(), fmt.Sprintf("unknown-%d", i))
		require.NoError(t, err)
		require.Nil(t, der)
		require.Zero(t, head)
	}
	require.Equal(t, kvtest.Counts{Gets: 1000, Lists: 2}, m.store.Counts(), "one Get each, no scan but the first one's for lists of an earlier release")
	m.rebuild(t)
	m.store.Reset()
	signatures := 0
	m.source.onAsked(func(string) { signatures++ })
	for range 1000 {
		m.read(t, m.Service)
	}
	require.Zero(t, m.store.Counts().Total())
	require.Zero(t, signatures, "reading uses no CA key")
}

func TestRev3_NoListBeforeTheLedgerIsLoaded(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	m.add(t, 1, &ledger.Revocation{At: noon, Reason: cert.KeyCompromise})
	before := m.rebuild(t)
	unloaded := ledger.New(ledger.Config{Store: kvtest.New(), Now: m.now})
	s := crl.New(crl.Config{Store: m.store, Ledger: unloaded, Source: m.source, Now: m.now})
	defer s.Close()
	m.store.Reset()
	_, err := s.Rebuild(t.Context(), "root")
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.True(t, fault.Is(s.LastError("root"), fault.Unavailable))
	require.NoError(t, s.Tick(t.Context()), "nothing is due yet")
	require.Empty(t, m.store.Written())
	_, head := m.read(t, s)
	require.Equal(t, before, head, "the last list is still served")

	require.NoError(t, unloaded.Load(t.Context()))
	require.NoError(t, s.Tick(t.Context()))
	require.NoError(t, s.LastError("root"), "what failed is tried again")
}

func TestNumber_OnlyEverIncreases(t *testing.T) {
	time := &clock{now: noon}
	m := newMount(t, time.Now)
	require.Equal(t, noon.Unix(), m.rebuild(t).Number, "seconds since 1970")
	backup := m.store.Clone()
	last := int64(0)
	for range 5 {
		last = m.rebuild(t).Number
	}
	require.Equal(t, noon.Unix()+5, last, "several in one second count on")

	time.move(-24 * 3600 * 1e9)
	require.Equal(t, last+1, m.rebuild(t).Number, "the clock was set back")
	last++

	// An older backup is restored: the floor from the clock is above every number
	// that it does not know of.
	time.move(25 * 3600 * 1e9)
	restored := m.restart(backup)
	defer restored.Close()
	head, err := restored.Rebuild(t.Context(), "root")
	require.NoError(t, err)
	require.Greater(t, head.Number, last)
}

// TestCrash1_RebuildIsAllOrNothing loses each storage operation of a rebuild in
// turn, its write or its answer. Every reader sees the old list or the new one, the
// number never goes back, and the next rebuild leaves nothing behind.
func TestCrash1_RebuildIsAllOrNothing(t *testing.T) {
	now := &clock{now: noon}
	m := newMount(t, now.Now)
	m.add(t, large, &ledger.Revocation{At: noon, Reason: cert.Superseded})
	m.rebuild(t)
	old := m.store.Clone()
	m.add(t, 1, &ledger.Revocation{At: noon, Reason: cert.Superseded})
	failed := 0
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			store := old.Clone()
			s := m.restart(store)
			before, first := m.read(t, s)
			store.Break(n, loss)
			head, err := s.Rebuild(t.Context(), "root")
			if !store.Broken() {
				require.NoError(t, err)
				break
			}
			failed++
			require.Equal(t, err != nil, s.LastError("root") != nil)

			// The same process, and one that starts now, read the old or the new list.
			seen := first.Number
			for _, reader := range []*crl.Service{s, m.restart(store)} {
				list, read := m.read(t, reader)
				if read.Number == first.Number {
					require.Error(t, err)
					require.Equal(t, before.Raw, list.Raw)
				} else {
					require.Len(t, list.RevokedCertificateEntries, large+1)
				}
				require.GreaterOrEqual(t, read.Number, seen)
				seen = read.Number
			}
			if err == nil {
				require.Equal(t, head.Number, seen)
			}
			for at, next := range []*crl.Service{s, m.restart(store)} {
				name := []string{"same process", "next process"}[at]
				head, err := next.Rebuild(t.Context(), "root")
				require.NoError(t, err, name)
				require.Greater(t, head.Number, seen, "%s after losing operation %d", name, n)
				seen = head.Number
				m.read(t, next)
				require.Len(t, store.Dump(), 1+head.Chunks, "%s after losing operation %d: leftovers", name, n)
				next.Close()
			}
		}
	}
	require.GreaterOrEqual(t, failed, 2*8, "the walk has to meet every operation")
}

func TestNumber_IsNotUsedTwiceAfterACrash(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	m.rebuild(t)
	// A process died between the body and the head, with its clock ahead of ours.
	orphan := fmt.Sprintf("crl-body/root/%d/0", noon.Unix()+100)
	require.NoError(t, m.store.Put(t.Context(), orphan, []byte("half a list")))
	next := m.restart(m.store)
	defer next.Close()
	head, err := next.Rebuild(t.Context(), "root")
	require.NoError(t, err)
	require.Equal(t, noon.Unix()+101, head.Number)
	require.NotContains(t, m.store.Dump(), orphan)
}

// meddler is storage in which something happens just before a chosen read.
type meddler struct {
	kv.Store
	prefix string
	happen func()
}

func (m *meddler) Get(ctx context.Context, key string) ([]byte, error) {
	if happen := m.happen; happen != nil && strings.HasPrefix(key, m.prefix) {
		m.happen = nil
		happen()
	}
	return m.Store.Get(ctx, key)
}

func TestGet_WhileAnotherNodeReplacesTheList(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	m.add(t, large, &ledger.Revocation{At: noon, Reason: cert.Superseded})
	m.rebuild(t)
	store := &meddler{Store: m.store, prefix: "crl-body/", happen: func() { m.rebuild(t) }}
	standby := crl.New(crl.Config{Store: store, Ledger: m.ledger, Source: m.source, Now: m.now})
	defer standby.Close()
	_, head := m.read(t, standby)
	require.Equal(t, noon.Unix()+1, head.Number, "the new list, whole")

	m.rebuild(t)
	_, head = m.read(t, standby)
	require.Equal(t, noon.Unix()+1, head.Number)
	standby.Invalidate("crl-head/root")
	_, head = m.read(t, standby)
	require.Equal(t, noon.Unix()+2, head.Number, "another node's list is read when storage says that it changed")
}

func TestGet_NeverReturnsADamagedList(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	head := m.rebuild(t)
	key := fmt.Sprintf("crl-body/root/%d/0", head.Number)
	body := m.store.Dump()[key]
	for name, damaged := range map[string][]byte{"shorter": body[:len(body)-1], "changed": append(body[:len(body)-1:len(body)-1], body[len(body)-1]^1), "gone": nil} {
		require.NoError(t, m.store.Put(t.Context(), key, damaged))
		cold := m.restart(m.store)
		_, _, err := cold.Get(t.Context(), "root")
		require.ErrorContains(t, err, "does not match", name)
		cold.Close()
	}
}

func TestRebuild_GoesOnWhenTheCallerLeaves(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	ctx, cancel := context.WithCancel(t.Context())
	m.source.onAsked(func(string) { cancel() })
	_, err := m.Rebuild(ctx, "root")
	require.ErrorIs(t, err, context.Canceled)
	m.source.onAsked(nil)
	m.rebuild(t) // takes its turn after the first
	_, head := m.read(t, m.Service)
	require.Equal(t, noon.Unix()+1, head.Number, "the abandoned rebuild made a list as well")
}

func TestRebuild_PanicIsAnError(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	m.rebuild(t)
	m.source.asked = func(string) { m.source.mu.Unlock(); defer m.source.mu.Lock(); panic("secret detail") }
	_, err := m.Rebuild(t.Context(), "root")
	require.True(t, fault.Is(err, fault.Internal))
	require.NotContains(t, err.Error(), "secret detail")
	m.source.asked = nil
	m.rebuild(t)
	require.NoError(t, m.LastError("root"))
}

func TestRebuild_OneIssuerDoesNotHinderAnother(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	broken := errors.New("token is gone")
	m.source.byID["other"] = newCA(t, algorithms[0])
	m.source.asked = func(issuer string) {
		m.source.err = nil
		if issuer == "other" {
			m.source.err = broken
		}
	}
	require.ErrorIs(t, m.RebuildAll(t.Context()), broken)
	require.ErrorIs(t, m.LastError("other"), broken)
	require.NoError(t, m.LastError("root"))
	m.read(t, m.Service)
	require.ErrorIs(t, m.Tick(t.Context()), broken, "Tick tries again")
}

func TestClose_RefusesNewWorkAndKeepsServing(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	m.rebuild(t)
	m.Close()
	_, err := m.Rebuild(t.Context(), "root")
	require.True(t, fault.Is(err, fault.Unavailable))
	m.Revoked("root", cert.KeyCompromise)
	m.read(t, m.Service)
	m.Close()
}
