package ledger_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// pausing is a store of which a write waits, once, while the test does something else.
type pausing struct {
	*kvtest.Store
	mu sync.Mutex
	on map[string]func() // by prefix
}

func (p *pausing) pause(key string) {
	p.mu.Lock()
	var work func()
	for prefix := range p.on {
		if strings.HasPrefix(key, prefix) {
			work = p.on[prefix]
			delete(p.on, prefix)
		}
	}
	p.mu.Unlock()
	if work != nil {
		work()
	}
}

func (p *pausing) Put(ctx context.Context, key string, value []byte) error {
	p.pause(key)
	return p.Store.Put(ctx, key, value)
}

func (p *pausing) Delete(ctx context.Context, key string) error {
	p.pause(key)
	return p.Store.Delete(ctx, key)
}

// process starts a new process on the store, with an empty memory, and loads.
func (p *pausing) process(t *testing.T, c *clock) *ledger.Ledger {
	t.Helper()
	c.turn(time.Second)
	l := ledger.New(ledger.Config{Store: p, Now: c.Now})
	require.NoError(t, l.Load(t.Context()))
	return l
}

// doubted issues certificates on n pages and leaves a marker of each behind, for a
// revocation that did not happen. Pages do not share a lock.
func (p *pausing) doubted(t *testing.T, c *clock, n int) []cert.Serial {
	t.Helper()
	l, locks := p.process(t, c), map[byte]bool{}
	var all []cert.Serial
	for len(all) < n {
		serial := issue(t, l, 1)[0]
		if lock := serial[11]; !locks[lock] {
			locks[lock] = true
			all = append(all, serial)
		}
	}
	require.NoError(t, l.Flush(t.Context()))
	for _, serial := range all {
		p.Break(3, kvtest.LoseWrite)
		_, _, err := l.Revoke(t.Context(), serial, revocation(cert.Superseded))
		require.ErrorIs(t, err, kvtest.ErrLost)
	}
	require.Len(t, markers(p.Store), n)
	return all
}

// A revocation that relies on a marker which is there already is under way while
// Flush writes the row as it was, and removes the markers that nobody needs.
func TestCrash1_RevokingKeepsTheMarkerThatItReliesOn(t *testing.T) {
	store, c := &pausing{Store: kvtest.New(), on: map[string]func(){}}, newClock()
	all := store.doubted(t, c, 3)
	for _, serial := range all[1:] {
		l := store.process(t, c)
		writing, finish, revoked := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		store.on[layout.Page] = func() {
			close(writing)
			<-finish
		}
		store.on[layout.Segment] = func() {
			go func() {
				_, _, err := l.Revoke(t.Context(), serial, revocation(cert.KeyCompromise))
				revoked <- err
			}()
			<-writing
		}
		// Flush has done with the segment when it removes the first marker, or when it
		// waits for the page: then nothing can be seen from outside.
		release := sync.OnceFunc(func() { close(finish) })
		store.on[layout.Dirty] = release
		waited := time.AfterFunc(100*time.Millisecond, release)
		require.NoError(t, l.Flush(t.Context()))
		waited.Stop()
		require.NoError(t, <-revoked)
		delete(store.on, layout.Dirty)

		requireRevoked(t, store.process(t, c), serial)
		clean(t, store.Store)
	}
}
