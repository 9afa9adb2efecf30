package attack_test

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/vault/sdk/logical"
)

// held is storage that does not answer for the ledger until it is opened.
type held struct {
	logical.Storage
	open chan struct{}
}

func (h *held) wait(ctx context.Context, key string) {
	for _, prefix := range []string{"page/", "segment/", "row", "dirty/", "ledger"} {
		if strings.HasPrefix(key, prefix) {
			select {
			case <-h.open:
			case <-ctx.Done():
			}
		}
	}
}

func (h *held) List(ctx context.Context, prefix string) ([]string, error) {
	h.wait(ctx, prefix)
	return h.Storage.List(ctx, prefix)
}

func (h *held) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	h.wait(ctx, key)
	return h.Storage.Get(ctx, key)
}

// counted is storage that counts its round trips.
type counted struct {
	logical.Storage
	gets, puts, lists, deletes atomic.Int64
}

func (c *counted) reset() {
	for _, counter := range []*atomic.Int64{&c.gets, &c.puts, &c.lists, &c.deletes} {
		counter.Store(0)
	}
}

func (c *counted) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	c.gets.Add(1)
	return c.Storage.Get(ctx, key)
}

func (c *counted) Put(ctx context.Context, entry *logical.StorageEntry) error {
	c.puts.Add(1)
	return c.Storage.Put(ctx, entry)
}

func (c *counted) List(ctx context.Context, prefix string) ([]string, error) {
	c.lists.Add(1)
	return c.Storage.List(ctx, prefix)
}

func (c *counted) Delete(ctx context.Context, key string) error {
	c.deletes.Add(1)
	return c.Storage.Delete(ctx, key)
}
