package paths

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
)

// store is Vault's storage of one mount as a kv.Store. Every method is one round
// trip to Vault.
type store struct{ storage logical.Storage }

var _ kv.Store = store{}

// Get implements kv.Store.
func (s store) Get(ctx context.Context, key string) ([]byte, error) {
	entry, err := s.storage.Get(apart(ctx), key)
	if err != nil {
		return nil, classify(ctx, err)
	}
	if entry == nil {
		return nil, nil
	}
	return entry.Value, nil
}

// Put implements kv.Store.
func (s store) Put(ctx context.Context, key string, value []byte) error {
	if len(value) > kv.MaxValue {
		return fault.New(fault.Internal, "entry of %d bytes is larger than the %d that storage takes", len(value), kv.MaxValue)
	}
	return classify(ctx, s.storage.Put(apart(ctx), &logical.StorageEntry{Key: key, Value: value}))
}

// apart gives an operation an index state of its own. The SDK keeps one for each request and
// changes it after every write without a lock, while the lists of several CAs may be
// written side by side for one request. The state serves the replication of Vault
// Enterprise only.
func apart(ctx context.Context) context.Context {
	return logical.IndexStateContext(ctx, &logical.WALState{})
}

// Delete implements kv.Store.
func (s store) Delete(ctx context.Context, key string) error {
	return classify(ctx, s.storage.Delete(apart(ctx), key))
}

// List implements kv.Store. Vault promises no order.
func (s store) List(ctx context.Context, prefix string) ([]string, error) {
	names, err := s.storage.List(apart(ctx), prefix)
	if err != nil {
		return nil, classify(ctx, err)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// classify gives storage errors their kind. They cross the plugin boundary as bare
// text, so this is the one place that compares text.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if strings.Contains(err.Error(), logical.ErrReadOnly.Error()) {
		return fault.New(fault.ReadOnly, "this node may not write: %w", err)
	}
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("waiting for storage: %w", cause)
	}
	return err
}
