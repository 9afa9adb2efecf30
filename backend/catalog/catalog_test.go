package catalog_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/catalog"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

func server(t *testing.T) profile.Config {
	t.Helper()
	config, err := profile.FromPreset("tls-server")
	require.NoError(t, err)
	return config
}

func narrow(ref string, base profile.Config, domains ...string) role.Config {
	config := role.DefaultConfigFor(ref, base)
	config.AllowedDomains, config.AllowSubdomains = domains, true
	return config
}

func TestProfileVersionsAreImmutable(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	c := catalog.New(store)
	config := server(t)
	for i, description := range []string{"first", "second"} {
		config.Description = description
		version, err := c.PutProfile(ctx, "web", config)
		require.NoError(t, err)
		require.Equal(t, i+1, version)
	}
	again, err := c.PutProfile(ctx, "web", config)
	require.NoError(t, err)
	require.Equal(t, 2, again, "writing the same makes no new version")

	for _, fresh := range []*catalog.Catalog{c, catalog.New(store)} {
		first, _, err := fresh.Profile(ctx, "web", 1)
		require.NoError(t, err)
		require.Equal(t, "first", first.Description)
		newest, version, err := fresh.Profile(ctx, "web", 0)
		require.NoError(t, err)
		require.Equal(t, "second", newest.Description)
		require.Equal(t, 2, version)
	}
	_, _, err = c.Profile(ctx, "web", 3)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func TestVersionNumbersSurviveDeletion(t *testing.T) {
	ctx := context.Background()
	c := catalog.New(kvtest.New())
	_, err := c.PutProfile(ctx, "web", server(t))
	require.NoError(t, err)
	require.NoError(t, c.DeleteProfile(ctx, "web"))
	names, err := c.Profiles(ctx)
	require.NoError(t, err)
	require.Empty(t, names)
	version, err := c.PutProfile(ctx, "web", server(t))
	require.NoError(t, err)
	require.Equal(t, 2, version, "web@1 must go on meaning what it meant")
}

func TestProfileInUseStays(t *testing.T) {
	ctx := context.Background()
	c := catalog.New(kvtest.New())
	base := server(t)
	_, err := c.PutProfile(ctx, "web", base)
	require.NoError(t, err)
	require.NoError(t, c.PutRole(ctx, "shop", narrow("web", base, "example.com")))
	require.True(t, fault.Is(c.DeleteProfile(ctx, "web"), fault.Conflict))
	require.NoError(t, c.DeleteRole(ctx, "shop"))
	require.NoError(t, c.DeleteProfile(ctx, "web"))
}

func TestProfileWriteThatARoleWouldWidenIsRefused(t *testing.T) {
	ctx := context.Background()
	c := catalog.New(kvtest.New())
	base := server(t)
	_, err := c.PutProfile(ctx, "web", base)
	require.NoError(t, err)
	following, pinned := narrow("web", base, "example.com"), narrow("web@1", base, "example.com")
	following.MaxTTL, pinned.MaxTTL = base.MaxTTL, base.MaxTTL
	require.NoError(t, c.PutRole(ctx, "following", following))
	require.NoError(t, c.PutRole(ctx, "pinned", pinned))

	shorter := base
	shorter.MaxTTL, shorter.DefaultTTL = 86400, 3600
	_, err = c.PutProfile(ctx, "web", shorter)
	require.ErrorContains(t, err, "role following")
	require.NoError(t, c.DeleteRole(ctx, "following"))
	version, err := c.PutProfile(ctx, "web", shorter)
	require.NoError(t, err)
	require.Equal(t, 2, version)
	r, err := c.Role(ctx, "pinned")
	require.NoError(t, err)
	require.Equal(t, "web@1", r.Profile().Name())
}

func TestRolesNeedNoStorageOnceLoaded(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	require.NoError(t, catalog.New(store).PutRole(ctx, "shop", narrow("tls-server", server(t), "example.com")))
	c := catalog.New(store)
	require.NoError(t, c.Load(ctx))
	store.Reset()
	_, err := c.Role(ctx, "shop")
	require.NoError(t, err)
	_, err = c.Roles(ctx)
	require.NoError(t, err)
	_, err = c.RoleConfig(ctx, "shop")
	require.NoError(t, err)
	require.Zero(t, store.Counts().Total())
}

func TestRefusals(t *testing.T) {
	ctx := context.Background()
	c := catalog.New(kvtest.New())
	base := server(t)
	_, err := c.Role(ctx, "nobody")
	require.True(t, fault.Is(err, fault.NotFound))
	require.Equal(t, "profile", fault.FieldOfError(c.PutRole(ctx, "shop", narrow("missing", base, "example.com"))))
	require.NoError(t, c.PutRole(ctx, "shop", narrow("tls-server", base, "example.com")))
	for _, name := range []string{"", "..", "a/b", "a..b", ".a", "a b", "Shop", "shöp"} {
		require.Equal(t, "name", fault.FieldOfError(c.PutRole(ctx, name, narrow("tls-server", base, "example.com"))), "%q", name)
	}
	_, err = c.PutProfile(ctx, "web", profile.Config{})
	require.Error(t, err, "the zero profile is not valid")
}

// A role stored by an older release may not compile any more: it says why, and the
// others go on working.
func TestBrokenRoleHindersNoOther(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	c := catalog.New(store)
	require.NoError(t, c.PutRole(ctx, "good", narrow("tls-server", server(t), "example.com")))
	require.NoError(t, store.Put(ctx, "role/bad", []byte(`{"v":1,"r":{"profile":"gone"}}`)))
	c.Invalidate()
	_, err := c.Role(ctx, "good")
	require.NoError(t, err)
	_, err = c.Role(ctx, "bad")
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.ErrorContains(t, err, "gone")
}

// Crash1: whatever write is lost, the catalog afterwards shows the old or the new
// profile, and the next write goes through.
func TestCrash1_ProfileWrites(t *testing.T) {
	ctx := context.Background()
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			store := kvtest.New()
			c := catalog.New(store)
			config := server(t)
			_, err := c.PutProfile(ctx, "web", config)
			require.NoError(t, err)
			config.Description = "changed"
			store.Break(n, loss)
			_, err = c.PutProfile(ctx, "web", config)
			if !store.Broken() {
				require.NoError(t, err)
				require.Greater(t, n, 2, "the walk must have broken something")
				break
			}
			got, _, err := c.Profile(ctx, "web", 0)
			require.NoError(t, err)
			require.Contains(t, []string{server(t).Description, "changed"}, got.Description)
			config.Description = "again"
			_, err = c.PutProfile(ctx, "web", config)
			require.NoError(t, err)
			got, _, err = catalog.New(store).Profile(ctx, "web", 0)
			require.NoError(t, err)
			require.Equal(t, "again", got.Description)
		}
	}
}

