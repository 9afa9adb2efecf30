package kvtest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
)

func TestCountsAndFolders(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	require.NoError(t, store.Put(ctx, "a/b/c", []byte("1")))
	require.NoError(t, store.Put(ctx, "a/d", []byte("2")))
	names, err := store.List(ctx, "a/")
	require.NoError(t, err)
	require.Equal(t, []string{"b/", "d"}, names)
	value, err := store.Get(ctx, "a/d")
	require.NoError(t, err)
	require.Equal(t, "2", string(value))
	require.NoError(t, store.Delete(ctx, "a/d"))
	require.Equal(t, kvtest.Counts{Gets: 1, Puts: 2, Deletes: 1, Lists: 1}, store.Counts())
	require.Equal(t, []string{"a/b/c", "a/d"}, store.Written())
	store.Reset()
	require.Zero(t, store.Counts().Total())
}

func TestLostWriteAndLostAnswer(t *testing.T) {
	ctx := context.Background()
	for loss, stored := range map[kvtest.Loss]bool{kvtest.LoseWrite: false, kvtest.LoseAnswer: true} {
		store := kvtest.New()
		store.Break(2, loss)
		require.NoError(t, store.Put(ctx, "first", []byte("1")))
		require.ErrorIs(t, store.Put(ctx, "second", []byte("2")), kvtest.ErrLost)
		require.True(t, store.Broken())
		value, err := store.Get(ctx, "second")
		require.NoError(t, err)
		require.Equal(t, stored, value != nil)
	}
}

func TestLeverThatIsNotReachedIsReported(t *testing.T) {
	store := kvtest.New()
	store.Break(5, kvtest.LoseWrite)
	require.NoError(t, store.Put(context.Background(), "a", nil))
	require.False(t, store.Broken())
}

func TestValuesAreCopied(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	value := []byte("abc")
	require.NoError(t, store.Put(ctx, "k", value))
	value[0] = 'x'
	got, err := store.Get(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "abc", string(got))
	got[0] = 'y'
	require.Equal(t, "abc", string(store.Dump()["k"]))
}

func TestRefusals(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	require.Error(t, store.Put(ctx, "big", make([]byte, kv.MaxValue+1)))
	_, err := store.List(ctx, "no-slash")
	require.Error(t, err)
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = store.Get(done, "k")
	require.ErrorIs(t, err, context.Canceled)
}

func TestCloneIsIndependent(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	require.NoError(t, store.Put(ctx, "k", []byte("1")))
	clone := store.Clone()
	require.NoError(t, clone.Put(ctx, "k", []byte("2")))
	require.Equal(t, "1", string(store.Dump()["k"]))
}
