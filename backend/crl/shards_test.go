package crl_test

import (
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// shardMount publishes a number of shards and has made them.
func shardMount(t testing.TB, now func() time.Time, count int) *mount {
	m := newMount(t, now)
	m.source.point(crl.Points{CRL: []string{shardURL}})
	m.configure(t, func(s *crl.Settings) { s.Shards = count })
	m.rebuild(t)
	return m
}

// kindOf returns the shard of a certificate, worked out with big integers.
func kindOf(serial cert.Serial, count int) crl.Kind {
	index := new(big.Int).Mod(serial.Big(), big.NewInt(int64(count)))
	return crl.ShardKind(count, int(index.Int64()))
}

// pointsOf returns the URLs in a critical issuingDistributionPoint.
func pointsOf(t testing.TB, kind crl.Kind, value []byte) string {
	t.Helper()
	var point struct {
		Name struct {
			Full []asn1.RawValue `asn1:"optional,tag:0"`
		} `asn1:"optional,tag:0"`
	}
	rest, err := asn1.Unmarshal(value, &point)
	require.NoError(t, err, kind)
	require.Empty(t, rest)
	var urls []string
	for _, name := range point.Name.Full {
		require.Equal(t, 6, name.Tag)
		urls = append(urls, string(name.Bytes))
	}
	return strings.Join(urls, " ")
}

func TestShards_EachCertificateIsOnTheListThatItNames(t *testing.T) {
	now := &clock{now: noon}
	m := shardMount(t, now.Now, 8)
	leaves := map[crl.Kind][]issued{}
	for range 40 {
		leaf := m.issue(t, []string{shardURL}, noon.AddDate(1, 0, 0))
		kind := kindOf(leaf.serial, 8)
		leaves[kind] = append(leaves[kind], leaf)
		if len(leaves[kind])%2 == 0 {
			m.revokeOne(t, leaf.serial, cert.Superseded)
		}
	}
	now.move(time.Minute)
	head := m.rebuild(t)
	covered := 0
	for index := range 8 {
		kind := crl.ShardKind(8, index)
		list, _ := m.get(t, m.Service, kind)
		value, critical := extensionOf(list, "2.5.29.28")
		require.True(t, critical, "RFC 5280 section 5.2.5")
		require.Equal(t, strings.ReplaceAll(shardURL, crl.ShardTemplate, string(kind)), pointsOf(t, kind, value))
		covered += len(list.RevokedCertificateEntries)
		for n, leaf := range leaves[kind] {
			if n%2 == 1 {
				require.Contains(t, serials(list), leaf.serial)
				m.refused(t, leaf, list)
			} else {
				m.good(t, leaf, list)
			}
		}
		// A relying party does not take a shard for that of another certificate.
		if others := leaves[crl.ShardKind(8, (index+1)%8)]; len(others) > 0 {
			ok, says := m.verify(t, others[0], list)
			require.False(t, ok)
			require.Contains(t, says, "different CRL scope")
		}
	}
	require.Equal(t, head.Entries, covered, "the complete list has them all")
	full, _ := m.get(t, m.Service, crl.Complete)
	value, _ := extensionOf(full, "2.5.29.28")
	require.Nil(t, value)
	whole(t, m.store)
}

func TestShards_OtherPeoplesReadersAgree(t *testing.T) {
	m := shardMount(t, time.Now, 2) // certtool knows no other time
	list, _ := m.get(t, m.Service, "2-1")
	text := openssl(t, "crl", "-in", file(t, "X509 CRL", list.Raw), "-text", "-noout")
	require.Contains(t, text, "X509v3 Issuing Distribution Point: critical")
	require.Contains(t, text, "URI:http://crl.example.com/2-1.crl")
	authority := file(t, "CERTIFICATE", m.ca.Certificate().Raw)
	require.Contains(t, certtool(t, "--verify-crl", "--load-ca-certificate", authority, "--infile", file(t, "X509 CRL", list.Raw)), "Verified")
}

// A certificate stays on the list that its URL names when the number of shards or the
// URLs are changed.
func TestShards_EarlierNumbersArePublishedWhileCertificatesNameThem(t *testing.T) {
	now := &clock{now: noon}
	m := shardMount(t, now.Now, 4)
	old := m.issue(t, []string{shardURL}, noon.Add(100*24*time.Hour))
	m.configure(t, func(s *crl.Settings) { s.Shards = 6 })
	m.get(t, m.Service, "6-5")
	moved := "http://other.example.com/" + crl.ShardTemplate
	m.source.point(crl.Points{CRL: []string{moved}})
	require.NoError(t, m.Tick(t.Context()))
	m.revokeOne(t, old.serial, cert.Superseded)
	require.NoError(t, m.RebuildAll(t.Context()))
	list, _ := m.get(t, m.Service, kindOf(old.serial, 4))
	m.refused(t, old, list)

	// Another URL of the same shards: those of both are in the list.
	m.configure(t, func(s *crl.Settings) { s.Shards = 4 })
	m.issue(t, []string{moved}, noon.Add(time.Hour))
	require.NoError(t, m.Tick(t.Context()))
	list, _ = m.get(t, m.Service, "4-0")
	value, _ := extensionOf(list, "2.5.29.28")
	require.Equal(t, "http://crl.example.com/4-0.crl http://other.example.com/4-0", pointsOf(t, "4-0", value))
	der, _, err := m.List(t.Context(), "root", "6-0")
	require.NoError(t, err)
	require.Nil(t, der, "no certificate names it")

	// What was noted survives a restart.
	m.configure(t, func(s *crl.Settings) { s.Shards = 2 })
	next := m.restart(m.store)
	defer next.Close()
	m.get(t, next, kindOf(old.serial, 4))

	// The last certificate has ended, and its list has been there once more.
	now.move(250 * 24 * time.Hour)
	require.NoError(t, next.Tick(t.Context()))
	der, _, err = next.List(t.Context(), "root", "4-0")
	require.NoError(t, err)
	require.Nil(t, der)
	m.get(t, next, "2-1")
	for key := range m.store.Dump() {
		require.NotContains(t, key, ".4-")
		require.NotContains(t, key, ".6-")
		row, found := layout.Find(key)
		require.True(t, found && row.Owner == "crl", key)
	}
	whole(t, m.store)
}

func TestShards_TooManyNumbersAreRefused(t *testing.T) {
	m := shardMount(t, (&clock{now: noon}).Now, 1)
	for count := 1; count <= 8; count++ {
		m.configure(t, func(s *crl.Settings) { s.Shards = count })
		m.issue(t, []string{shardURL}, noon.AddDate(0, 0, count))
	}
	settings, err := m.Settings(t.Context())
	require.NoError(t, err)
	settings.Shards = 9
	err = m.PutSettings(t.Context(), settings)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.Equal(t, "shards", fault.FieldOfError(err))
	require.ErrorContains(t, err, "ends at 2026-03-", "it says when there is room")
	settings.Shards = 3
	require.NoError(t, m.PutSettings(t.Context(), settings), "a number that is there already")
}

func TestShards_Budget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := shardMount(t, time.Now, 128)
		defer m.Close()
		end := time.Now().AddDate(1, 0, 0)
		first, second := m.issue(t, []string{shardURL}, end), m.issue(t, []string{shardURL}, end)
		m.rebuild(t)
		require.NoError(t, m.Tick(t.Context())) // looks for imported lists, once
		m.store.Reset()
		m.rebuild(t)
		require.Equal(t, kvtest.Counts{Puts: 2 * 129, Deletes: 129}, m.store.Counts(), "body and head of each list, then its old body goes")

		m.store.Reset()
		m.issue(t, []string{shardURL}, end)
		require.Zero(t, m.store.Counts().Total(), "warm: a certificate is placed without storage")
		require.NoError(t, m.Tick(t.Context()))
		require.Zero(t, m.store.Counts().Total())
		heads, err := m.Heads(t.Context(), "root")
		require.NoError(t, err)
		require.Len(t, heads, 129)
		require.Zero(t, m.store.Counts().Total())

		pass(time.Minute)
		m.revokeOne(t, first.serial, cert.Superseded)
		m.revokeOne(t, second.serial, cert.Superseded)
		dirty := 2
		if kindOf(first.serial, 128) == kindOf(second.serial, 128) {
			dirty = 1
		}
		asked := 0
		m.source.onAsked(func(string) { asked++ })
		m.Revoked("root", cert.Superseded)
		synctest.Wait()
		require.Equal(t, kvtest.Counts{Puts: 2 * (dirty + 1), Deletes: dirty + 1}, m.store.Counts(), "only the complete list and the shards that changed")
		require.Equal(t, 2, asked, "one look at the CA for all shards")

		cold := m.restart(m.store)
		defer cold.Close()
		m.store.Reset()
		m.get(t, cold, "128-7")
		require.Equal(t, kvtest.Counts{Gets: 4, Lists: 2}, m.store.Counts(), "config/crl, which shards there are, head, body")
	})
}

