package mirror_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/config"
	"vault-plugin-secrets-enterprise-pki/edge/disk"
	"vault-plugin-secrets-enterprise-pki/edge/mirror"
	"vault-plugin-secrets-enterprise-pki/edge/state"
	"vault-plugin-secrets-enterprise-pki/edge/vault"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
)

// epoch is when the clock of a bubble begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// follow runs a mirror of a mount until the returned function is called, which is to
// happen in the same bubble.
func follow(t *testing.T, mount *edgemount.Mount, dir string) (*mirror.Mirror, func()) {
	t.Helper()
	return followEvery(t, mount, dir, time.Second)
}

func followEvery(t *testing.T, mount *edgemount.Mount, dir string, interval time.Duration) (*mirror.Mirror, func()) {
	t.Helper()
	return followAs(t, mount, mirror.Config{Interval: interval}, dir, mount.Transport())
}

// followAs is follow with an interval, a log and a way to the mount.
func followAs(t *testing.T, mount *edgemount.Mount, c mirror.Config, dir string, way http.RoundTripper) (*mirror.Mirror, func()) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte(edgemount.Token), 0o600))
	folder, err := disk.Open(dir)
	require.NoError(t, err)
	client, err := vault.New(config.Vault{Address: mount.Server.URL, Mount: "pki", Timeout: time.Minute, TokenFile: token}, time.Now)
	require.NoError(t, err)
	c.Client, c.Folder, c.Now = client.Through(way), folder, time.Now
	m := mirror.New(c)
	m.Load()
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { m.Run(ctx) })
	return m, func() {
		stop()
		group.Wait()
		_ = folder.Close()
	}
}

func newMount(t *testing.T) *edgemount.Mount {
	return edgemount.New(t, func() time.Time { return epoch })
}

// status returns the reason that is known for a serial number, -1: good, -2: not there.
func status(s *state.Snapshot, serial cert.Serial) int {
	if s.Rows == nil {
		return -2
	}
	row, found := s.Rows.Find(edgemount.Issuer, serial)
	switch {
	case !found:
		return -2
	case row.State == feed.Good:
		return -1
	}
	return int(row.Reason)
}

func TestMirror_FollowsWithinASecond(t *testing.T) {
	mount := newMount(t)
	first := mount.Good()
	der := mount.List(t, 7)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m, stop := follow(t, mount, dir)
		time.Sleep(1500 * time.Millisecond)
		s := m.Snapshot()
		require.Equal(t, -1, status(s, first))
		require.Equal(t, "Example", s.Manifest.Organization)
		issuer := s.ByID(edgemount.Issuer)
		require.Equal(t, mount.CA.Raw, issuer.Certificate.Raw)
		require.Equal(t, int64(7), issuer.Find("complete").Number)
		content, err := os.ReadFile(filepath.Join(dir, "lists", issuer.Find("complete").SHA256))
		require.NoError(t, err)
		require.Equal(t, der, content)
		require.True(t, s.Current(time.Now()))

		mount.Revoke(first, cert.KeyCompromise)
		mount.List(t, 8, first)
		second := mount.Good()
		time.Sleep(time.Second + 100*time.Millisecond)
		require.Equal(t, int(cert.KeyCompromise), status(m.Snapshot(), first))
		require.Equal(t, -1, status(m.Snapshot(), second))
		require.Equal(t, int64(8), m.Snapshot().ByID(edgemount.Issuer).Find("complete").Number)
		require.Equal(t, -1, status(s, first), "a snapshot stays as it was")
		stop()
	})
}

func TestMirror_IdleCostsOneRequestASecond(t *testing.T) {
	mount := newMount(t)
	mount.Good()
	mount.List(t, 1)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		_, stop := follow(t, mount, dir)
		time.Sleep(5 * time.Second)
		manifests, pages, chunks := mount.Requests("manifest"), mount.Requests("status"), mount.Requests("crl")
		time.Sleep(20 * time.Second)
		require.InDelta(t, manifests+20, mount.Requests("manifest"), 1)
		require.Equal(t, pages, mount.Requests("status"))
		require.Equal(t, chunks, mount.Requests("crl"))
		stop()
	})
}

