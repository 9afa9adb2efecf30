package ledger_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// slow is a store in which a write may still be under way when the process that began
// it was killed: Vault carries it out, before any write of the next process, since
// raft keeps writes in order, and not before what the next process reads.
type slow struct {
	*kvtest.Store
	prefix string // whose next write is held up
	held   func()
}

func (s *slow) hold(prefix string) { s.prefix = prefix }

func (s *slow) write(key string, work func() error) error {
	if s.prefix != "" && strings.HasPrefix(key, s.prefix) {
		s.prefix, s.held = "", func() { _ = work() }
		return kvtest.ErrLost
	}
	s.arrive()
	return work()
}

func (s *slow) arrive() {
	if s.held != nil {
		s.held()
		s.held = nil
	}
}

func (s *slow) Put(ctx context.Context, key string, value []byte) error {
	return s.write(key, func() error { return s.Store.Put(ctx, key, value) })
}

func (s *slow) Delete(ctx context.Context, key string) error {
	return s.write(key, func() error { return s.Store.Delete(ctx, key) })
}

// process starts a new process on the store, with an empty memory.
func (s *slow) process(c *clock) *ledger.Ledger {
	c.turn(time.Second)
	return ledger.New(ledger.Config{Store: s, Now: c.Now})
}

func requireRevoked(t *testing.T, l *ledger.Ledger, serial cert.Serial) {
	t.Helper()
	row, found, err := l.Row(serial)
	require.NoError(t, err)
	require.True(t, found)
	require.False(t, row.RevokedAt.IsZero())
}

// A segment of the last process arrives when this one runs: it says of a certificate
// what it was then, and must not hide what became of it.
func TestCrash1_LateSegmentHidesNoRevocation(t *testing.T) {
	store, c := &slow{Store: kvtest.New()}, newClock()
	first := store.process(c)
	require.NoError(t, first.Load(t.Context()))
	serial := issue(t, first, 1)[0]
	store.hold(layout.Segment)
	require.ErrorIs(t, first.Flush(t.Context()), kvtest.ErrLost)

	second := store.process(c)
	require.NoError(t, second.Load(t.Context()))
	store.arrive()
	_, _, err := second.Revoke(t.Context(), serial, revocation(cert.Superseded))
	require.NoError(t, err)

	third := store.process(c)
	require.NoError(t, third.Load(t.Context()))
	requireRevoked(t, third, serial)
	clean(t, store.Store)
}

// The same while rows still load.
func TestCrash1_LateSegmentHidesNoRevocationMadeWhileRowsLoad(t *testing.T) {
	store, c := &slow{Store: kvtest.New()}, newClock()
	first := store.process(c)
	require.NoError(t, first.Load(t.Context()))
	serial := issue(t, first, 1)[0]
	store.hold(layout.Segment)
	require.ErrorIs(t, first.Flush(t.Context()), kvtest.ErrLost)

	h := &hookedList{slow: store, prefix: layout.Dirty}
	second := ledger.New(ledger.Config{Store: h, Now: c.Now})
	h.before = func() { // pages were read, markers were not
		_, _, err := second.Revoke(t.Context(), serial, revocation(cert.Superseded))
		require.NoError(t, err)
	}
	require.NoError(t, second.Load(t.Context()))
	store.arrive()

	third := store.process(c)
	require.NoError(t, third.Load(t.Context()))
	requireRevoked(t, third, serial)
	clean(t, store.Store)
}

// hookedList calls back once before it lists a prefix.
type hookedList struct {
	*slow
	prefix string
	before func()
}

func (h *hookedList) List(ctx context.Context, prefix string) ([]string, error) {
	if before := h.before; before != nil && prefix == h.prefix {
		h.before = nil
		before()
	}
	return h.Store.List(ctx, prefix)
}

// A revocation that nobody was told of arrives after the next process began: rows say
// the same as pages all the same.
func TestCrash1_LateRevocationIsSeen(t *testing.T) {
	store, c := &slow{Store: kvtest.New()}, newClock()
	first := store.process(c)
	require.NoError(t, first.Load(t.Context()))
	serials := issue(t, first, 2)
	require.NoError(t, first.Flush(t.Context()))
	store.hold(layout.Page)
	_, _, err := first.Revoke(t.Context(), serials[0], revocation(cert.Superseded))
	require.ErrorIs(t, err, kvtest.ErrLost)

	second := store.process(c)
	require.NoError(t, second.Load(t.Context()))
	require.NoError(t, second.Flush(t.Context()))
	store.arrive()
	requireRevoked(t, second, serials[0])
	clean(t, store.Store)
}

// The last process was about to remove a marker.
func TestCrash1_LateRemovalOfAMarkerHidesNoRevocation(t *testing.T) {
	store, c := &slow{Store: kvtest.New()}, newClock()
	first := store.process(c)
	require.NoError(t, first.Load(t.Context()))
	serial := issue(t, first, 1)[0]
	require.NoError(t, first.Flush(t.Context()))
	store.hold(layout.Page)
	_, _, err := first.Revoke(t.Context(), serial, revocation(cert.Superseded))
	require.ErrorIs(t, err, kvtest.ErrLost)
	store.held = nil // it never happened; the marker is there
	first = store.process(c)
	require.NoError(t, first.Load(t.Context()))
	store.hold(layout.Dirty)
	require.ErrorIs(t, first.Flush(t.Context()), kvtest.ErrLost)

	second := store.process(c)
	require.NoError(t, second.Load(t.Context()))
	_, _, err = second.Revoke(t.Context(), serial, revocation(cert.Superseded))
	require.NoError(t, err)
	third := store.process(c)
	require.NoError(t, third.Load(t.Context()))
	requireRevoked(t, third, serial)
	clean(t, store.Store)
}
