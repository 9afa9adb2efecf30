package catalog

import (
	"context"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// Roles returns the names of the roles, sorted.
func (c *Catalog) Roles(ctx context.Context) ([]string, error) {
	snap, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	return sorted(snap.declared), nil
}

// Role returns a compiled role with no storage operation once loaded. NotFound when
// there is none.
func (c *Catalog) Role(ctx context.Context, name string) (*role.Role, error) {
	snap, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	if compiled, ok := snap.roles[name]; ok {
		return compiled, nil
	}
	if reason, ok := snap.broken[name]; ok {
		return nil, fault.New(fault.Conflict, "role %s does not fit its profile any more: %w", name, reason)
	}
	return nil, unknownRole(name)
}

// RoleConfig returns a role as it was declared. NotFound when there is none.
func (c *Catalog) RoleConfig(ctx context.Context, name string) (role.Config, error) {
	snap, err := c.current(ctx)
	if err != nil {
		return role.Config{}, err
	}
	declared, ok := snap.declared[name]
	if !ok {
		return role.Config{}, unknownRole(name)
	}
	return *declared, nil
}

// PutRole validates a role against its profile and stores it.
func (c *Catalog) PutRole(ctx context.Context, name string, config role.Config) error {
	return c.change(ctx, func(snap *snapshot) error { return c.putRole(ctx, snap, name, config) })
}

// AmendRole changes a stored role under the catalog's lock, so that of two changes
// at a time neither is lost, and a deleted role does not come back (race-1). It
// returns the role as it is stored then. NotFound when there is none.
func (c *Catalog) AmendRole(ctx context.Context, name string, change func(*role.Config) error) (role.Config, error) {
	var changed role.Config
	err := c.change(ctx, func(snap *snapshot) error {
		declared, ok := snap.declared[name]
		if !ok {
			return unknownRole(name)
		}
		changed = *declared
		if err := change(&changed); err != nil {
			return err
		}
		return c.putRole(ctx, snap, name, changed)
	})
	return changed, err
}

// putRole is PutRole for a caller that holds mu.
func (c *Catalog) putRole(ctx context.Context, snap *snapshot, name string, config role.Config) error {
	if err := checkName(sorted(snap.declared), name); err != nil {
		return err
	}
	if _, err := c.compile(ctx, snap.latest, name, config); err != nil {
		return err
	}
	return c.roles.Put(ctx, name, &config)
}

func unknownRole(name string) error {
	return fault.New(fault.NotFound, "unknown role: %s; vault list MOUNT/roles shows the roles", name)
}

// DeleteRole removes a role; an absent one is no error. What it issued stays.
func (c *Catalog) DeleteRole(ctx context.Context, name string) error {
	return c.change(ctx, func(*snapshot) error { return c.roles.Delete(ctx, name) })
}
