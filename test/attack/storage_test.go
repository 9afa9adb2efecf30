package attack_test

import (
	"context"
	"strings"

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
