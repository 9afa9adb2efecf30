package catalog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// Moved tells other rooms that a stored profile has another name now. They change their
// references from the one name to the other, and are told again after a failure. An
// error keeps the move from being finished.
type Moved func(ctx context.Context, from, to string) error

// OnMove says whom to tell of a move. Call it before the catalog is used.
func (c *Catalog) OnMove(moved Moved) { c.moved = moved }

// Migrate moves stored profiles whose names this release reserves: an earlier release
// let them be written, and there they hid the preset of that name. Each becomes
// NAME-custom, and roles follow. Certificates that remember NAME@3 find that version
// where it was. On a mount without such profiles it reads the snapshot and nothing else.
func (c *Catalog) Migrate(ctx context.Context) error {
	snap, err := c.current(ctx)
	if err != nil || len(snap.reserved) == 0 {
		return err
	}
	return c.change(ctx, func(*snapshot) error { return nil })
}

// migrate is Migrate for a caller that holds mu on a loaded snapshot.
func (c *Catalog) migrate(ctx context.Context) error {
	reserved := c.snap.Load().reserved
	if len(reserved) == 0 {
		return nil
	}
	for _, name := range reserved {
		if err := c.move(ctx, name); err != nil {
			c.snap.Store(nil) // some of it may have happened
			return fmt.Errorf("moving profile %s, whose name is reserved: %w", name, err)
		}
	}
	return c.load(ctx)
}

// move gives one stored profile its new name.
//
// Crash narration: versions are copied first, then the new head is written, which says
// where it comes from. From there on both names lead to the same versions, so it does
// not matter which of the references have been changed. The old head is written last
// and ends the move. After a crash anywhere before that, the next start finds the old
// head as it was, takes the new name of the head that comes from it, and does every
// step again.
func (c *Catalog) move(ctx context.Context, name string) error {
	heads, err := c.heads.All(ctx)
	if err != nil {
		return err
	}
	old := heads[name]
	if old == nil || old.Deleted {
		return nil
	}
	to := customName(heads, name)
	for n := 1; n <= old.Latest; n++ {
		config, err := c.table(name).Get(ctx, strconv.Itoa(n))
		if err != nil {
			return err
		}
		if config == nil {
			continue // fsck reports it, and the profile's other versions are of use
		}
		if err := c.table(to).Put(ctx, strconv.Itoa(n), config); err != nil {
			return err
		}
		c.versions.Delete(to + "@" + strconv.Itoa(n))
	}
	if err := c.heads.Put(ctx, to, &head{Latest: old.Latest, MovedFrom: name}); err != nil {
		return err
	}
	if err := c.moveRoles(ctx, name, to); err != nil {
		return err
	}
	if c.moved != nil {
		if err := c.moved(ctx, name, to); err != nil {
			return err
		}
	}
	return c.heads.Put(ctx, name, &head{Latest: old.Latest, Deleted: true, MovedTo: to})
}

// customName returns the new name of a profile: the one that an interrupted move has
// chosen, or the first that is free.
func customName(heads map[string]*head, name string) string {
	for other, h := range heads {
		if h.MovedFrom == name {
			return other
		}
	}
	taken := sorted(heads)
	for n := 1; ; n++ {
		to := profile.CustomName(name, n)
		if !slices.ContainsFunc(taken, func(other string) bool { return strings.EqualFold(other, to) }) {
			return to
		}
	}
}

// moveRoles changes the profile of every role that names it, and keeps the version to
// which a role is pinned.
func (c *Catalog) moveRoles(ctx context.Context, from, to string) error {
	declared, err := c.roles.All(ctx)
	if err != nil {
		return err
	}
	for _, roleName := range sorted(declared) {
		config := declared[roleName]
		if used, _, _ := strings.Cut(config.Profile, "@"); used != from {
			continue
		}
		config.Profile = to + strings.TrimPrefix(config.Profile, from)
		if err := c.roles.Put(ctx, roleName, config); err != nil {
			return fmt.Errorf("role %s: %w", roleName, err)
		}
	}
	return nil
}

// CheckMoves reports stored profiles with a reserved name: the next write or start of
// the active node moves them.
func (c *Catalog) CheckMoves(ctx context.Context) error {
	snap, err := c.current(ctx)
	if err != nil || len(snap.reserved) == 0 {
		return err
	}
	return fault.New(fault.Conflict, "profiles with reserved names have not been moved: %s", strings.Join(snap.reserved, ", "))
}
