// Package catalog promises that a request meets only profiles and roles that were
// validated together: each write recompiles what depends on it and is refused when
// anything would no longer hold, and requests read one immutable snapshot without
// touching storage.
package catalog

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// Catalog is the profiles and roles of one mount.
type Catalog struct {
	store    kv.Store
	heads    kv.Table[head]
	roles    kv.Table[role.Config]
	mu       sync.Mutex // orders writers, as in issuer.Set
	snap     atomic.Pointer[snapshot]
	versions sync.Map // name@version -> *profile.Config: versions never change
	moved    Moved
}

// head names the newest version of a profile. It outlives the profile, so that a
// version number never comes to mean two things: issued certificates remember it.
type head struct {
	Latest  int  `json:"latest"`
	Deleted bool `json:"deleted,omitempty"`
	// MovedTo names the profile that took over when the name was reserved, and
	// MovedFrom, in the head of that one, the reserved name: see Migrate.
	MovedTo   string `json:"moved_to,omitempty"`
	MovedFrom string `json:"moved_from,omitempty"`
}

// snapshot is what requests read. broken holds roles that were stored by an older
// release and no longer compile: they answer with their reason, others work.
type snapshot struct {
	latest   map[string]int
	numbered map[string]int // the newest version ever, of deleted profiles too
	reserved []string       // profiles of an earlier release that have a reserved name, sorted
	roles    map[string]*role.Role
	broken   map[string]error
	declared map[string]*role.Config
}

// New returns a catalog that has touched no storage.
func New(store kv.Store) *Catalog {
	return &Catalog{
		store: store,
		heads: kv.NewTable[head](store, layout.Profile, 1),
		roles: kv.NewTable[role.Config](store, layout.Role, 1),
	}
}

// Load reads all profiles and roles and publishes the snapshot.
func (c *Catalog) Load(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load(ctx)
}

func (c *Catalog) load(ctx context.Context) error {
	heads, err := c.heads.All(ctx)
	if err != nil {
		return fmt.Errorf("loading profiles: %w", err)
	}
	next := &snapshot{
		latest: map[string]int{}, numbered: map[string]int{},
		roles: map[string]*role.Role{}, broken: map[string]error{},
	}
	for name, h := range heads {
		next.numbered[name] = h.Latest
		if !h.Deleted {
			next.latest[name] = h.Latest
			if profile.Reserved(name) {
				next.reserved = append(next.reserved, name)
			}
		}
	}
	slices.Sort(next.reserved)
	if next.declared, err = c.roles.All(ctx); err != nil {
		return fmt.Errorf("loading roles: %w", err)
	}
	for name, config := range next.declared {
		compiled, err := c.compile(ctx, next.latest, name, *config)
		switch {
		case fault.Is(err, fault.Internal):
			return fmt.Errorf("loading role %s: %w", name, err)
		case err != nil:
			next.broken[name] = err
		default:
			next.roles[name] = compiled
		}
	}
	c.snap.Store(next)
	return nil
}

func (c *Catalog) current(ctx context.Context) (*snapshot, error) {
	if snap := c.snap.Load(); snap != nil {
		return snap, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if snap := c.snap.Load(); snap != nil {
		return snap, nil
	}
	if err := c.load(ctx); err != nil {
		return nil, err
	}
	return c.snap.Load(), nil
}

// Invalidate drops the snapshot, so that the next read loads it anew.
func (c *Catalog) Invalidate() { c.snap.Store(nil) }

// change runs one write under mu on a loaded snapshot and publishes the result.
func (c *Catalog) change(ctx context.Context, write func(*snapshot) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snap.Load() == nil {
		if err := c.load(ctx); err != nil {
			return err
		}
	}
	if err := c.migrate(ctx); err != nil {
		return err
	}
	if err := write(c.snap.Load()); err != nil {
		if fault.Is(err, fault.Internal) {
			c.snap.Store(nil) // the write may have happened all the same
		}
		return err
	}
	return c.load(ctx)
}

// compile binds a role to its profile as latest says.
func (c *Catalog) compile(ctx context.Context, latest map[string]int, name string, config role.Config) (*role.Role, error) {
	if config.Profile == "" {
		return role.New(name, config, nil, "")
	}
	base, version, err := c.resolve(ctx, latest, config.Profile)
	if err != nil {
		return nil, fault.FieldOf(fault.KindOf(err), "profile", "%w", err)
	}
	profileName, _, _ := strings.Cut(config.Profile, "@")
	return role.New(name, config, base, profileName+"@"+strconv.Itoa(version))
}

// resolve reads the profile that "name" or "name@version" refers to. A name that no
// profile has, but a preset does, is the preset.
func (c *Catalog) resolve(ctx context.Context, latest map[string]int, ref string) (*profile.Config, int, error) {
	name, pinned, hasPin := strings.Cut(ref, "@")
	version, known := latest[name]
	if !known {
		if preset, ok := profile.Preset(name); ok && !hasPin {
			return &preset, 0, nil
		}
		return nil, 0, fault.New(fault.Invalid, "no profile is named %q; vault list MOUNT/profiles and MOUNT/presets show the names", name)
	}
	if hasPin {
		n, err := strconv.Atoi(pinned)
		if err != nil || n < 1 || n > version || strconv.Itoa(n) != pinned {
			return nil, 0, fault.New(fault.Invalid, "profile %s has versions 1 to %d, not %q", name, version, pinned)
		}
		version = n
	}
	config, err := c.version(ctx, name, version)
	return config, version, err
}

// version reads one profile version, from memory after the first time.
func (c *Catalog) version(ctx context.Context, name string, n int) (*profile.Config, error) {
	key := name + "@" + strconv.Itoa(n)
	known, _ := c.versions.Load(key)
	if config, ok := known.(*profile.Config); ok {
		return config, nil
	}
	config, err := c.table(name).Get(ctx, strconv.Itoa(n))
	if err != nil {
		return nil, err
	}
	if config == nil {
		return nil, fault.New(fault.Internal, "profile version %s is missing in storage", key)
	}
	c.versions.Store(key, config)
	return config, nil
}

func (c *Catalog) table(name string) kv.Table[profile.Config] {
	return kv.NewTable[profile.Config](c.store, layout.ProfileVersion+name+"/", 1)
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?$`)

// checkName holds names to one spelling that fits a path segment, so that no variant
// dodges an ACL (authz-2).
func checkName(taken []string, name string) error {
	if !nameRule.MatchString(name) || strings.Contains(name, "..") {
		return fault.Field("name", "must be up to 128 letters, digits, '_', '-' and '.', starting and ending with a letter, digit or '_', without '..'")
	}
	for _, other := range taken {
		if other != name && strings.EqualFold(other, name) {
			return fault.Field("name", "%q differs from %q only by case", name, other)
		}
	}
	return nil
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
