package catalog_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/catalog"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// oldHead is the head of a profile as an earlier release wrote it.
type oldHead struct {
	Latest  int  `json:"latest"`
	Deleted bool `json:"deleted,omitempty"`
}

// putOld stores a profile as an earlier release did, under any name; version n has the
// description of that number.
func putOld(t *testing.T, store kv.Store, name string, latest int, config profile.Config) {
	t.Helper()
	ctx := context.Background()
	for n := 1; n <= latest; n++ {
		config.Description = strconv.Itoa(n)
		require.NoError(t, kv.NewTable[profile.Config](store, layout.ProfileVersion+name+"/", 1).Put(ctx, strconv.Itoa(n), &config))
	}
	require.NoError(t, kv.NewTable[oldHead](store, layout.Profile, 1).Put(ctx, name, &oldHead{Latest: latest}))
}

func putOldRole(t *testing.T, store kv.Store, name string, config role.Config) {
	t.Helper()
	require.NoError(t, kv.NewTable[role.Config](store, layout.Role, 1).Put(context.Background(), name, &config))
}

func TestPast1_ReservedNamesAreRefused(t *testing.T) {
	ctx := context.Background()
	c := catalog.New(kvtest.New())
	for _, name := range profile.ReservedNames() {
		for _, spelled := range []string{name, strings.ToUpper(name)} {
			_, err := c.PutProfile(ctx, spelled, server(t))
			require.True(t, fault.Is(err, fault.Invalid), "%s: %v", spelled, err)
			require.ErrorContains(t, err, "choose another name", spelled)
		}
	}
	names, err := c.Profiles(ctx)
	require.NoError(t, err)
	require.Empty(t, names)
	_, err = c.PutProfile(ctx, "tls-server-custom", server(t))
	require.NoError(t, err)
}

func TestPast1_PresetsAreReservedByTheirWholeTable(t *testing.T) {
	for _, name := range strings.Fields(`tls-server tls-client mtls-service workload-ephemeral ad-domain-controller
		ad-smartcard-logon ad-machine dot1x radius-server rdp-server smime-sign smime-encrypt code-signing timestamping
		ocsp-responder document-signing ipsec-gateway ipsec-client k8s-apiserver k8s-kubelet-client k8s-kubelet-serving
		k8s-etcd k8s-front-proxy data-encryption device-ldevid enrollment-agent key-recovery-agent issuing-ca root-ca
		sign-intermediate root`) {
		require.True(t, profile.Reserved(name), name)
	}
	for _, name := range []string{"web", "tls-server-custom", "tls", "roots", "my-root"} {
		require.False(t, profile.Reserved(name), name)
	}
}

// requireRemembered asks what certificates remember before and after a move: the preset, and
// each stored version.
func requireRemembered(t *testing.T, c *catalog.Catalog) {
	t.Helper()
	ctx := context.Background()
	preset, err := c.Issued(ctx, "tls-server@0")
	require.NoError(t, err)
	require.True(t, preset.AllowsReason(cert.Unspecified), "version 0 is the preset")
	for n := 1; n <= 3; n++ {
		stored, err := c.Issued(ctx, "tls-server@"+strconv.Itoa(n))
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(n), stored.Config().Description)
		require.False(t, stored.AllowsReason(cert.Unspecified), "a version from 1 is the stored profile")
	}
	_, err = c.Issued(ctx, "tls-server@4")
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
}

func strict(t *testing.T) profile.Config {
	t.Helper()
	config := server(t)
	config.AllowedRevocationReasons = []string{"superseded"}
	return config
}

// oldMount has a profile tls-server in three versions, roles that follow it, are pinned
// to a version, have another profile or none, and profiles in the way of the new name.
func oldMount(t *testing.T) *kvtest.Store {
	t.Helper()
	store := kvtest.New()
	putOld(t, store, "tls-server", 3, strict(t))
	putOld(t, store, "TLS-Server-Custom", 1, server(t))
	putOld(t, store, "web", 1, server(t))
	putOldRole(t, store, "following", narrow("tls-server", strict(t), "example.com"))
	putOldRole(t, store, "pinned", narrow("tls-server@2", strict(t), "example.com"))
	putOldRole(t, store, "other", narrow("web", server(t), "example.com"))
	putOldRole(t, store, "preset", narrow("tls-client", server(t), "example.com"))
	putOldRole(t, store, "none", role.DefaultConfig())
	return store
}

