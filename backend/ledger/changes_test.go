package ledger_test

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// mirror is a reader of Changes, as an edge is one: it keeps the newest row of each
// serial, and drops what it has when it is told so.
type mirror struct {
	cursor ledger.Cursor
	rows   map[cert.Serial]ledger.Row
	resets int
}

func newMirror() *mirror { return &mirror{rows: map[cert.Serial]ledger.Row{}} }

// step reads one page and reports whether there is more.
func (m *mirror) step(t require.TestingT, l *ledger.Ledger, limit int) bool {
	changes, err := l.Changes(m.cursor, limit)
	require.NoError(t, err)
	since := m.cursor.Sequence
	if changes.Reset {
		m.rows, since = map[cert.Serial]ledger.Row{}, 0
		m.resets++
	}
	require.LessOrEqual(t, len(changes.Rows), limit)
	for _, row := range changes.Rows {
		require.Greater(t, row.Sequence, since, "in order, and above the cursor")
		since = row.Sequence
		m.rows[row.Serial] = row
	}
	require.GreaterOrEqual(t, changes.Next.Sequence, since)
	m.cursor = changes.Next
	return changes.More
}

// follow reads to the end.
func (m *mirror) follow(t require.TestingT, l *ledger.Ledger, limit int) {
	for m.step(t, l, limit) {
	}
}

// holds fails unless the mirror has every row of the ledger as it is.
func (m *mirror) holds(t require.TestingT, l *ledger.Ledger) {
	seq, err := l.Rows("")
	require.NoError(t, err)
	for row := range seq {
		require.Equal(t, row, m.rows[row.Serial])
	}
}

func TestChanges_InTheOrderInWhichTheyCame(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := loaded(t, store, c)
	m := newMirror()
	m.follow(t, l, 10)
	require.Equal(t, 1, m.resets, "who has seen nothing begins at the start")
	require.Empty(t, m.rows)

	issued := issue(t, l, 25)
	store.Reset()
	for range 3 {
		m.step(t, l, 10)
	}
	require.Len(t, m.rows, 25)
	require.False(t, m.step(t, l, 10))
	require.Zero(t, store.Counts().Total(), "from memory")

	_, _, err := l.Revoke(ctx, issued[7], revocation(cert.KeyCompromise))
	require.NoError(t, err)
	changes, err := l.Changes(m.cursor, 10)
	require.NoError(t, err)
	require.Len(t, changes.Rows, 1)
	require.Equal(t, issued[7], changes.Rows[0].Serial)
	require.False(t, changes.Rows[0].RevokedAt.IsZero())
	require.False(t, changes.Reset || changes.More)
	cursor, err := l.Cursor()
	require.NoError(t, err)
	require.Equal(t, changes.Next, cursor)
	m.follow(t, l, 10)
	m.holds(t, l)
	require.Equal(t, 1, m.resets)
}

func TestRev3_ChangesWaitForTheLedger(t *testing.T) {
	l := newLedger(kvtest.New(), newClock())
	_, err := l.Changes(ledger.Cursor{}, 10)
	require.True(t, fault.Is(err, fault.Unavailable))
	_, err = l.Cursor()
	require.True(t, fault.Is(err, fault.Unavailable))
}

