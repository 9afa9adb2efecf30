package ledger_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// ended returns a ledger with some certificates past an hour's buffer, each on a page
// of its own and in a segment.
func ended(t testing.TB, n int) (*ledger.Ledger, *kvtest.Store, *clock, []cert.Serial) {
	t.Helper()
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	var all []cert.Serial
	for range n {
		all = append(all, issueUntil(t, l, c.Now().Add(time.Hour))...)
	}
	c.turn(day)
	require.NoError(t, l.Flush(t.Context()))
	return l, store, c, all
}

// A certificate that changes while Tidy is under way waits for the next one, whether
// the change ends well or is in doubt.
func TestTidyLeavesWhatIsChanging(t *testing.T) {
	inDoubt := func(operation int) func(*ledger.Ledger, *kvtest.Store, cert.Serial) {
		return func(l *ledger.Ledger, store *kvtest.Store, serial cert.Serial) {
			store.Break(operation, kvtest.LoseAnswer)
			_, _, err := l.Revoke(t.Context(), serial, revocation(cert.KeyCompromise))
			require.ErrorIs(t, err, kvtest.ErrLost)
		}
	}
	for name, change := range map[string]func(*ledger.Ledger, *kvtest.Store, cert.Serial){
		"revoked": func(l *ledger.Ledger, _ *kvtest.Store, serial cert.Serial) {
			_, _, err := l.Revoke(t.Context(), serial, revocation(cert.KeyCompromise))
			require.NoError(t, err)
		},
		"marker in doubt": inDoubt(2),
		"page in doubt":   inDoubt(3),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, store, c, all := ended(t, 3)
				var left []cert.Serial
				for row := range mustRows(t, l) {
					left = append(left, row.Serial)
				}
				require.Len(t, left, len(all))
				did := false
				_, err := l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Hour, Pause: time.Second, Progress: func(ledger.Tidied) {
					if !did {
						did = true
						change(l, store, left[2])
					}
				}})
				require.NoError(t, err)
				require.Equal(t, 1, l.Count())
				clean(t, store)
				l = loaded(t, store, c)
				row, found, err := l.Row(left[2])
				require.NoError(t, err)
				require.True(t, found)
				require.Equal(t, name == "marker in doubt", row.RevokedAt.IsZero())
				_, err = l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Hour})
				require.NoError(t, err)
				require.Zero(t, l.Count())
				clean(t, store)
			})
		})
	}
}

func mustRows(t testing.TB, l *ledger.Ledger) func(func(ledger.Row) bool) {
	t.Helper()
	seq, err := l.Rows("")
	require.NoError(t, err)
	return seq
}

// While a Tidy that was cut short has not been followed by another, no segment goes
// that has the newest version of what it removed: a restart shows all of it again, as
// it was.
func TestACancelledTidyBringsBackTheNewestVersion(t *testing.T) {
	l, store, c, all := ended(t, 1)
	_, _, err := l.Revoke(t.Context(), all[0], revocation(cert.KeyCompromise))
	require.NoError(t, err)
	issue(t, l, 200) // keeps the first segments company
	require.NoError(t, l.Flush(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	_, err = l.Tidy(ctx, ledger.TidyOptions{Buffer: time.Hour, Progress: func(ledger.Tidied) { cancel() }})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 200, l.Count())
	for range 40 {
		issue(t, l, 1)
		require.NoError(t, l.Flush(t.Context()))
		again := loaded(t, store, c)
		row, found, err := again.Row(all[0])
		require.NoError(t, err)
		require.True(t, found)
		require.False(t, row.RevokedAt.IsZero())
		clean(t, store)
	}
	require.Less(t, len(segments(store)), 20, "the others are merged")
	_, err = l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Hour})
	require.NoError(t, err)
	require.Equal(t, 240, loaded(t, store, c).Count())
}

// All certificates of the fixtures have one key.
func TestTidyKeepsRowsWithTheSameKey(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	var kept []cert.Serial
	for i := range 9 {
		if i%3 == 1 {
			kept = append(kept, issueUntil(t, l, c.Now().Add(90*day))...)
		} else {
			issueUntil(t, l, c.Now().Add(time.Hour))
		}
	}
	c.turn(day)
	_, err := l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Hour})
	require.NoError(t, err)
	fingerprint, err := cert.KeyFingerprint(caKey().Public())
	require.NoError(t, err)
	kept = append(kept, issue(t, l, 1)...)
	found, err := l.ByKey(fingerprint)
	require.NoError(t, err)
	require.ElementsMatch(t, kept, serials(found))
	c.turn(200 * day)
	for range 150 {
		require.NoError(t, l.Flush(t.Context()))
	}
	_, err = l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Hour})
	require.NoError(t, err)
	found, err = l.ByKey(fingerprint)
	require.NoError(t, err)
	require.Empty(t, serials(found))
	require.Zero(t, l.Count())
}