func TestShards_FollowRevocationAndResumption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := shardMount(t, time.Now, 4)
		defer m.Close()
		leaf := m.issue(t, []string{shardURL}, time.Now().AddDate(1, 0, 0))
		kind := kindOf(leaf.serial, 4)
		pass(time.Hour)
		before := map[crl.Kind]int64{}
		for index := range 4 {
			_, head := m.get(t, m.Service, crl.ShardKind(4, index))
			before[crl.ShardKind(4, index)] = head.Number
		}
		m.revokeOne(t, leaf.serial, cert.CertificateHold)
		m.Revoked("root", cert.CertificateHold)
		synctest.Wait()
		list, _ := m.get(t, m.Service, kind)
		require.Equal(t, []cert.Serial{leaf.serial}, serials(list))
		m.resume(t, leaf.serial)
		m.Revoked("root", cert.RemoveFromCRL)
		pass(59 * time.Second)
		list, _ = m.get(t, m.Service, kind)
		require.Len(t, serials(list), 1, "rebuild_delay")
		pass(time.Second)
		list, _ = m.get(t, m.Service, kind)
		require.Empty(t, serials(list))
		for other, number := range before {
			_, head := m.get(t, m.Service, other)
			require.Equal(t, other != kind, head.Number == number, "only the shard that changed is made anew")
		}
	})
}