func requireMoved(t *testing.T, c *catalog.Catalog) {
	t.Helper()
	ctx := context.Background()
	requireRemembered(t, c)
	names, err := c.Profiles(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"TLS-Server-Custom", "tls-server-custom-2", "web"}, names)
	for name, want := range map[string]string{
		"following": "tls-server-custom-2", "pinned": "tls-server-custom-2@2", "other": "web", "preset": "tls-client", "none": "",
	} {
		config, err := c.RoleConfig(ctx, name)
		require.NoError(t, err)
		require.Equal(t, want, config.Profile, name)
	}
	following, err := c.Role(ctx, "following")
	require.NoError(t, err)
	require.Equal(t, "tls-server-custom-2@3", following.Profile().Name())
	require.False(t, following.Profile().AllowsReason(cert.Unspecified), "the role issues what it did")
	moved, _, err := c.Profile(ctx, "tls-server-custom-2", 2)
	require.NoError(t, err)
	require.Equal(t, "2", moved.Description)
	fresh, err := c.Resolve(ctx, "tls-server")
	require.NoError(t, err)
	require.Equal(t, "tls-server@0", fresh.Name(), "the name is the preset's again")
}

func TestPast1_AProfileWithAReservedNameMovesAndItsRolesFollow(t *testing.T) {
	ctx := context.Background()
	store := oldMount(t)
	c := catalog.New(store)
	requireRemembered(t, c)
	before, err := c.Role(ctx, "following")
	require.NoError(t, err)
	require.Equal(t, "tls-server@3", before.Profile().Name(), "a read moves nothing")

	require.NoError(t, c.Migrate(ctx))
	requireMoved(t, c)
	requireMoved(t, catalog.New(store))
	store.Reset()
	require.NoError(t, c.Migrate(ctx))
	require.Zero(t, store.Counts().Total(), "once moved, there is nothing to do")

	version, err := c.PutProfile(ctx, "tls-server-custom-2", server(t))
	require.NoError(t, err)
	require.Equal(t, 4, version, "numbers go on")
	require.NoError(t, c.DeleteRole(ctx, "following"))
	require.NoError(t, c.DeleteRole(ctx, "pinned"))
	require.NoError(t, c.DeleteProfile(ctx, "tls-server-custom-2"))
	requireRemembered(t, c)
}

func TestPast1_TheFirstWriteMoves(t *testing.T) {
	store := oldMount(t)
	c := catalog.New(store)
	require.NoError(t, c.DeleteRole(context.Background(), "absent"))
	requireMoved(t, c)
}

func TestPast1_ADeletedProfileStaysWhereItIs(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	putOld(t, store, "tls-server", 3, strict(t))
	require.NoError(t, kv.NewTable[oldHead](store, layout.Profile, 1).Put(ctx, "tls-server", &oldHead{Latest: 3, Deleted: true}))
	c := catalog.New(store)
	store.Reset()
	require.NoError(t, c.Migrate(ctx))
	require.Zero(t, store.Counts().Puts)
	requireRemembered(t, c)
}

// TestPast1_MoveCrashWalk loses each write of the move, or only its answer, starts anew
// and demands the same end. What certificates remember holds at each step.
func TestPast1_MoveCrashWalk(t *testing.T) {
	ctx := context.Background()
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			store := oldMount(t)
			told := map[string]string{}
			withHook := func() *catalog.Catalog {
				c := catalog.New(store)
				c.OnMove(func(_ context.Context, from, to string) error { told[from] = to; return nil })
				return c
			}
			first := withHook()
			require.NoError(t, first.Load(ctx))
			store.Break(n, loss)
			err := first.Migrate(ctx)
			if !store.Broken() {
				require.NoError(t, err)
				break
			}
			require.ErrorIs(t, err, kvtest.ErrLost, "operation %d", n)
			for _, c := range []*catalog.Catalog{first, withHook()} {
				requireRemembered(t, c)
				following, err := c.Role(ctx, "following")
				require.NoError(t, err)
				require.False(t, following.Profile().AllowsReason(cert.Unspecified), "operation %d: the role issues what it did", n)
			}
			again := withHook()
			require.NoError(t, again.Migrate(ctx), "operation %d", n)
			requireMoved(t, again)
			require.Equal(t, map[string]string{"tls-server": "tls-server-custom-2"}, told, "operation %d", n)
		}
	}
}

func TestPast1_AMoveEndsOnlyWhenOtherRoomsHaveFollowed(t *testing.T) {
	ctx := context.Background()
	c := catalog.New(oldMount(t))
	refused := errors.New("not now")
	c.OnMove(func(context.Context, string, string) error { return refused })
	require.ErrorIs(t, c.Migrate(ctx), refused)
	require.ErrorContains(t, c.CheckMoves(ctx), "tls-server")
	c.OnMove(func(context.Context, string, string) error { return nil })
	require.NoError(t, c.Migrate(ctx))
	requireMoved(t, c)
	require.NoError(t, c.CheckMoves(ctx))
}
