package crl_test

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

func TestPlace_IsDurableBeforeTheCertificate(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	serial := cert.SerialOf(big.NewInt(1_000_003))
	m.store.Break(2, kvtest.LoseWrite) // config/crl is read, the places are not
	_, err := m.Place(t.Context(), "root", serial, []string{shardURL}, noon.AddDate(0, 1, 0))
	require.ErrorIs(t, err, kvtest.ErrLost)
	points, err := m.Place(t.Context(), "root", serial, []string{fullURL, shardURL}, noon.AddDate(0, 1, 0))
	require.NoError(t, err)
	require.Equal(t, []string{fullURL, "http://crl.example.com/1-0.crl"}, points)
	require.Contains(t, m.store.Dump(), layout.CRLPlaces+"root")

	m.store.Reset()
	points, err = m.Place(t.Context(), "root", serial, []string{fullURL}, noon.AddDate(0, 1, 0))
	require.NoError(t, err)
	require.Equal(t, []string{fullURL}, points)
	require.Zero(t, m.store.Counts().Gets)
}

func TestHeadsAndChunks(t *testing.T) {
	now := &clock{now: noon}
	m := newMount(t, now.Now)
	m.source.point(crl.Points{CRL: []string{shardURL, fullURL}, Delta: []string{deltaURL}})
	m.add(t, large, &ledger.Revocation{At: noon, Reason: cert.Superseded})
	heads, err := m.Heads(t.Context(), "root")
	require.NoError(t, err)
	require.Empty(t, heads)
	m.rebuild(t)
	now.move(time.Hour)
	m.configure(t, func(s *crl.Settings) { s.EnableDelta, s.Shards = true, 2 })
	cold := m.restart(m.store)
	defer cold.Close()
	for _, s := range []*crl.Service{m.Service, cold} {
		heads, err = s.Heads(t.Context(), "root")
		require.NoError(t, err)
		var kinds, urls []string
		for _, named := range heads {
			kinds, urls = append(kinds, string(named.Kind)), append(urls, strings.Join(named.URLs, " "))
			_, head := m.get(t, m.Service, named.Kind)
			require.Equal(t, head, named.Head)
			var body []byte
			for index := 0; ; index++ {
				chunk, last, err := s.Chunk(t.Context(), "root", named.Kind, named.Head.Number, index)
				require.NoError(t, err)
				require.LessOrEqual(t, len(chunk), 480<<10)
				body = append(body, chunk...)
				if last {
					break
				}
			}
			der, _, err := m.List(t.Context(), "root", named.Kind)
			require.NoError(t, err)
			require.Equal(t, der, body)
			for _, wrong := range []int{-1, named.Head.Chunks} {
				_, _, err = s.Chunk(t.Context(), "root", named.Kind, named.Head.Number, wrong)
				require.True(t, fault.Is(err, fault.NotFound), "%v", err)
			}
			_, _, err = s.Chunk(t.Context(), "root", named.Kind, named.Head.Number-1, 0)
			require.True(t, fault.Is(err, fault.NotFound), "%v", err)
		}
		require.Equal(t, []string{"complete", "delta", "2-0", "2-1"}, kinds)
		require.Equal(t, []string{fullURL, deltaURL, "http://crl.example.com/2-0.crl", "http://crl.example.com/2-1.crl"}, urls)
		m.store.Reset()
		_, err = s.Heads(t.Context(), "root")
		require.NoError(t, err)
		require.Zero(t, m.store.Counts().Total(), "from memory once read")
	}
	for _, kind := range []crl.Kind{"3-0", "2-2", "nonsense"} {
		_, _, err = m.Chunk(t.Context(), "root", kind, 1, 0)
		require.True(t, fault.Is(err, fault.NotFound), "%s: %v", kind, err)
	}
}

// Certificates go on naming the URL that they were issued with.
func TestHeadsNameTheURLsOfOlderSettingsToo(t *testing.T) {
	m := shardMount(t, (&clock{now: noon}).Now, 2)
	const other = "http://other.example.com/{{crl_shard}}.crl"
	for _, url := range []string{shardURL, other} {
		m.source.point(crl.Points{CRL: []string{url}})
		_, err := m.Place(t.Context(), "root", cert.SerialOf(big.NewInt(4)), []string{url}, noon.AddDate(0, 1, 0))
		require.NoError(t, err)
	}
	heads, err := m.Heads(t.Context(), "root")
	require.NoError(t, err)
	var urls []string
	for _, named := range heads {
		if named.Kind == "2-0" {
			urls = named.URLs
		}
	}
	require.ElementsMatch(t, []string{"http://crl.example.com/2-0.crl", "http://other.example.com/2-0.crl"}, urls)
}

// Asking for lists that are not published costs no storage operation and keeps nothing.
func TestDos2_ShardsThatAreNotThereCostNothing(t *testing.T) {
	m := shardMount(t, (&clock{now: noon}).Now, 4)
	m.store.Reset()
	for count := 1; count <= crl.MaxShards; count++ {
		for index := range count {
			if count == 4 {
				continue
			}
			der, _, err := m.List(t.Context(), "root", crl.ShardKind(count, index))
			require.NoError(t, err)
			require.Nil(t, der)
		}
	}
	require.Zero(t, m.store.Counts().Total())
	der, _, err := m.List(t.Context(), "root", crl.Delta)
	require.NoError(t, err)
	require.Nil(t, der)
	require.Zero(t, m.store.Counts().Total())
}

// What an older release stored lacks shards and keep_after_expiry.
func TestSettings_OfAnOlderRelease(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	old := `{"v":1,"r":{"expiry":"72h","ocsp_expiry":"12h","auto_rebuild_grace_period":"12h","delta_rebuild_interval":"15m","max_crl_entries":-1,"rebuild_delay":"1m"}}`
	require.NoError(t, m.store.Put(t.Context(), layout.ConfigCRL, []byte(old)))
	settings, err := m.Settings(t.Context())
	require.NoError(t, err)
	require.Equal(t, crl.DefaultSettings(), settings)
}
