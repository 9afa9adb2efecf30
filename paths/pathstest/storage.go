package pathstest

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// Counted is storage that counts its round trips.
type Counted struct {
	logical.Storage
	Gets, Puts, Lists, Deletes atomic.Int64
}

// Count puts a counter between the engine and its storage. The engine is started
// again, so that none of its work passes the counter by.
func (m *Mount) Count(t testing.TB) *Counted {
	t.Helper()
	counted := &Counted{Storage: m.Storage}
	m.Storage = counted
	m.Restart(t)
	return counted
}

// Get implements logical.Storage.
func (c *Counted) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	c.Gets.Add(1)
	return c.Storage.Get(ctx, key)
}

// Put implements logical.Storage.
func (c *Counted) Put(ctx context.Context, entry *logical.StorageEntry) error {
	c.Puts.Add(1)
	return c.Storage.Put(ctx, entry)
}

// List implements logical.Storage.
func (c *Counted) List(ctx context.Context, prefix string) ([]string, error) {
	c.Lists.Add(1)
	return c.Storage.List(ctx, prefix)
}

// Delete implements logical.Storage.
func (c *Counted) Delete(ctx context.Context, key string) error {
	c.Deletes.Add(1)
	return c.Storage.Delete(ctx, key)
}

// Total returns the number of all round trips.
func (c *Counted) Total() int64 {
	return c.Gets.Load() + c.Puts.Load() + c.Lists.Load() + c.Deletes.Load()
}

// Reset sets the counts to zero.
func (c *Counted) Reset() {
	for _, counter := range []*atomic.Int64{&c.Gets, &c.Puts, &c.Lists, &c.Deletes} {
		counter.Store(0)
	}
}

// quietLooks is how often in a row, a look every 20 ms, there must have been no round
// trip.
const quietLooks = 10

// Settle waits until the engine's background work has come to rest: what it does
// at its start must not be taken for the work of a request.
func (c *Counted) Settle(t testing.TB) {
	t.Helper()
	seen, looks := c.Total(), 0
	wait.Until(t, "background work has come to rest", func() bool {
		looks++
		if now := c.Total(); now != seen {
			seen, looks = now, 0
		}
		return looks >= quietLooks
	})
}

// Interposed is storage that does something else in the middle of a write.
type Interposed struct {
	logical.Storage
	pending atomic.Pointer[func()]
}

// Interpose puts the engine on interposed storage and starts it again.
func (m *Mount) Interpose(t testing.TB) *Interposed {
	t.Helper()
	interposed := &Interposed{Storage: m.Storage}
	m.Storage = interposed
	m.Restart(t)
	return interposed
}

// Before has something done just before the next write reaches storage, once.
func (i *Interposed) Before(do func()) { i.pending.Store(&do) }

// Put implements logical.Storage.
func (i *Interposed) Put(ctx context.Context, entry *logical.StorageEntry) error {
	i.interrupt()
	return i.Storage.Put(ctx, entry)
}

// Delete implements logical.Storage.
func (i *Interposed) Delete(ctx context.Context, key string) error {
	i.interrupt()
	return i.Storage.Delete(ctx, key)
}

func (i *Interposed) interrupt() {
	if do := i.pending.Swap(nil); do != nil {
		(*do)()
	}
}