func TestMirror_GoesOnWithoutTheMountAndBacksOff(t *testing.T) {
	mount := newMount(t)
	first := mount.Good()
	mount.List(t, 1)
	mount.Edit(func(manifest *feed.Manifest) { manifest.StalenessLimit = 2 * 3600 })
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m, stop := follow(t, mount, dir)
		time.Sleep(3 * time.Second)
		mount.Refuse(http.StatusServiceUnavailable)
		before := mount.Requests("manifest")
		time.Sleep(10 * time.Minute)
		asked := mount.Requests("manifest") - before
		require.Greater(t, asked, 600/20, "at least every 15 s")
		require.Less(t, asked, 600/10, "not every second")
		s := m.Snapshot()
		require.Equal(t, -1, status(s, first))
		require.InDelta(t, 600, s.Staleness(time.Now()).Seconds(), 5)
		require.True(t, s.Current(time.Now()))
		time.Sleep(2 * time.Hour)
		require.False(t, m.Snapshot().Current(time.Now()), "beyond the limit")
		mount.Refuse(0)
		mount.Revoke(first, cert.Superseded)
		time.Sleep(16 * time.Second)
		require.Equal(t, int(cert.Superseded), status(m.Snapshot(), first))
		require.True(t, m.Snapshot().Current(time.Now()))
		stop()
	})
}

func TestMirror_RestartsWithoutTheMount(t *testing.T) {
	mount := newMount(t)
	first, second := mount.Good(), mount.Good()
	mount.Revoke(second, cert.CertificateHold)
	mount.List(t, 3, second)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		_, stop := follow(t, mount, dir)
		time.Sleep(90 * time.Second)
		stop()
		mount.Refuse(http.StatusServiceUnavailable)
		time.Sleep(time.Hour)
		m, stop := follow(t, mount, dir)
		s := m.Snapshot()
		require.Equal(t, -1, status(s, first))
		require.Equal(t, int(cert.CertificateHold), status(s, second))
		require.Equal(t, int64(3), s.ByID(edgemount.Issuer).Find("complete").Number)
		require.InDelta(t, 3600, s.Staleness(time.Now()).Seconds(), 2, "it knows how old it is")
		pages := mount.Requests("status")
		mount.Refuse(0)
		time.Sleep(20 * time.Second)
		require.Less(t, m.Snapshot().Staleness(time.Now()), 2*time.Second)
		require.Equal(t, pages, mount.Requests("status"), "nothing is fetched twice")
		stop()
	})
}

func TestMirror_ContinuesAfterARestartOfTheMount(t *testing.T) {
	mount := newMount(t)
	mount.PageRows(2)
	var serials []cert.Serial
	for range 5 {
		serials = append(serials, mount.Good())
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m, stop := follow(t, mount, dir)
		time.Sleep(3 * time.Second)
		pages := mount.Requests("status")
		require.Equal(t, 3, pages)
		mount.Restart("e2")
		mount.Revoke(serials[0], cert.Superseded)
		time.Sleep(3 * time.Second)
		require.Equal(t, pages+1, mount.Requests("status"), "from where it was")
		require.Equal(t, int(cert.Superseded), status(m.Snapshot(), serials[0]))
		require.Equal(t, 5, m.Snapshot().Rows.Len())
		stop()
	})
}

// TestMirror_ResetBuildsBesideAndSwaps restores the mount from an older backup: rows
// that it does not know any more go away, in one step, after the rest is there.
func TestMirror_ResetBuildsBesideAndSwaps(t *testing.T) {
	mount := newMount(t)
	mount.PageRows(1)
	var serials []cert.Serial
	for range 6 {
		serials = append(serials, mount.Good())
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m, stop := follow(t, mount, dir)
		time.Sleep(3 * time.Second)
		require.Equal(t, 6, m.Snapshot().Rows.Len())
		mount.Restore("e9", 4)
		time.Sleep(3 * time.Second)
		require.Equal(t, 4, m.Snapshot().Rows.Len())
		require.Equal(t, -2, status(m.Snapshot(), serials[5]))
		require.Equal(t, -1, status(m.Snapshot(), serials[3]))
		stop()
		mount.Refuse(http.StatusServiceUnavailable)
		m, stop = follow(t, mount, dir)
		require.Equal(t, 4, m.Snapshot().Rows.Len(), "the disk has the new set as well")
		stop()
	})
}

