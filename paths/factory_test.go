package paths_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/paths"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// forbidden is storage that must not be touched.
type forbidden struct{ t *testing.T }

func (f forbidden) refuse() error {
	f.t.Error("storage was touched")
	return errors.New("forbidden")
}

func (f forbidden) List(context.Context, string) ([]string, error) { return nil, f.refuse() }
func (f forbidden) Get(context.Context, string) (*logical.StorageEntry, error) {
	return nil, f.refuse()
}
func (f forbidden) Put(context.Context, *logical.StorageEntry) error { return f.refuse() }
func (f forbidden) Delete(context.Context, string) error             { return f.refuse() }

func TestFactoryTouchesNoStorage(t *testing.T) {
	backend, err := paths.Factory(t.Context(), &logical.BackendConfig{
		System: &logical.StaticSystemView{}, StorageView: forbidden{t}, BackendUUID: "8f6a2c5e-7a35-4bb1-9b0a-5d4f2f1f3a10",
	})
	require.NoError(t, err)
	require.Equal(t, logical.TypeLogical, backend.Type())
	require.Regexp(t, `^v\d+\.\d+\.\d+`, backend.(logical.PluginVersioner).PluginVersion().Version)
	backend.Cleanup(t.Context())
}

func TestExistenceChecksAndTicksAreAnsweredAtOnce(t *testing.T) {
	m := pathstest.InProcess(t)
	checked, exists, err := m.Backend().HandleExistenceCheck(t.Context(), &logical.Request{Operation: logical.CreateOperation, Path: "roles/web"})
	require.NoError(t, err)
	require.False(t, checked || exists)
	for range 3 {
		_, err := m.Backend().HandleRequest(t.Context(), &logical.Request{Operation: logical.RollbackOperation})
		require.NoError(t, err)
	}
	m.Backend().InvalidateKey(t.Context(), "key/x")
	require.Equal(t, http.StatusNotFound, m.Read(t, "nowhere", nil).Status)
}

// countingView counts the questions to Vault.
type countingView struct {
	logical.StaticSystemView
	asked int
}

func (v *countingView) ReplicationState() consts.ReplicationState {
	v.asked++
	return v.StaticSystemView.ReplicationState()
}

func (v *countingView) LocalMount() bool {
	v.asked++
	return v.StaticSystemView.LocalMount()
}

func (v *countingView) MaxLeaseTTL() time.Duration {
	v.asked++
	return v.StaticSystemView.MaxLeaseTTL()
}

func TestVaultIsAskedOnceInAWhile(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	view := &countingView{StaticSystemView: logical.StaticSystemView{
		ReplicationStateVal: consts.ReplicationPerformanceStandby, LocalMountVal: true, MaxLeaseTTLVal: time.Hour, DefaultLeaseTTLVal: time.Minute,
	}}
	remembered := paths.Remember(view, func() time.Time { return now })
	for range 100 {
		require.True(t, remembered.ReplicationState().HasState(consts.ReplicationPerformanceStandby))
		require.True(t, remembered.LocalMount())
		require.Equal(t, time.Hour, remembered.MaxLeaseTTL())
		require.Equal(t, time.Minute, remembered.DefaultLeaseTTL())
	}
	require.Equal(t, 3, view.asked)
	view.ReplicationStateVal = consts.ReplicationPerformancePrimary
	now = now.Add(5 * time.Second)
	require.False(t, remembered.ReplicationState().HasState(consts.ReplicationPerformanceStandby))
	require.Equal(t, 4, view.asked)
}

// failing is storage that answers every call with an error.
type failing struct{ err error }

func (f failing) List(context.Context, string) ([]string, error)             { return nil, f.err }
func (f failing) Get(context.Context, string) (*logical.StorageEntry, error) { return nil, f.err }
func (f failing) Put(context.Context, *logical.StorageEntry) error           { return f.err }
func (f failing) Delete(context.Context, string) error                       { return f.err }

func TestStorageKeepsTheContractOfKV(t *testing.T) {
	store := paths.NewStore(&logical.InmemStorage{})
	ctx := t.Context()
	value, err := store.Get(ctx, "role/a")
	require.NoError(t, err)
	require.Nil(t, value)
	for _, key := range []string{"role/c", "role/a", "role/b/x", "role/b/y"} {
		require.NoError(t, store.Put(ctx, key, []byte(key)))
	}
	names, err := store.List(ctx, "role/")
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b/", "c"}, names)
	require.True(t, slices.IsSorted(names))
	require.NoError(t, store.Delete(ctx, "role/a"))
	require.NoError(t, store.Delete(ctx, "role/a"))
	require.Error(t, store.Put(ctx, "role/big", make([]byte, kv.MaxValue+1)))
	require.NoError(t, store.Put(ctx, "role/big", make([]byte, kv.MaxValue)))
}

func TestStorageErrorsHaveTheirKind(t *testing.T) {
	ctx := t.Context()
	operations := func(ctx context.Context, store kv.Store) map[string]error {
		_, get := store.Get(ctx, "k")
		_, list := store.List(ctx, "k/")
		return map[string]error{"get": get, "list": list, "put": store.Put(ctx, "k", nil), "delete": store.Delete(ctx, "k")}
	}
	// Over gRPC the sentinel arrives as text alone.
	for name, err := range operations(ctx, paths.NewStore(failing{errors.New(logical.ErrReadOnly.Error())})) {
		require.True(t, fault.Is(err, fault.ReadOnly), "%s: %v", name, err)
	}
	for name, err := range operations(ctx, paths.NewStore(failing{errors.New("disk full")})) {
		require.True(t, fault.Is(err, fault.Internal), "%s: %v", name, err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for name, err := range operations(cancelled, paths.NewStore(failing{errors.New("rpc error: code = Canceled")})) {
		require.ErrorIs(t, err, context.Canceled, name)
	}
}
