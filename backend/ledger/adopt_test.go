package ledger_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// A certificate without a record is adopted and revoked days after its hour was
// closed; whatever operation is lost, what was answered survives a restart.
func TestCrash1_AdoptInAClosedHour(t *testing.T) {
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			if !adoptWithALoss(t, n, loss) {
				require.Greater(t, n, 3, "the walk must have broken something")
				break
			}
		}
	}
}

// adoptWithALoss reports whether the n-th operation was there to be lost.
func adoptWithALoss(t *testing.T, n int, loss kvtest.Loss) bool {
	t.Helper()
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	page, err := l.NewPage(1)
	require.NoError(t, err)
	unstored := record(t, page.Serial(), "unstored.example.com")
	l.Note(unstored)
	c.turn(72 * time.Hour)
	require.NoError(t, l.Flush(t.Context()))

	store.Break(n, loss)
	err = l.Adopt(t.Context(), unstored)
	if err == nil {
		_, _, err = l.Revoke(t.Context(), unstored.Serial, revocation(cert.Superseded))
	}
	broken := store.Broken()
	fresh := loaded(t, store, c)
	if err == nil {
		require.False(t, rows(t, fresh)[unstored.Serial].RevokedAt.IsZero(), "an answered revocation was lost at operation %d", n)
	}
	require.NoError(t, fresh.Adopt(t.Context(), unstored))
	require.NoError(t, fresh.Adopt(t.Context(), unstored), "adopting twice is nothing")
	_, _, err = fresh.Revoke(t.Context(), unstored.Serial, revocation(cert.Superseded))
	require.NoError(t, err)
	require.NoError(t, fresh.Flush(t.Context()))
	row := rows(t, loaded(t, store, c))[unstored.Serial]
	require.False(t, row.RevokedAt.IsZero())
	require.False(t, row.Unstored, "it has a record now")
	clean(t, store)
	return broken
}

func TestAdoptBesideOthersOfItsPage(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	page, err := l.NewPage(2)
	require.NoError(t, err)
	stored, unstored := record(t, page.Serial(), "a.example.com"), record(t, page.Serial(), "b.example.com")
	require.NoError(t, page.Add(stored))
	require.NoError(t, l.Commit(t.Context(), page))
	l.Note(unstored)
	require.NoError(t, l.Adopt(t.Context(), unstored))
	for _, want := range []ledger.Record{stored, unstored} {
		got, err := l.Get(t.Context(), want.Serial)
		require.NoError(t, err)
		require.Equal(t, want.DER, got.DER)
	}
	clean(t, store)
}