func TestMarkersThatNameNothingGo(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	page, err := l.NewPage(1)
	require.NoError(t, err)
	require.NoError(t, store.Put(t.Context(), ledger.DirtyKey(page.Serial()), []byte{1}))
	report := clean(t, store)
	require.Len(t, report.Findings, 1)
	l = loaded(t, store, c)
	require.NoError(t, l.Flush(t.Context()))
	require.Empty(t, markers(store))
}

// A page is not written after it was removed.
func TestRevokingWhatTidyRemovesFindsNothing(t *testing.T) {
	l, store, _, all := ended(t, 200)
	var work sync.WaitGroup
	work.Go(func() {
		_, err := l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Hour})
		require.NoError(t, err)
	})
	for _, serial := range all {
		work.Go(func() {
			_, _, err := l.Revoke(t.Context(), serial, revocation(cert.Superseded))
			require.True(t, err == nil || fault.Is(err, fault.NotFound), "%v", err)
		})
	}
	work.Go(func() { _ = l.Flush(t.Context()) })
	work.Wait()
	clean(t, store)
	_, err := l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Hour})
	require.NoError(t, err)
	require.Zero(t, l.Count())
	require.Empty(t, keysBelow(store, layout.Page))
	require.Empty(t, markers(store))
	clean(t, store)
}

// What is being recorded while Tidy ends, and has ended itself, is not forgotten.
func TestTidyCountsWithWhatIsBeingWritten(t *testing.T) {
	v := newLife(t)
	h := hook(v)
	v.load()
	page, err := v.l.NewPage(1)
	require.NoError(t, err)
	late := page.Serial()
	require.NoError(t, page.Add(recordUntil(t, late, v.clock.Now().Add(time.Hour))))
	// The lock of the page is held while Tidy runs, and must not be the other's too.
	for issueUntil(t, v.l, v.clock.Now().Add(time.Hour))[0][11] == late[11] {
		continue
	}
	v.flush()
	h.on(layout.Page, func() {
		v.clock.turn(4 * time.Hour) // a very long write, or a clock that jumps
		done, err := v.l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Second})
		require.NoError(t, err)
		require.Positive(t, done.Certificates)
	})
	require.NoError(t, v.l.Commit(t.Context(), page))
	v.flush()
	require.Contains(t, rows(t, loaded(t, v.store, v.clock)), late)
	clean(t, v.store)
}

func TestMarkersInDoubtGoWithTheNextFlush(t *testing.T) {
	l, store, _, all := ended(t, 1)
	store.Break(2, kvtest.LoseAnswer)
	_, _, err := l.Revoke(t.Context(), all[0], revocation(cert.KeyCompromise))
	require.ErrorIs(t, err, kvtest.ErrLost)
	require.Len(t, markers(store), 1)
	require.NoError(t, l.Flush(t.Context()))
	require.Empty(t, markers(store))

	page, err := l.NewPage(1)
	require.NoError(t, err)
	store.Break(3, kvtest.LoseWrite)
	require.ErrorIs(t, l.Adopt(t.Context(), record(t, page.Serial(), "unstored")), kvtest.ErrLost)
	require.Len(t, markers(store), 1)
	require.NoError(t, l.Flush(t.Context()))
	require.Empty(t, markers(store))
}

// Segments that were replaced go, whatever becomes of the answer, and the newest
// claim stays when there is nothing left to claim it for.
func TestReplacedSegmentsGo(t *testing.T) {
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		l, store, c, _ := ended(t, 1)
		// Flush writes and reads nothing; then the horizon, the page, the horizon, the
		// old segment, the new one.
		store.Break(1+1+1+1+1+1, loss)
		_, err := l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Hour})
		require.ErrorIs(t, err, kvtest.ErrLost)
		require.NoError(t, l.Flush(t.Context()))
		require.Len(t, segments(store), 1)
		require.NoError(t, l.Flush(t.Context()))
		segment, err := ledger.DecodeSegment(store.Dump()[segments(store)[0]])
		require.NoError(t, err)
		require.Empty(t, segment.Rows)
		require.Positive(t, segment.Complete)
		require.Zero(t, loaded(t, store, c).Count())
		clean(t, store)
	}
}

// Memory is given back: the texts of rows that are gone, and their places by key.
func TestTidyGivesMemoryBack(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	sameKey := record(t, "\x01", "x").KeyHash
	fillWith(t, t.Context(), l, 20_000, func(r *ledger.Record) {
		if r.Serial[19] < 128 {
			otherKeys(r)
		}
		sameKey = r.KeyHash
	})
	kept := issueUntil(t, l, c.Now().Add(400*day))[0]
	before := heap()
	c.turn(100 * day)
	for range 60 {
		require.NoError(t, l.Flush(t.Context()))
	}
	done, err := l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Hour})
	require.NoError(t, err)
	require.Equal(t, 20_000, done.Certificates)
	require.Equal(t, 1, l.Count())
	row, found, err := l.Row(kept)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "www.example.com", row.Name)
	require.Equal(t, "issuer-1", row.Issuer)
	require.Less(t, heap(), before)
	seq, err := l.ByKey(sameKey)
	require.NoError(t, err)
	require.Empty(t, serials(seq))
	clean(t, store)
}
