package mirror_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
)

func TestMirror_RefusesListsThatAreNotWhatTheyShouldBe(t *testing.T) {
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	complete := feed.List{Kind: string(feed.Complete), Number: 2}
	cases := map[string]func(mount *edgemount.Mount){
		"signed by another": func(m *edgemount.Mount) {
			forged := *m.CA
			forged.PublicKey = stranger.Public()
			m.CA = &forged
			m.Sign(t, stranger, complete)
		},
		"cut short": func(m *edgemount.Mount) {
			m.List(t, 2)
			m.Spoil("complete", 2, func(d []byte) []byte { return d[:len(d)-1] })
		},
		"too long": func(m *edgemount.Mount) {
			m.List(t, 2)
			m.Spoil("complete", 2, func(d []byte) []byte { return append(d, 0) })
		},
		"another hash": func(m *edgemount.Mount) {
			m.List(t, 2)
			m.Spoil("complete", 2, func(d []byte) []byte { d[50] ^= 1; return d })
		},
		"another number": func(m *edgemount.Mount) {
			der := m.List(t, 2)
			m.Edit(func(manifest *feed.Manifest) { manifest.Issuers[0].Lists[0].Number = 3 })
			m.Spoil("complete", 3, func([]byte) []byte { return der })
		},
		"another CRL number than the edition's": func(m *edgemount.Mount) {
			m.List(t, 2)
			m.Edit(func(manifest *feed.Manifest) { manifest.Issuers[0].Lists[0].CRLNumber = "3" })
		},
		"no CRL number": func(m *edgemount.Mount) {
			m.List(t, 2)
			m.Edit(func(manifest *feed.Manifest) { manifest.Issuers[0].Lists[0].CRLNumber = "two" })
		},
		"other times": func(m *edgemount.Mount) {
			m.List(t, 2)
			m.Edit(func(manifest *feed.Manifest) {
				manifest.Issuers[0].Lists[0].NextUpdate = epoch.Add(time.Hour).Format(time.RFC3339)
			})
		},
		"a delta announced as complete": func(m *edgemount.Mount) {
			m.Sign(t, m.Key, feed.List{Kind: string(feed.Complete), Number: 2, BaseNumber: 1})
		},
		"gone": func(m *edgemount.Mount) { m.List(t, 2); m.Spoil("complete", 2, func([]byte) []byte { return nil }) },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			mount := newMount(t)
			mount.List(t, 1)
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				m, stop := follow(t, mount, dir)
				time.Sleep(2500 * time.Millisecond) // between two polls
				ca, key := mount.CA, mount.Key
				spoil(mount)
				time.Sleep(10 * time.Second)
				require.Equal(t, int64(1), m.Snapshot().ByID(edgemount.Issuer).Find("complete").Number)
				mount.CA, mount.Key = ca, key
				mount.List(t, 4)
				time.Sleep(5 * time.Second)
				require.Equal(t, int64(4), m.Snapshot().ByID(edgemount.Issuer).Find("complete").Number)
				stop()
			})
		})
	}
}

// The number of an edition is the mount's way to count; the list has its CRL number.
func TestMirror_TheCRLNumberMayBeAnotherThanTheEdition(t *testing.T) {
	mount := newMount(t)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m, stop := follow(t, mount, dir)
		defer stop()
		der := mount.List(t, 2)
		mount.Edit(func(manifest *feed.Manifest) {
			list := &manifest.Issuers[0].Lists[0]
			list.Number, list.CRLNumber = 9, "2"
		})
		mount.Spoil("complete", 9, func([]byte) []byte { return der })
		time.Sleep(5 * time.Second)
		held := m.Snapshot().ByID(edgemount.Issuer).Find("complete")
		require.NotNil(t, held)
		require.Equal(t, int64(9), held.Number)
		require.Equal(t, "2", held.CRL())
	})
}

func TestMirror_DeltasAndShardsAreListsOfTheirOwn(t *testing.T) {
	mount := newMount(t)
	serial := mount.Good()
	mount.List(t, 5)
	mount.Sign(t, mount.Key, feed.List{Kind: string(feed.Delta), Number: 6, BaseNumber: 5}, serial)
	mount.Sign(t, mount.Key, feed.List{Kind: string(feed.Shard), Shard: "2-0", Number: 5})
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m, stop := follow(t, mount, dir)
		time.Sleep(2 * time.Second)
		issuer := m.Snapshot().ByID(edgemount.Issuer)
		require.Equal(t, int64(5), issuer.Find("delta").BaseNumber)
		require.NotNil(t, issuer.Find("2-0"))
		mount.Edit(func(manifest *feed.Manifest) {
			manifest.Issuers[0].Lists = manifest.Issuers[0].Lists[:1]
		})
		time.Sleep(2 * time.Second)
		require.Len(t, m.Snapshot().ByID(edgemount.Issuer).Lists, 1, "what is not announced is not served")
		stop()
	})
}