func TestShards_TickFindsWhatACrashForgot(t *testing.T) {
	now := &clock{now: noon}
	m := shardMount(t, now.Now, 4)
	leaf := m.issue(t, []string{shardURL}, noon.AddDate(1, 0, 0))
	now.move(time.Minute)
	m.revokeOne(t, leaf.serial, cert.Superseded)
	now.move(time.Second)
	next := m.restart(m.store)
	defer next.Close()
	require.NoError(t, next.Tick(t.Context()))
	list, _ := m.get(t, next, kindOf(leaf.serial, 4))
	require.Equal(t, []cert.Serial{leaf.serial}, serials(list))
	again := m.restart(m.store)
	defer again.Close()
	m.store.Reset()
	require.NoError(t, again.Tick(t.Context()))
	require.Empty(t, m.store.Written(), "what has everything is left alone")
}

func TestShards_NumbersOnlyEverIncrease(t *testing.T) {
	now := &clock{now: noon}
	m := shardMount(t, now.Now, 2)
	backup := m.store.Clone()
	_, head := m.get(t, m.Service, "2-1")
	last := head.Number
	for range 5 {
		m.rebuild(t)
		_, head = m.get(t, m.Service, "2-1")
		require.Equal(t, last+1, head.Number, "several in one second count on")
		last = head.Number
	}
	now.move(-24 * time.Hour)
	m.rebuild(t)
	_, head = m.get(t, m.Service, "2-1")
	require.Greater(t, head.Number, last, "the clock was set back")
	last = head.Number
	now.move(25 * time.Hour)
	restored := m.restart(backup)
	defer restored.Close()
	_, err := restored.Rebuild(t.Context(), "root")
	require.NoError(t, err)
	_, head = m.get(t, restored, "2-1")
	require.Greater(t, head.Number, last, "an older backup was restored")
}

// TestCrash1_ShardsAreAllOrNothing loses each storage operation while shards are made,
// placed, dropped and forgotten.
func TestCrash1_ShardsAreAllOrNothing(t *testing.T) {
	now := &clock{now: noon}
	m := shardMount(t, now.Now, 2)
	leaf := m.issue(t, []string{shardURL}, noon.AddDate(0, 1, 0))
	old := m.store.Clone()
	now.move(time.Hour)
	m.revokeOne(t, leaf.serial, cert.Superseded)
	more := func(s *crl.Service) error {
		settings, err := s.Settings(t.Context())
		if err != nil {
			return err
		}
		settings.Shards = 3
		return s.PutSettings(t.Context(), settings)
	}
	steps := map[string]func(*crl.Service) error{
		"rebuild": func(s *crl.Service) error { _, err := s.Rebuild(t.Context(), "root"); return err },
		"more":    more,
		"place": func(s *crl.Service) error {
			_, err := s.Place(t.Context(), "root", leaf.serial, []string{shardURL}, noon.AddDate(1, 0, 0))
			return err
		},
		"forget": func(s *crl.Service) error { return s.Forget(t.Context(), "root") },
	}
	for name, step := range steps {
		failed := 0
		for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
			for n := 1; ; n++ {
				store := old.Clone()
				s := m.restart(store)
				store.Break(n, loss)
				_ = step(s)
				s.Close()
				broke := store.Broken()
				whole(t, store)
				next := m.restart(store)
				if name == "forget" {
					stored, err := next.Stored(t.Context())
					require.NoError(t, err)
					for _, issuer := range stored {
						require.NoError(t, next.Forget(t.Context(), issuer))
					}
					for key := range store.Dump() {
						require.Equal(t, layout.ConfigCRL, key, "%d", n)
					}
				} else {
					require.NoError(t, next.Tick(t.Context()))
					list, _ := m.get(t, next, kindOf(leaf.serial, 2))
					require.Equal(t, []cert.Serial{leaf.serial}, serials(list), "%s, operation %d", name, n)
					m.get(t, next, crl.Complete)
					whole(t, store)
				}
				next.Close()
				if !broke {
					break
				}
				failed++
			}
		}
		require.GreaterOrEqual(t, failed, 4, name)
	}
}
