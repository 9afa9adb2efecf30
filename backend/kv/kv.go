// Package kv promises storage that the rooms can reason about: four methods,
// values that are absent or whole, and typed tables of versioned records on top.
package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// MaxValue is the largest value in bytes that Put accepts: raft storage refuses
// entries above 512 KiB once Vault has wrapped them, so we stay below.
const MaxValue = 480 << 10

// Store is the storage of one mount. Every method is one round trip. There are no
// transactions: a caller orders its writes so that a crash between any two leaves
// a state that its reader understands. A write that returned an error may have
// happened or not.
type Store interface {
	// Get returns the value, or nil and no error when the key is absent.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put writes the value, replacing what was there.
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes the key; an absent key is no error.
	Delete(ctx context.Context, key string) error
	// List returns the names directly below a prefix that ends in "/", sorted; a
	// name that ends in "/" is a folder. Listing walks everything below the
	// prefix, so only ever list a leaf.
	List(ctx context.Context, prefix string) ([]string, error)
}

// Table keeps JSON records of one type below one prefix. Each record is stored
// with a version so that a later release can upgrade it when it is next written.
type Table[T any] struct {
	store   Store
	prefix  string
	version int
}

// NewTable returns the table below prefix, which must end in "/". version is
// written with each record and must not be lower than that of a stored one.
func NewTable[T any](store Store, prefix string, version int) Table[T] {
	return Table[T]{store: store, prefix: prefix, version: version}
}

type envelope[T any] struct {
	Version int `json:"v"`
	Record  T   `json:"r"`
}

// Get returns the record, or nil and no error when there is none.
func (t Table[T]) Get(ctx context.Context, name string) (*T, error) {
	raw, err := t.store.Get(ctx, t.prefix+name)
	if err != nil {
		return nil, fmt.Errorf("reading %s%s: %w", t.prefix, name, err)
	}
	if raw == nil {
		return nil, nil
	}
	var e envelope[T]
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, fmt.Errorf("decoding %s%s: %w", t.prefix, name, err)
	}
	if e.Version > t.version {
		return nil, Newer(t.prefix+name, e.Version, t.version)
	}
	return &e.Record, nil
}

// Newer returns the error of whoever meets a stored value of a newer release. key is a
// storage key, and known the highest version that this release reads.
func Newer(key string, version, known int) error {
	return fault.New(fault.Internal, "storage of %s has version %d, this release reads up to %d: %w", key, version, known, errNewer)
}

var errNewer = errors.New("install the newer release")

// IsNewer reports whether an error is one of Newer. Whoever meets it writes nothing in its
// place.
func IsNewer(err error) bool { return errors.Is(err, errNewer) }

// Put writes the record under the name.
func (t Table[T]) Put(ctx context.Context, name string, record *T) error {
	raw, err := json.Marshal(envelope[T]{Version: t.version, Record: *record})
	if err != nil {
		return fmt.Errorf("encoding %s%s: %w", t.prefix, name, err)
	}
	if len(raw) > MaxValue {
		return fault.New(fault.TooLarge, "record %s%s has %d bytes, more than the %d that storage takes", t.prefix, name, len(raw), MaxValue)
	}
	if err := t.store.Put(ctx, t.prefix+name, raw); err != nil {
		return fmt.Errorf("writing %s%s: %w", t.prefix, name, err)
	}
	return nil
}

// Delete removes the record; an absent one is no error.
func (t Table[T]) Delete(ctx context.Context, name string) error {
	if err := t.store.Delete(ctx, t.prefix+name); err != nil {
		return fmt.Errorf("deleting %s%s: %w", t.prefix, name, err)
	}
	return nil
}

// Names returns the names of all records, sorted.
func (t Table[T]) Names(ctx context.Context) ([]string, error) {
	names, err := t.store.List(ctx, t.prefix)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", t.prefix, err)
	}
	return names, nil
}

// All returns every record by name.
func (t Table[T]) All(ctx context.Context) (map[string]*T, error) {
	names, err := t.Names(ctx)
	if err != nil {
		return nil, err
	}
	records := make(map[string]*T, len(names))
	for _, name := range names {
		record, err := t.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		if record != nil {
			records[name] = record
		}
	}
	return records, nil
}