func TestUnknownLintsAreRefusedWhenWritten(t *testing.T) {
	c := catalog.New(kvtest.New())
	for field, change := range map[string]func(*profile.Config){
		"lint_sets":   func(p *profile.Config) { p.LintSets = []string{"rfc9999"} },
		"lint_ignore": func(p *profile.Config) { p.LintIgnore = map[string]string{"no_such_rule": "because"} },
	} {
		config := server(t)
		change(&config)
		_, err := c.PutProfile(context.Background(), "web", config)
		require.Equal(t, field, fault.FieldOfError(err), "%v", err)
	}
}

// Whatever write of a role is lost, the catalog afterwards shows the old or the new
// one, here and after a restart, and the next write goes through.
func TestCrash1_RoleWrites(t *testing.T) {
	ctx := context.Background()
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			store := kvtest.New()
			c := catalog.New(store)
			require.NoError(t, c.PutRole(ctx, "web", narrow("tls-server", server(t), "old.example")))
			store.Break(n, loss)
			err := c.PutRole(ctx, "web", narrow("tls-server", server(t), "new.example"))
			broken := store.Broken()
			for _, seen := range []*catalog.Catalog{c, catalog.New(store)} {
				config, readErr := seen.RoleConfig(ctx, "web")
				require.NoError(t, readErr)
				require.Contains(t, []string{"old.example", "new.example"}, config.AllowedDomains[0])
				if err == nil {
					require.Equal(t, "new.example", config.AllowedDomains[0])
				}
			}
			require.NoError(t, c.PutRole(ctx, "web", narrow("tls-server", server(t), "again.example")))
			if !broken {
				require.NoError(t, err)
				require.Greater(t, n, 1, "the walk must have broken something")
				break
			}
		}
	}
}
