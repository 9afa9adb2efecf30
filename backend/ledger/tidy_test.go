package ledger_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

const day = 24 * time.Hour

// brief returns a life whose certificates end after two hours, every other one.
func brief(t testing.TB) *life {
	v := newLife(t)
	v.brief = true
	return v
}

// tidied fails unless nothing is left of what may go, in memory and in storage.
func (v *life) tidied() {
	all := rows(v.t, v.l)
	pages := map[string]bool{}
	for serial, row := range all {
		if key, ours := ledger.PageKey(serial); ours && !row.Unstored {
			pages[key] = true
		}
	}
	for serial := range all {
		key, _ := ledger.PageKey(serial)
		stays := false
		for other := range all {
			if page, _ := ledger.PageKey(other); page == key {
				stays = stays || !v.expendable(other)
			}
		}
		require.True(v.t, stays, "%s is still there", serial)
	}
	require.Len(v.t, keysBelow(v.store, layout.Page), len(pages), "a page stayed behind")
}

// tidyCourse is a use of Tidy across hours and restarts, with revocations before,
// between and after.
func (v *life) tidyCourse(crash bool) {
	steps := []func(){
		v.load,
		func() { v.issue(1) }, func() { v.issue(1) }, func() { v.issue(1) },
		func() { v.issue(4) }, // a page that stays for its longest
		v.issueUnstored,
		v.flush,
		func() { v.revoke(0, cert.Superseded) },
		v.flush, // an older version stays in the first segment
		func() { v.revoke(2, cert.KeyCompromise) },
		func() { v.clock.turn(5 * time.Hour) },
		func() { v.issue(1) }, func() { v.issue(1) },
		v.tidy,
		func() { v.revoke(3, cert.Superseded) },
		v.restart, v.load,
		func() { v.clock.turn(5 * time.Hour) },
		v.tidy, v.flush, v.tidy,
		func() { v.issue(2) },
		v.restart, v.load, v.tidy,
	}
	for _, step := range steps {
		failed := v.failed
		step()
		if crash && v.failed && !failed {
			return
		}
	}
}

// TestCrash1_TidyFaultWalk loses each storage operation in turn, as
// TestCrash1_FaultWalk does, and sees that the next Tidy brings everything to the end.
func TestCrash1_TidyFaultWalk(t *testing.T) {
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("loss %d, crash %t", loss, crash), func(t *testing.T) {
				n := 1
				for ; ; n++ {
					v := brief(t)
					v.store.Break(n, loss)
					v.tidyCourse(crash)
					broken := v.store.Broken()
					require.Equal(t, broken, v.failed, "an error was swallowed at operation %d", n)
					clean(t, v.store)
					if !crash {
						v.check()
					}
					v.restart()
					v.check()
					clean(t, v.store)
					v.clock.turn(5 * time.Hour)
					v.tidy()
					v.tidied()
					before := rows(t, v.l)
					v.restart()
					v.check()
					require.Equal(t, before, rows(t, v.l), "what was removed comes back")
					clean(t, v.store)
					if !broken {
						break
					}
				}
				require.Greater(t, n, 40)
			})
		}
	}
}

// TestTidyWithClocksThatTurn mixes everything in any order, with clocks that go back.
func TestTidyWithClocksThatTurn(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v := brief(t)
		v.load()
		faults := rapid.Bool().Draw(r, "faults")
		r.Repeat(map[string]func(*rapid.T){
			"issue":    func(r *rapid.T) { v.issue(rapid.IntRange(1, 3).Draw(r, "n")) },
			"unstored": func(*rapid.T) { v.issueUnstored() },
			"revoke":   func(r *rapid.T) { v.revoke(rapid.IntRange(0, 50).Draw(r, "which"), cert.Superseded) },
			"flush":    func(*rapid.T) { v.flush() },
			"tidy":     func(*rapid.T) { v.tidy() },
			"wait":     func(r *rapid.T) { v.clock.turn(time.Duration(rapid.IntRange(1, 9).Draw(r, "hours")) * time.Hour) },
			"go back": func(r *rapid.T) {
				// Load looks for pages a few hours ahead; the others must be in segments.
				v.store.Broken()
				v.flush()
				v.clock.turn(-time.Duration(rapid.IntRange(1, 20).Draw(r, "hours")) * time.Hour)
			},
			"restart": func(*rapid.T) {
				v.store.Broken()
				v.restart()
				v.load()
			},
			"fault": func(r *rapid.T) {
				if faults {
					v.store.Break(rapid.IntRange(1, 9).Draw(r, "operation"), rapid.SampledFrom([]kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer}).Draw(r, "loss"))
				}
			},
			"check": func(*rapid.T) {
				v.store.Broken()
				v.check()
				clean(t, v.store)
			},
		})
		v.store.Broken()
		v.restart()
		v.check()
		clean(t, v.store)
		v.clock.turn(max(v.past.Sub(v.clock.Now()), 0) + day)
		for range 10 {
			v.flush()
		}
		v.tidy()
		v.tidied()
		before := rows(t, v.l)
		v.restart()
		v.check()
		require.Equal(t, before, rows(t, v.l), "what was removed comes back")
		clean(t, v.store)
	})
}