// TestChanges_NothingComesBelowACursor: readers follow while others issue, revoke and
// flush. What a reader missed would have become visible below its cursor.
func TestChanges_NothingComesBelowACursor(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := loaded(t, store, c)
	r := record(t, cert.Serial("\x01"), "www.example.com")
	var writers, readers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 40 {
				page, err := l.NewPage(3)
				require.NoError(t, err)
				var some []cert.Serial
				for range 3 {
					one := r
					one.Serial = page.Serial()
					one.DER = sign(t, template(one.Serial, "www.example.com"))
					require.NoError(t, page.Add(one))
					some = append(some, one.Serial)
				}
				require.NoError(t, l.Commit(ctx, page))
				_, _, err = l.Revoke(ctx, some[1], revocation(cert.Superseded))
				require.NoError(t, err)
			}
		})
	}
	writers.Go(func() {
		for range 20 {
			require.NoError(t, l.Flush(ctx))
		}
	})
	done := make(chan struct{})
	mirrors := []*mirror{newMirror(), newMirror(), newMirror()}
	for i, m := range mirrors {
		readers.Go(func() {
			for {
				m.step(t, l, []int{5, 50, ledger.MaxChanges}[i])
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	for _, m := range mirrors {
		m.follow(t, l, 50)
		m.holds(t, l)
		require.Len(t, m.rows, 4*40*3)
		require.Equal(t, 1, m.resets)
	}
}

func TestChanges_CursorOutlivesRestarts(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := loaded(t, store, c)
	m := newMirror()
	flushed := issue(t, l, 5)
	require.NoError(t, l.Flush(ctx))
	loose := issue(t, l, 5)
	m.step(t, l, 3) // in the middle of a walk
	for range 3 {
		c.turn(time.Minute)
		l = loaded(t, store, c)
		_, _, err := l.Revoke(ctx, flushed[0], revocation(cert.Superseded))
		require.NoError(t, err)
		_, _, err = l.Revoke(ctx, loose[4], revocation(cert.Superseded))
		require.NoError(t, err)
		m.step(t, l, 3)
		require.Equal(t, 1, m.resets)
	}
	m.follow(t, l, 3)
	m.holds(t, l)
	require.Equal(t, 1, m.resets)
}

func TestChanges_RevocationWhoseAnswerWasLostIsSeen(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := loaded(t, store, c)
	issued := issue(t, l, 2)
	m := newMirror()
	m.follow(t, l, 10)
	store.Break(2, kvtest.LoseAnswer)
	_, _, err := l.Revoke(ctx, issued[1], revocation(cert.KeyCompromise))
	require.ErrorIs(t, err, kvtest.ErrLost)
	m.follow(t, l, 10)
	require.NoError(t, l.Flush(ctx))
	m.follow(t, l, 10)
	m.holds(t, l)
	require.False(t, m.rows[issued[1]].RevokedAt.IsZero())
	require.Equal(t, 1, m.resets)
}

func TestChanges_ResetWhenTheCursorIsNotOfThisHistory(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := loaded(t, store, c)
	issue(t, l, 5)
	require.NoError(t, l.Flush(ctx))
	here, err := l.Cursor()
	require.NoError(t, err)
	backup := store.Clone()
	issued := issue(t, l, 1)
	_, _, err = l.Revoke(ctx, issued[0], revocation(cert.KeyCompromise))
	require.NoError(t, err)
	require.NoError(t, l.Flush(ctx))
	m := newMirror()
	m.follow(t, l, 100)
	c.turn(time.Minute)

	reset := func(l *ledger.Ledger, cursor ledger.Cursor) bool {
		changes, err := l.Changes(cursor, 100)
		require.NoError(t, err)
		require.Equal(t, changes.Reset, len(changes.Rows) == l.Count())
		return changes.Reset
	}
	again := loaded(t, backup, c)
	issue(t, again, 1)
	require.NoError(t, again.Flush(ctx), "the number of the lost segment is used again")
	c.turn(time.Minute)
	restored := loaded(t, backup, c)
	require.True(t, reset(restored, m.cursor), "storage went back to a backup")
	m.follow(t, restored, 100)
	require.Len(t, m.rows, 6)
	m.holds(t, restored)

	same := loaded(t, store.Clone(), c)
	require.False(t, reset(same, here))
	strange := here.Epoch[:2] + "00000000" + here.Epoch[10:]
	for name, cursor := range map[string]ledger.Cursor{
		"nothing":       {},
		"no epoch":      {Sequence: here.Sequence},
		"no process":    {Epoch: strange, Sequence: here.Sequence},
		"not an epoch":  {Epoch: "zz", Sequence: here.Sequence},
		"a long one":    {Epoch: here.Epoch + "00", Sequence: here.Sequence},
		"of the future": {Epoch: here.Epoch, Sequence: 1 << 53},
		"after a start": {Epoch: here.Epoch, Sequence: uint64(c.Now().UnixMilli())<<10 + 1},
	} {
		require.True(t, reset(same, cursor), name)
	}

	c.turn(-time.Hour)
	earlier := loaded(t, store.Clone(), c)
	require.True(t, reset(earlier, here), "numbers of a clock that went back are below the cursor")
}

func TestChanges_ForgottenWalkCostsNothingButTime(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := loaded(t, store, c)
	issue(t, l, 30)
	one, other := newMirror(), newMirror()
	one.step(t, l, 7)
	other.step(t, l, 5)
	c.turn(10 * time.Minute)
	require.NoError(t, l.Flush(ctx))
	issue(t, l, 30)
	for one.step(t, l, 7) || other.step(t, l, 5) {
	}
	other.follow(t, l, 5)
	one.holds(t, l)
	other.holds(t, l)
}

// TestChanges_AMirrorIsTrueWhateverHappens runs random lives: mirrors that follow in
// pages of any size through restarts, lost answers, clocks that go back and backups
// that are restored end up with every row as it is.
func TestChanges_AMirrorIsTrueWhateverHappens(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		ctx, store, c := t.Context(), kvtest.New(), newClock()
		l := loaded(t, store, c)
		var issued []cert.Serial
		var backup *kvtest.Store
		mirrors := []*mirror{newMirror(), newMirror()}
		lost := func(err error) {
			if err != nil && !errors.Is(err, kvtest.ErrLost) {
				require.True(r, fault.Is(err, fault.NotFound), "%v", err)
			}
		}
		restart := func() {
			c.turn(time.Duration(rapid.IntRange(-3, 30).Draw(r, "minutes"))*time.Minute + time.Second)
			l = newLedger(store, c)
			for l.Load(ctx) != nil {
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"issue": func(r *rapid.T) {
				some, err := tryIssue(t, ctx, l, rapid.IntRange(1, 4).Draw(r, "certificates"))
				lost(err)
				issued = append(issued, some...)
			},
			"revoke": func(r *rapid.T) {
				if len(issued) > 0 {
					_, _, err := l.Revoke(ctx, rapid.SampledFrom(issued).Draw(r, "serial"), revocation(cert.Superseded))
					lost(err)
				}
			},
			"flush":   func(*rapid.T) { lost(l.Flush(ctx)) },
			"break":   func(r *rapid.T) { store.Break(rapid.IntRange(1, 4).Draw(r, "call"), kvtest.LoseAnswer) },
			"restart": func(*rapid.T) { restart() },
			"backup": func(*rapid.T) {
				// Readers who keep up see a segment that a backup does not have.
				lost(l.Flush(ctx))
				backup = store.Clone()
				some, err := tryIssue(t, ctx, l, 1)
				lost(err)
				issued = append(issued, some...)
				store.Break(1000, kvtest.LoseAnswer)
				require.NoError(r, l.Flush(ctx))
				for _, m := range mirrors {
					m.follow(r, l, 3)
				}
			},
			"restore": func(*rapid.T) {
				if backup == nil {
					return
				}
				store = backup.Clone()
				restart()
			},
			"follow": func(r *rapid.T) {
				m := mirrors[rapid.IntRange(0, len(mirrors)-1).Draw(r, "mirror")]
				m.step(r, l, rapid.IntRange(1, 5).Draw(r, "limit"))
			},
			"": func(r *rapid.T) {
				last := newMirror()
				last.follow(r, l, 4)
				last.holds(r, l)
				require.Equal(r, slices.Sorted(maps.Keys(rows(t, l))), slices.Sorted(maps.Keys(last.rows)))
			},
		})
		for _, m := range mirrors {
			m.follow(r, l, 3)
			m.holds(r, l)
		}
	})
}

// BenchmarkChanges walks a million rows, and asks for the last one.
func BenchmarkChanges(b *testing.B) {
	store, c := large()
	l := loaded(b, store, c)
	b.Run("whole walk", func(b *testing.B) {
		pages := 0
		for b.Loop() {
			for cursor, more := (ledger.Cursor{}), true; more; pages++ {
				changes, err := l.Changes(cursor, ledger.MaxChanges)
				if err != nil {
					b.Fatal(err)
				}
				cursor, more = changes.Next, changes.More
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(pages), "ms/page")
	})
	fillWith(b, b.Context(), l, 1, otherKeys)
	last, err := l.Cursor()
	require.NoError(b, err)
	b.Run("nothing new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = l.Changes(last, ledger.MaxChanges)
		}
	})
	last.Sequence--
	b.Run("one new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = l.Changes(last, ledger.MaxChanges)
		}
	})
}