// TestMirror_DropsWhatEndedLongAgo: certificates of a mount end three months after
// they were issued.
func TestMirror_DropsWhatEndedLongAgo(t *testing.T) {
	const day = 24 * time.Hour
	for cutoff, kept := range map[int64]time.Duration{0: 7 * day, 30 * 24 * 3600: 30 * day} {
		mount := newMount(t)
		serial := mount.Good()
		mount.Edit(func(manifest *feed.Manifest) { manifest.OCSP.ArchiveCutoff = cutoff })
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			m, stop := followEvery(t, mount, dir, time.Hour)
			ends := epoch.AddDate(0, 3, 0)
			time.Sleep(time.Until(ends.Add(kept - 2*time.Hour)))
			require.Equal(t, -1, status(m.Snapshot(), serial))
			time.Sleep(5 * time.Hour)
			require.Equal(t, -2, status(m.Snapshot(), serial))
			require.Zero(t, m.Snapshot().Rows.Len())
			stop()
			mount.Refuse(http.StatusServiceUnavailable)
			m, stop = followEvery(t, mount, dir, time.Hour)
			require.Zero(t, m.Snapshot().Rows.Len(), "nor are they on disk")
			stop()
		})
	}
}

func TestMirror_NeverServesALowerNumberThatCouldBeAReplay(t *testing.T) {
	mount := newMount(t)
	mount.List(t, 10)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m, stop := followEvery(t, mount, dir, time.Minute)
		time.Sleep(2 * time.Second)
		mount.Restore("e2", 0)
		mount.List(t, 9)
		time.Sleep(time.Hour)
		require.Equal(t, int64(10), m.Snapshot().ByID(edgemount.Issuer).Find("complete").Number)
		time.Sleep(4 * time.Hour)
		require.Equal(t, int64(9), m.Snapshot().ByID(edgemount.Issuer).Find("complete").Number, "the higher one has ended")
		stop()
	})
}

// TestCrash1_DamagedCopiesAreFetchedAnew damages each file on disk between two runs.
func TestCrash1_DamagedCopiesAreFetchedAnew(t *testing.T) {
	mount := newMount(t)
	serial := mount.Good()
	der := mount.List(t, 5)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		_, stop := follow(t, mount, dir)
		time.Sleep(2 * time.Second)
		stop()
		files := []string{"rows", "held.json"}
		lists, err := os.ReadDir(filepath.Join(dir, "lists"))
		require.NoError(t, err)
		for _, list := range lists {
			files = append(files, filepath.Join("lists", list.Name()))
		}
		require.Len(t, files, 3)
		for _, name := range files {
			path := filepath.Join(dir, name)
			whole, err := os.ReadFile(path)
			require.NoError(t, err)
			for _, damaged := range [][]byte{nil, whole[:len(whole)/2], append([]byte{whole[0] ^ 1}, whole[1:]...)} {
				require.NoError(t, os.WriteFile(path, damaged, 0o600))
				m, stop := follow(t, mount, dir)
				time.Sleep(3 * time.Second)
				s := m.Snapshot()
				require.Equal(t, -1, status(s, serial), name)
				held := s.ByID(edgemount.Issuer).Find("complete")
				require.NotNil(t, held, name)
				file, err := os.Open(filepath.Join(dir, "lists", held.SHA256))
				require.NoError(t, err)
				content, err := io.ReadAll(file)
				require.NoError(t, err)
				require.Equal(t, der, content, name)
				require.NoError(t, file.Close())
				stop()
			}
		}
	})
}

func TestMirror_RefusesAManifestAsAWhole(t *testing.T) {
	mount := newMount(t)
	mount.List(t, 5)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m, stop := follow(t, mount, dir)
		time.Sleep(2 * time.Second)
		for _, edit := range []func(manifest *feed.Manifest){
			func(manifest *feed.Manifest) { manifest.Issuers[0].ID = "../x" },
			func(manifest *feed.Manifest) { manifest.Issuers[0].Certificate = "x" },
			func(manifest *feed.Manifest) { manifest.Issuers[0].Lists[0].SHA256 = "../../x" },
			func(manifest *feed.Manifest) { manifest.Issuers[0].Lists[0].Kind = "other" },
			func(manifest *feed.Manifest) { manifest.Issuers[0].Lists[0].Size = 1 << 40 },
			func(manifest *feed.Manifest) { manifest.Issuers[0].Lists[0].NextUpdate = "soon" },
		} {
			var before feed.Manifest
			mount.Edit(func(manifest *feed.Manifest) {
				before = *manifest
				before.Issuers = append([]feed.Issuer{}, manifest.Issuers...)
				before.Issuers[0].Lists = append([]feed.List{}, manifest.Issuers[0].Lists...)
				edit(manifest)
			})
			time.Sleep(20 * time.Second)
			require.Len(t, m.Snapshot().Issuers, 1)
			require.Equal(t, edgemount.Issuer, m.Snapshot().Issuers[0].ID)
			require.Equal(t, int64(5), m.Snapshot().Issuers[0].Find("complete").Number)
			mount.Edit(func(manifest *feed.Manifest) { *manifest = before })
		}
		stop()
	})
}
