package fsck

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/catalog"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// profiles checks that every profile version that a certificate remembers can still be
// read: its reasons for revocation and its time on the CRL come from there (past-1).
func (c *checker) profiles() error {
	storage := &watched{Store: c.store}
	known := catalog.New(storage)
	names, err := c.list(layout.Profile)
	if err != nil {
		return err
	}
	for _, row := range c.book.rows {
		c.remembers(row.Profile, layout.Segment)
	}
	for _, ref := range slices.Sorted(maps.Keys(c.book.profiles)) {
		key := c.book.profiles[ref]
		name, version, _ := strings.Cut(ref, "@")
		_, err := known.Issued(c.ctx, ref)
		switch {
		case storage.failed != nil:
			return fmt.Errorf("reading profile %s: %w", ref, storage.failed)
		case err == nil || version == "0" && (name == profile.SpelledRoot || name == profile.SpelledSubCA):
		case len(names) == 0 && version != "0":
			// Nothing in storage says that this mount ever had profiles: rows alone, as a
			// ledger has them that was moved here.
		default:
			c.broken(key, "certificates remember profile %s, which cannot be read: %v", ref, err)
		}
	}
	if err := known.CheckMoves(c.ctx); fault.Is(err, fault.Conflict) {
		c.notice(layout.Profile, "%v", err)
	}
	return storage.failed
}

// watched is storage that remembers its first failure, which says nothing about what is
// stored.
type watched struct {
	kv.Store
	failed error
}

// Get implements kv.Store.
func (w *watched) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := w.Store.Get(ctx, key)
	w.failed = cmp.Or(w.failed, err)
	return value, err
}

// List implements kv.Store.
func (w *watched) List(ctx context.Context, prefix string) ([]string, error) {
	names, err := w.Store.List(ctx, prefix)
	w.failed = cmp.Or(w.failed, err)
	return names, err
}

// remembers notes one profile version that a certificate remembers. A role without a
// profile, and a certificate that came from elsewhere, have none.
func (c *checker) remembers(ref, key string) {
	if ref != "" && !strings.HasPrefix(ref, "role:") && c.book.profiles[ref] == "" {
		c.book.profiles[ref] = key
	}
}
