package ledger_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

func TestFence_KeepsTheLastStarts(t *testing.T) {
	store, c := kvtest.New(), newClock()
	require.NoError(t, store.Put(t.Context(), layout.Fence, []byte{1}), "what an earlier release wrote")
	l := loaded(t, store, c)
	first, err := l.Cursor()
	require.NoError(t, err)
	for n := 1; n <= 256; n++ {
		require.Len(t, store.Dump()[layout.Fence], 1+20*min(n, 256))
		changes, err := l.Changes(first, 1)
		require.NoError(t, err)
		require.False(t, changes.Reset, n)
		c.turn(time.Second)
		l = loaded(t, store, c)
	}
	changes, err := l.Changes(first, 1)
	require.NoError(t, err)
	require.True(t, changes.Reset)
	require.Len(t, store.Dump()[layout.Fence], 1+20*256)
	clean(t, store)
}

func TestFence_OneEntryAProcess(t *testing.T) {
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		store := kvtest.New()
		l := newLedger(store, newClock())
		store.Break(2, loss)
		require.ErrorIs(t, l.Load(t.Context()), kvtest.ErrLost)
		require.NoError(t, l.Load(t.Context()))
		require.Len(t, store.Dump()[layout.Fence], 1+20)
	}
}

func TestFence_DamageIsAnError(t *testing.T) {
	for _, raw := range [][]byte{{0}, {3}, {1, 1}, make([]byte, 17), append([]byte{2}, make([]byte, 19)...)} {
		store := kvtest.New()
		require.NoError(t, store.Put(t.Context(), layout.Fence, raw))
		require.Error(t, newLedger(store, newClock()).Load(t.Context()))
		require.Error(t, ledger.CheckFence(raw))
	}
	for _, raw := range [][]byte{nil, {1}, {2}, append([]byte{2}, make([]byte, 40)...)} {
		require.NoError(t, ledger.CheckFence(raw))
	}
}
