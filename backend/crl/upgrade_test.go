package crl_test

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// An earlier release kept lists for each issuer, with numbers of their own. Whatever
// operation of the move to their CA is lost, the next start ends it: the CA has every
// revocation, and numbers go on above all that were used.
func TestCa5_ListsOfAnEarlierReleaseMoveToTheirCA(t *testing.T) {
	now := &clock{now: noon}
	m := newMount(t, now.Now)
	m.source.byID["renewed"] = m.source.byID["root"]
	var highest int64
	for _, issuer := range []string{"root", "renewed"} {
		m.addFor(t, issuer, 1, &ledger.Revocation{At: now.Now(), Reason: cert.KeyCompromise})
		head, err := m.Rebuild(t.Context(), issuer)
		require.NoError(t, err)
		require.Equal(t, 1, head.Entries)
		highest = max(highest, head.Number)
	}
	m.Close()
	m.source.members = map[string][]string{"ca": {"root", "renewed"}}
	m.source.byID = map[string]ca{"ca": m.source.byID["root"]}
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			store := m.store.Clone()
			store.Break(n, loss)
			s := m.restart(store)
			_, _, _ = s.Get(t.Context(), "root")
			s.Close()
			broken := store.Broken()
			s = m.restart(store)
			for _, issuer := range []string{"root", "renewed", "ca"} {
				der, head, err := s.Get(t.Context(), issuer)
				require.NoError(t, err)
				require.NotEmpty(t, der, "never without a list")
				require.Equal(t, highest, head.Number)
			}
			require.NoError(t, s.Tick(t.Context()))
			head, err := s.Newest(t.Context(), "renewed")
			require.NoError(t, err)
			require.Equal(t, 2, head.Entries, "the list of one issuer lacks what the other had: another is made at once")
			require.Greater(t, head.Number, highest)
			for key := range maps.Keys(store.Dump()) {
				require.NotContains(t, key, layout.CRLHead+"root")
				require.NotContains(t, key, layout.CRLBody+"renewed")
			}
			whole(t, store)
			s.Close()
			if !broken {
				require.Greater(t, n, 5, "the walk must have lost something")
				break
			}
		}
	}
}

// What belongs to an issuer that nobody knows stays where it is.
func TestCa5_ListsOfUnknownIssuersStay(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	m.rebuild(t)
	m.Close()
	s := m.restart(m.store)
	defer s.Close()
	_, head, err := s.Get(t.Context(), "root")
	require.NoError(t, err)
	require.NotZero(t, head)
	require.Contains(t, m.store.Dump(), layout.CRLHead+"root")
	_, kind := crl.SplitName("root")
	require.Equal(t, crl.Complete, kind)
}

// The places of shards move with the lists: certificates go on naming them.
func TestCa5_PlacesOfAnEarlierReleaseMoveToTheirCA(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	m.configure(t, func(s *crl.Settings) { s.Shards = 2 })
	m.source.point(crl.Points{CRL: []string{shardURL}})
	leaf := m.issue(t, []string{shardURL}, noon.AddDate(1, 0, 0))
	m.rebuild(t)
	m.Close()
	m.source.point(crl.Points{}) // the URL is one of earlier settings by now
	m.source.members = map[string][]string{"ca": {"root"}}
	m.source.byID = map[string]ca{"ca": m.source.byID["root"]}
	s := m.restart(m.store)
	defer s.Close()
	kind := kindOf(leaf.serial, 2)
	for _, name := range []string{"root", "ca"} {
		der, _, err := s.List(t.Context(), name, kind)
		require.NoError(t, err)
		require.NotEmpty(t, der)
		heads, err := s.Heads(t.Context(), name)
		require.NoError(t, err)
		require.Len(t, heads, 3, "the complete list and both shards")
	}
	require.Contains(t, m.store.Dump(), layout.CRLPlaces+"ca")
	require.NotContains(t, m.store.Dump(), layout.CRLPlaces+"root")
	whole(t, m.store)
}

// A list that cannot be read keeps its own CA from its CRL, and no other.
func TestCa5_ADamagedListOfAnEarlierReleaseStopsNoOtherCA(t *testing.T) {
	now := &clock{now: noon}
	m := newMount(t, now.Now)
	m.source.byID["other"] = m.source.byID["root"]
	for _, issuer := range []string{"root", "other"} {
		_, err := m.Rebuild(t.Context(), issuer)
		require.NoError(t, err)
	}
	m.Close()
	intact := m.store.Dump()[layout.CRLHead+"root"]
	require.NoError(t, m.store.Put(t.Context(), layout.CRLHead+"root", []byte("{")))
	m.source.members = map[string][]string{"ca": {"root"}, "another": {"other"}}
	s := m.restart(m.store)
	defer s.Close()
	_, _, err := s.Get(t.Context(), "root")
	require.Error(t, err)
	der, _, err := s.Get(t.Context(), "other")
	require.NoError(t, err)
	require.NotEmpty(t, der)
	require.NoError(t, m.store.Put(t.Context(), layout.CRLHead+"root", intact))
	now.move(time.Minute)
	der, _, err = s.Get(t.Context(), "root")
	require.NoError(t, err)
	require.NotEmpty(t, der, "it is tried again")
}