func TestRev2_TidyKeepsRevokedCertificatesThatHaveNotEnded(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	ended, running := c.Now().Add(time.Hour), c.Now().Add(3*time.Hour)
	serials := issueUntil(t, l, ended, running)
	gone := issueUntil(t, l, ended)[0]
	alone := issueUntil(t, l, running)[0]
	for _, serial := range append(serials, gone, alone) {
		_, _, err := l.Revoke(t.Context(), serial, revocation(cert.Superseded))
		require.NoError(t, err)
	}
	c.turn(2 * time.Hour)
	for range 2 {
		_, err := l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Second})
		require.NoError(t, err)
		left := rows(t, l)
		require.Len(t, left, 3, "a page stays for its longest certificate")
		require.Equal(t, 3, l.CountRevoked())
		require.False(t, left[alone].RevokedAt.IsZero())
		require.False(t, left[serials[1]].RevokedAt.IsZero())
		for _, serial := range []cert.Serial{alone, serials[1]} {
			r, err := l.Get(t.Context(), serial)
			require.NoError(t, err)
			require.NotNil(t, r.Revocation)
		}
		_, err = l.Get(t.Context(), gone)
		require.True(t, fault.Is(err, fault.NotFound))
		l = loaded(t, store, c)
	}
	clean(t, store)
}

func TestRev2_TidyRefusesBuffersThatAreNone(t *testing.T) {
	l := loaded(t, kvtest.New(), newClock())
	for _, o := range []ledger.TidyOptions{
		{Buffer: -time.Second}, {}, {Buffer: time.Second - 1}, {Buffer: ledger.MaxBuffer + 1}, {Buffer: time.Hour, Pause: -1},
	} {
		_, err := l.Tidy(t.Context(), o)
		require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	}
	_, err := newLedger(kvtest.New(), newClock()).Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Hour})
	require.True(t, fault.Is(err, fault.Unavailable))
}

func TestRev2_TidyDoesNotBelieveAClockThatJumpsAhead(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	issue(t, l, 3)
	c.turn(50 * 365 * day)
	done, err := l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Second})
	require.NoError(t, err)
	require.Zero(t, done)
	c.turn(-50 * 365 * day)
	require.Len(t, rows(t, loaded(t, store, c)), 3)
}

func TestTidyAsksWhatToKeep(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	one, two := issueUntil(t, l, c.Now().Add(time.Hour))[0], issueUntil(t, l, c.Now().Add(time.Hour))[0]
	c.turn(2 * day)
	keep := map[cert.Serial]bool{one: true}
	options := ledger.TidyOptions{Buffer: time.Hour, Keep: func(r ledger.Row) bool { return keep[r.Serial] }}
	done, err := l.Tidy(t.Context(), options)
	require.NoError(t, err)
	require.Equal(t, ledger.Tidied{Certificates: 1, Pages: 1, Segments: 1}, done)
	require.Contains(t, rows(t, l), one)
	require.NotContains(t, rows(t, l), two)
	l = loaded(t, store, c)
	require.Contains(t, rows(t, l), one, "what is kept is kept by a restart")
	delete(keep, one)
	_, err = l.Tidy(t.Context(), options)
	require.NoError(t, err)
	require.Zero(t, loaded(t, store, c).Count())
	clean(t, store)
}

