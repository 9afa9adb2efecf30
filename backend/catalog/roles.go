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
	return nil, fault.New(fault.NotFound, "unknown role: %s", name)
}

// RoleConfig returns a role as it was declared. NotFound when there is none.
func (c *Catalog) RoleConfig(ctx context.Context, name string) (role.Config, error) {
	snap, err := c.current(ctx)
	if err != nil {
		return role.Config{}, err
	}
	declared, ok := snap.declared[name]
	if !ok {
		return role.Config{}, fault.New(fault.NotFound, "unknown role: %s", name)
	}
	return *declared, nil
}

// PutRole validates a role against its profile and stores it.
func (c *Catalog) PutRole(ctx context.Context, name string, config role.Config) error {
	return c.change(ctx, func(snap *snapshot) error {
		if err := checkName(sorted(snap.declared), name); err != nil {
			return err
		}
		if _, err := c.compile(ctx, snap.latest, name, config); err != nil {
			return err
		}
		return c.roles.Put(ctx, name, &config)
	})
}

// DeleteRole removes a role; an absent one is no error. What it issued stays.
func (c *Catalog) DeleteRole(ctx context.Context, name string) error {
	return c.change(ctx, func(*snapshot) error { return c.roles.Delete(ctx, name) })
}
