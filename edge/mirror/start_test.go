package mirror_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/edge/mirror"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
)

// hole swallows requests while it is open: they end when whoever asks gives up.
type hole struct {
	open  atomic.Bool
	after http.RoundTripper
}

func (h *hole) RoundTrip(request *http.Request) (*http.Response, error) {
	if h.open.Load() {
		<-request.Context().Done()
		return nil, request.Context().Err()
	}
	return h.after.RoundTrip(request)
}

// TestRev3_AStartedMirrorAsksBeforeItSpeaks: what is on disk may be old, so the mount is
// asked first, if it answers at all.
func TestRev3_AStartedMirrorAsksBeforeItSpeaks(t *testing.T) {
	mount := newMount(t)
	serial := mount.Good()
	mount.List(t, 1)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		_, stop := follow(t, mount, dir)
		time.Sleep(2 * time.Second)
		stop()

		mount.Refuse(http.StatusServiceUnavailable)
		m, stop := follow(t, mount, dir)
		synctest.Wait()
		require.True(t, m.Snapshot().Current(time.Now()), "it was refused at once")
		require.Equal(t, -1, status(m.Snapshot(), serial))
		stop()

		mount.Refuse(0)
		mount.Revoke(serial, cert.KeyCompromise)
		way := &hole{after: mount.Transport()}
		way.open.Store(true)
		m, stop = followAs(t, mount, mirror.Config{Interval: time.Second}, dir, way)
		time.Sleep(3*time.Second - time.Millisecond)
		require.False(t, m.Snapshot().Current(time.Now()), "there may be an answer yet")
		require.Equal(t, int64(1), m.Snapshot().ByID(edgemount.Issuer).Find("complete").Number, "lists say themselves how long they hold")
		time.Sleep(2 * time.Millisecond)
		require.True(t, m.Snapshot().Current(time.Now()), "a restart without Vault is not to be felt")
		require.Equal(t, -1, status(m.Snapshot(), serial), "as of when it was down")
		way.open.Store(false)
		time.Sleep(time.Minute + 16*time.Second) // the request of before has to end
		require.Equal(t, int(cert.KeyCompromise), status(m.Snapshot(), serial))
		stop()
	})
}

// TestRev3_WhatIsShownIsOnDisk looks at what is shown when the disk fails: neither rows
// nor lists that it did not get. So what was answered once is answered after a kill.
func TestRev3_WhatIsShownIsOnDisk(t *testing.T) {
	for _, name := range []string{"rows", "held.json"} {
		t.Run(name, func(t *testing.T) {
			mount, dir := newMount(t), t.TempDir()
			serial := mount.Good()
			mount.List(t, 1)
			mount.Refuse(http.StatusServiceUnavailable)
			synctest.Test(t, func(t *testing.T) {
				var m *mirror.Mirror
				var seen []int // a status, or the number of a list
				shown := func() int {
					s := m.Snapshot()
					if name == "rows" {
						return status(s, serial)
					}
					if list := s.ByID(edgemount.Issuer).Find("complete"); list != nil {
						return int(list.Number)
					}
					return 0
				}
				log := hclog.New(&hclog.LoggerOptions{Output: lines(func(line string) {
					if strings.Contains(line, "not on disk") {
						seen = append(seen, shown())
					}
				})})
				m, stop := followAs(t, mount, mirror.Config{Interval: time.Second, Log: log}, dir, mount.Transport())
				blocked := filepath.Join(dir, name+".new")
				require.NoError(t, os.MkdirAll(filepath.Join(blocked, "x"), 0o700))
				mount.Refuse(0)
				time.Sleep(70 * time.Second)
				first := shown()
				mount.Revoke(serial, cert.Superseded)
				mount.List(t, 2)
				time.Sleep(2 * time.Second)
				second := shown()
				stop()
				require.NoError(t, os.RemoveAll(blocked))
				require.Contains(t, map[string][]int{"rows": {-1, int(cert.Superseded)}, "held.json": {1, 2}}[name], first, "it goes on in memory")
				require.NotEqual(t, first, second)
				require.NotEmpty(t, seen)
				require.NotContains(t, seen[:1], first)
				require.NotContains(t, seen[:len(seen)-1], second)
			})
		})
	}
}

// lines takes what is logged, line by line.
type lines func(line string)

func (l lines) Write(line []byte) (int, error) {
	l(string(line))
	return len(line), nil
}