func TestTidyCostsWhatItRemoves(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	for range 40 {
		issueUntil(t, l, c.Now().Add(time.Hour))
	}
	require.NoError(t, l.Flush(t.Context()))
	for range 3 {
		issue(t, l, 100)
		require.NoError(t, l.Flush(t.Context()))
	}
	c.turn(30 * time.Hour)
	require.NoError(t, l.Flush(t.Context()))
	options := ledger.TidyOptions{Buffer: time.Hour}

	store.Reset()
	done, err := l.Tidy(t.Context(), options)
	require.NoError(t, err)
	require.Equal(t, ledger.Tidied{Certificates: 40, Pages: 40, Segments: 1}, done)
	// The segment goes as a whole; the horizon is written before and after.
	require.Equal(t, kvtest.Counts{Gets: 1, Puts: 2, Deletes: 40 + 1}, store.Counts())

	store.Reset()
	done, err = l.Tidy(t.Context(), options)
	require.NoError(t, err)
	require.Zero(t, done)
	require.Equal(t, kvtest.Counts{}, store.Counts(), "nothing to do costs nothing")
	clean(t, store)
}

// Rows that end at different times share segments: those that are mostly obsolete
// are written anew, the others wait.
func TestTidyRewritesSegmentsThatAreMostlyObsolete(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	for i := range 10 {
		issueUntil(t, l, c.Now().Add(time.Duration(i+1)*day))
	}
	require.NoError(t, l.Flush(t.Context()))
	old := segments(store)
	require.Len(t, old, 1)
	c.turn(time.Minute)
	for gone := 1; gone <= 5; gone++ {
		require.Contains(t, segments(store), old[0])
		c.turn(day)
		for range 3 {
			require.NoError(t, l.Flush(t.Context()))
		}
		_, err := l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Second})
		require.NoError(t, err)
		require.Len(t, rows(t, l), 10-gone)
		require.Len(t, rows(t, loaded(t, store, c)), 10-gone, "what is obsolete is not shown")
	}
	require.NotContains(t, segments(store), old[0])
	clean(t, store)
}

// A removed certificate's older version in another segment must not come back.
func TestTidyDoesNotBringBackOlderVersions(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	gone := issueUntil(t, l, c.Now().Add(time.Hour))[0]
	issue(t, l, 5)
	require.NoError(t, l.Flush(t.Context()))
	_, _, err := l.Revoke(t.Context(), gone, revocation(cert.KeyCompromise))
	require.NoError(t, err)
	require.NoError(t, l.Flush(t.Context()))
	c.turn(day)
	_, err = l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Second})
	require.NoError(t, err)
	l = loaded(t, store, c)
	require.NotContains(t, rows(t, l), gone)
	require.Equal(t, 5, l.Count())
	clean(t, store)
}

func TestTidyIsCancelledBetweenPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, c := kvtest.New(), newClock()
		l := loaded(t, store, c)
		for range 10 {
			issueUntil(t, l, c.Now().Add(time.Hour))
		}
		c.turn(day)
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		done, err := l.Tidy(ctx, ledger.TidyOptions{Buffer: time.Second, Pause: time.Minute, Progress: func(d ledger.Tidied) {
			if d.Certificates == 4 {
				cancel()
			}
		}})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 4, done.Certificates)
		require.Equal(t, 3*time.Minute, time.Since(began))
		require.Equal(t, 6, l.Count())
		clean(t, store)
		l = loaded(t, store, c)
		require.NoError(t, l.Flush(t.Context()))
		_, err = l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Second})
		require.NoError(t, err)
		require.Zero(t, l.Count())
		require.Empty(t, keysBelow(store, layout.Page))
		clean(t, store)
	})
}

func TestNothingIsAddedToWhatWasTidied(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	page, err := l.NewPage(1)
	require.NoError(t, err)
	unstored := recordUntil(t, page.Serial(), c.Now().Add(time.Hour))
	l.Note(unstored)
	c.turn(day)
	_, err = l.Tidy(t.Context(), ledger.TidyOptions{Buffer: time.Hour})
	require.NoError(t, err)
	require.Zero(t, l.Count())
	require.True(t, fault.Is(l.Adopt(t.Context(), unstored), fault.Conflict))
	c.turn(-day)
	_, err = tryIssueUntil(t, t.Context(), l, c.Now().Add(time.Hour))
	require.True(t, fault.Is(err, fault.Conflict), "the clock went back")
	l = newLedger(store, c)
	early := issueUntil(t, l, c.Now().Add(time.Hour))[0] // before the horizon is known
	require.NoError(t, l.Load(t.Context()))
	require.NoError(t, l.Flush(t.Context()))
	require.Contains(t, rows(t, loaded(t, store, c)), early)
	clean(t, store)
}
