package catalog

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"strconv"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/lint"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// Profiles returns the names of the profiles, sorted. Presets are not among them.
func (c *Catalog) Profiles(ctx context.Context) ([]string, error) {
	snap, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	return sorted(snap.latest), nil
}

// Profile returns a version of a profile; version 0 means the newest.
func (c *Catalog) Profile(ctx context.Context, name string, version int) (profile.Config, int, error) {
	snap, err := c.current(ctx)
	if err != nil {
		return profile.Config{}, 0, err
	}
	latest, ok := snap.latest[name]
	if !ok || version < 0 || version > latest {
		return profile.Config{}, 0, noVersion(name)
	}
	if version == 0 {
		version = latest
	}
	config, err := c.version(ctx, name, version)
	if err != nil {
		return profile.Config{}, 0, err
	}
	return *config, version, nil
}

// Resolve compiles the profile, or the preset, that "name" or "name@version" refers
// to.
func (c *Catalog) Resolve(ctx context.Context, ref string) (*profile.Profile, error) {
	snap, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	config, version, err := c.resolve(ctx, snap.latest, ref)
	if err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(ref, "@")
	return profile.New(name, version, *config)
}

// Issued compiles the profile version that a certificate remembers, name@version. What
// it remembers never changes (past-1): version 0 is the preset of that name and nothing
// else, a version from 1 is that of the stored profile, also when that was deleted, or
// moved to another name, since.
func (c *Catalog) Issued(ctx context.Context, ref string) (*profile.Profile, error) {
	snap, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	name, pinned, hasPin := strings.Cut(ref, "@")
	if pinned == "0" {
		preset, ok := profile.Preset(name)
		if !ok {
			return nil, fault.New(fault.Invalid, "no preset is named %q", name)
		}
		return profile.New(name, 0, preset)
	}
	if !hasPin {
		return nil, fault.New(fault.Invalid, "%q is not name@version", ref)
	}
	config, version, err := c.resolve(ctx, snap.numbered, ref)
	if err != nil {
		return nil, err
	}
	return profile.New(name, version, *config)
}

// PutProfile stores the next version of a profile and returns its number. Roles that
// follow the profile are recompiled first: a version under which one of them would
// grant more than the profile is refused. Storing what the newest version already
// says makes no new one.
//
// Crash narration: the version is written before the head that names it. After a
// crash in between, the head still names the old version, and the next write
// overwrites the orphan, which nothing ever referred to.
func (c *Catalog) PutProfile(ctx context.Context, name string, config profile.Config) (int, error) {
	version := 0
	err := c.change(ctx, func(snap *snapshot) (err error) {
		version, err = c.putProfile(ctx, snap, name, config)
		return err
	})
	return version, err
}

// AmendProfile makes the next version of a profile by changing the newest one under
// the catalog's lock, so that of two changes at a time neither is lost, and a deleted
// profile does not come back (race-1). It returns the version and what it says.
// NotFound when there is no such profile.
func (c *Catalog) AmendProfile(ctx context.Context, name string, change func(*profile.Config) error) (profile.Config, int, error) {
	var changed profile.Config
	version := 0
	err := c.change(ctx, func(snap *snapshot) error {
		latest := snap.latest[name]
		if latest == 0 {
			return noVersion(name)
		}
		newest, err := c.version(ctx, name, latest)
		if err != nil {
			return err
		}
		changed = *newest
		if err := change(&changed); err != nil {
			return err
		}
		version, err = c.putProfile(ctx, snap, name, changed)
		return err
	})
	return changed, version, err
}

func noVersion(name string) error {
	return fault.New(fault.NotFound, "no such profile or version: %s", name)
}

// putProfile is PutProfile for a caller that holds mu.
func (c *Catalog) putProfile(ctx context.Context, snap *snapshot, name string, config profile.Config) (int, error) {
	if err := checkName(sorted(snap.latest), name); err != nil {
		return 0, err
	}
	if err := profile.CheckUnreserved(name); err != nil {
		return 0, err
	}
	version := snap.numbered[name] + 1
	compiled, err := profile.New(name, version, config)
	if err != nil {
		return 0, err
	}
	if err := lint.CheckPolicy(LintPolicy(compiled)); err != nil {
		return 0, err
	}
	if latest := snap.latest[name]; latest > 0 {
		newest, err := c.version(ctx, name, latest)
		if err != nil {
			return 0, err
		}
		if same(*newest, config) {
			return latest, nil
		}
	}
	if err := c.checkFollowers(snap, name, version, config); err != nil {
		return 0, err
	}
	c.versions.Delete(name + "@" + strconv.Itoa(version))
	if err := c.table(name).Put(ctx, strconv.Itoa(version), &config); err != nil {
		return 0, err
	}
	return version, c.heads.Put(ctx, name, &head{Latest: version})
}

// LintPolicy is what a profile wants of the lint room, which does not know profiles.
func LintPolicy(p *profile.Profile) lint.Policy {
	wanted := p.LintPolicy()
	return lint.NewPolicy(wanted.Sets, wanted.FailLevel, wanted.Ignore)
}

// same reports whether two profiles say the same. An empty list and none are one.
func same(a, b profile.Config) bool { return reflect.DeepEqual(said(a), said(b)) }

// said returns the fields of a profile that are not empty, as they are stored.
func said(config profile.Config) map[string]any {
	raw, err := json.Marshal(config)
	fields := map[string]any{}
	if err != nil || json.Unmarshal(raw, &fields) != nil {
		return nil
	}
	maps.DeleteFunc(fields, func(_ string, value any) bool {
		switch v := value.(type) {
		case nil:
			return true
		case []any:
			return len(v) == 0
		case map[string]any:
			return len(v) == 0
		}
		return false
	})
	return fields
}

// checkFollowers compiles every role that follows the newest version of a profile.
func (c *Catalog) checkFollowers(snap *snapshot, name string, version int, config profile.Config) error {
	for _, roleName := range sorted(snap.declared) {
		declared := snap.declared[roleName]
		if declared.Profile != name {
			continue
		}
		if _, err := role.New(roleName, *declared, &config, name+"@"+strconv.Itoa(version)); err != nil {
			return fault.New(fault.KindOf(err), "role %s follows this profile and would not fit it: %w; narrow the role first or pin it to %s@%d",
				roleName, err, name, version-1)
		}
	}
	return nil
}

// DeleteProfile takes a profile out of use; its versions stay for the certificates
// that remember them. Conflict while a role uses it.
func (c *Catalog) DeleteProfile(ctx context.Context, name string) error {
	return c.change(ctx, func(snap *snapshot) error {
		for _, roleName := range sorted(snap.declared) {
			used, _, _ := strings.Cut(snap.declared[roleName].Profile, "@")
			if used == name {
				return fault.New(fault.Conflict, "role %s uses profile %s: change or delete the role first", roleName, name)
			}
		}
		if snap.latest[name] == 0 {
			return nil
		}
		return c.heads.Put(ctx, name, &head{Latest: snap.latest[name], Deleted: true})
	})
}
