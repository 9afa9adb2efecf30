package ledger_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// hooked is a store that calls back, once, before a Put below a prefix: what
// happens then happens while the write is under way.
type hooked struct {
	*kvtest.Store
	prefix string
	before func()
}

func (h *hooked) on(prefix string, before func()) { h.prefix, h.before = prefix, before }

func (h *hooked) Put(ctx context.Context, key string, value []byte) error {
	if before := h.before; before != nil && strings.HasPrefix(key, h.prefix) {
		h.before = nil
		before()
	}
	return h.Store.Put(ctx, key, value)
}

func hook(v *life) *hooked {
	h := &hooked{Store: v.store}
	v.l = ledger.New(ledger.Config{Store: h, Now: v.clock.Now})
	return h
}

func (v *life) isRevoked(serial cert.Serial) bool {
	row, found, err := v.l.Row(serial)
	require.NoError(v.t, err)
	require.True(v.t, found)
	return !row.RevokedAt.IsZero()
}

func TestFlushLearnsWhatALostAnswerDid(t *testing.T) {
	v := newLife(t)
	var learnt []cert.Reason
	v.l = ledger.New(ledger.Config{Store: v.store, Now: v.clock.Now, Learnt: func(issuer string, reason cert.Reason) {
		require.Equal(t, "issuer-1", issuer)
		learnt = append(learnt, reason)
	}})
	v.load()
	v.issue(2)
	v.flush()
	v.store.Break(1, kvtest.LoseAnswer)
	v.issue(1)
	v.store.Break(3, kvtest.LoseAnswer)
	v.revoke(0, cert.KeyCompromise)
	require.False(t, v.isRevoked(v.all[0]))
	require.Equal(t, 2, v.l.Count())
	v.flush()
	require.True(t, v.isRevoked(v.all[0]))
	require.Equal(t, 3, v.l.Count(), "signed and never released, but known")
	require.Equal(t, []cert.Reason{cert.KeyCompromise}, learnt, "lists must be told")

	v.issue(2)
	v.store.Break(2, kvtest.LoseAnswer)
	v.revoke(2, cert.Superseded)
	require.False(t, v.isRevoked(v.all[2]))
	v.revoke(3, cert.Unspecified)
	v.flush()
	require.True(t, v.isRevoked(v.all[2]), "though the other one of its page was written since")
	require.Equal(t, []cert.Reason{cert.KeyCompromise, cert.Superseded}, learnt)
	clean(t, v.store)
}

func TestRevokingAgainAfterALostAnswerIsAChange(t *testing.T) {
	v := newLife(t)
	v.load()
	v.issue(1)
	v.store.Break(2, kvtest.LoseAnswer)
	v.revoke(0, cert.Superseded)
	require.True(t, v.failed)
	for _, want := range []bool{true, false} {
		_, changed, err := v.l.Revoke(t.Context(), v.all[0], revocation(cert.KeyCompromise))
		require.NoError(t, err)
		require.Equal(t, want, changed)
		require.True(t, v.isRevoked(v.all[0]))
	}
}

func TestRevokeIfAsksBeforeItWrites(t *testing.T) {
	v := newLife(t)
	v.load()
	v.issue(1)
	v.store.Reset()
	refused := fault.New(fault.Denied, "no")
	_, _, err := v.l.RevokeIf(t.Context(), v.all[0], revocation(cert.Superseded), func(r *ledger.Record) error {
		require.Equal(t, v.all[0], r.Serial)
		require.Nil(t, r.Revocation)
		return refused
	})
	require.ErrorIs(t, err, refused)
	require.Equal(t, kvtest.Counts{Gets: 1}, v.store.Counts())
	require.False(t, v.isRevoked(v.all[0]))
}

func TestRevokingWhileRowsLoadShowsThePage(t *testing.T) {
	v := newLife(t)
	v.load()
	v.issue(3) // in no segment
	v.restart()
	v.revoke(1, cert.KeyCompromise)
	v.check()
	require.Len(t, rows(t, v.l), 3)

	v.issue(3)
	v.revoke(4, cert.KeyCompromise) // no segment has it: no marker
	v.restart()
	v.revoke(4, cert.KeyCompromise) // changes nothing
	v.check()
	require.Len(t, rows(t, v.l), 6)
}

func TestRevokingWhileRowsLoadWinsOverSegments(t *testing.T) {
	v := newLife(t)
	v.load()
	v.issue(3)
	v.flush()
	v.clock.turn(-time.Minute) // sequence numbers begin below those of the segment
	v.restart()
	v.revoke(1, cert.KeyCompromise)
	v.check()
	v.flush()
	v.restart()
	v.check()
}

func TestFlushLeavesRowsThatAreChanging(t *testing.T) {
	v := newLife(t)
	h := hook(v)
	v.load()
	v.issue(2)
	h.on(layout.Page, v.flush) // the revocation is under way, and needed no marker
	v.revoke(0, cert.KeyCompromise)
	require.Empty(t, markers(v.store))
	v.clock.turn(10 * time.Hour)
	v.restart()
	v.check()
	clean(t, v.store)
}

func TestFlushClaimsNoHourInWhichARowIsChanging(t *testing.T) {
	v := newLife(t)
	h := hook(v)
	v.load()
	v.issue(2)
	v.clock.turn(10 * time.Hour)
	v.store.Break(8, kvtest.LoseWrite)
	v.flush() // closes the hour of issue and no more
	require.True(t, v.failed)
	h.on(layout.Page, v.flush)
	v.revoke(0, cert.KeyCompromise)
	require.Empty(t, markers(v.store))
	require.NotEmpty(t, segments(v.store))
	v.restart()
	v.check()
	clean(t, v.store)
}

func TestNoHourIsClosedWhileAPageOfItIsWritten(t *testing.T) {
	v := newLife(t)
	h := hook(v)
	v.load()
	v.issue(1)
	h.on(layout.Page, func() {
		v.clock.turn(10 * time.Hour) // a very long write, or a clock that jumps
		v.flush()
	})
	v.issue(1)
	v.restart()
	v.check()
	clean(t, v.store)
}

func TestPagesOfClosedHoursAreRefused(t *testing.T) {
	v := newLife(t)
	v.load()
	v.clock.turn(10 * time.Hour)
	v.issue(1)
	v.flush()
	v.clock.turn(-9 * time.Hour)
	v.restart()
	page, err := v.l.NewPage(1) // nothing is known of closed hours yet
	require.NoError(t, err)
	require.NoError(t, page.Add(record(t, page.Serial(), "early")))
	v.load()
	require.Equal(t, fault.Conflict, fault.KindOf(v.l.Commit(t.Context(), page)))
	v.restart()
	v.check()
}

func TestRevokingDuringFlushKeepsItsMarker(t *testing.T) {
	v := newLife(t)
	v.load()
	v.issue(2)
	v.flush()
	v.store.Break(3, kvtest.LoseWrite)
	v.revoke(0, cert.KeyCompromise) // a marker and no revocation
	require.Len(t, markers(v.store), 1)
	v.restart()
	h := hook(v)
	v.load()
	h.on(layout.Segment, func() { v.revoke(0, cert.KeyCompromise) })
	v.flush()
	require.Len(t, markers(v.store), 1, "the segment has the row as it was before")
	clean(t, v.store)
	v.restart()
	v.check()
	v.flush()
	require.Empty(t, markers(v.store))

	v.restart()
	h = hook(v)
	v.load()
	v.issue(1)
	h.on(layout.Segment, func() { v.revoke(len(v.all)-1, cert.Superseded) })
	v.flush()
	require.Len(t, markers(v.store), 1, "a new row counts as covered from the moment it is taken")
	v.restart()
	v.check()
}

func TestMarkersOfNothingGo(t *testing.T) {
	v := newLife(t)
	v.load()
	v.issue(2)
	v.flush()
	v.store.Break(3, kvtest.LoseWrite)
	v.revoke(0, cert.KeyCompromise)
	require.Len(t, markers(v.store), 1)
	v.restart()
	v.load()
	v.store.Break(2, kvtest.LoseWrite) // one segment, then the marker
	v.flush()
	require.True(t, v.failed)
	require.Len(t, markers(v.store), 1)
	v.store.Break(3, kvtest.LoseWrite)
	v.revoke(0, cert.KeyCompromise)
	v.flush()
	v.revoke(0, cert.KeyCompromise) // relies on the marker
	v.restart()
	v.check()
	v.flush()
	require.Empty(t, markers(v.store))
	clean(t, v.store)
}

func TestNewestRowWinsWhateverTheSegment(t *testing.T) {
	ctx := t.Context()
	v := newLife(t)
	v.load()
	v.issue(1)
	v.flush()
	v.revoke(0, cert.KeyCompromise)
	v.flush()
	both := segments(v.store)
	require.Len(t, both, 2)
	stored := v.store.Dump()
	require.NoError(t, v.store.Put(ctx, both[0], stored[both[1]]))
	require.NoError(t, v.store.Put(ctx, both[1], stored[both[0]]))
	v.restart()
	v.check()
}

func TestUnstoredRowsDoNotHideTheirPage(t *testing.T) {
	v := newLife(t)
	v.load()
	page, err := v.l.NewPage(2)
	require.NoError(t, err)
	short, stored := record(t, page.Serial(), "short"), record(t, page.Serial(), "stored")
	v.l.Note(short)
	v.loose[short.Serial] = true
	v.flush()
	require.NoError(t, page.Add(stored))
	require.NoError(t, v.l.Commit(t.Context(), page))
	v.issued[stored.Serial] = true
	v.restart()
	v.check()
	require.Len(t, rows(t, v.l), 2)
	clean(t, v.store)
}

func TestNoRowIsShownBeforeItsPageIsCommitted(t *testing.T) {
	ctx := t.Context()
	v := newLife(t)
	v.load()
	page, err := v.l.NewPage(2)
	require.NoError(t, err)
	first, second := record(t, page.Serial(), "first"), record(t, page.Serial(), "second")
	for _, r := range []ledger.Record{first, second} {
		intent := r
		intent.DER = nil
		require.NoError(t, v.l.Intend(ctx, page, intent))
		require.NoError(t, page.Add(r))
	}
	require.Zero(t, v.l.Count())
	v.flush()
	require.NoError(t, v.l.Commit(ctx, page))
	require.Equal(t, 2, v.l.Count())
	v.issued[first.Serial], v.issued[second.Serial] = true, true
	v.restart()
	v.check()
	clean(t, v.store)
}

func TestLateWritesAreFoundWhenTheirHourIsClosed(t *testing.T) {
	ctx := t.Context()
	v := newLife(t)
	v.load()
	v.issue(1)
	page, _ := ledger.PageKey(v.all[0])
	value := v.store.Dump()[page]
	require.NoError(t, v.store.Delete(ctx, page))
	v.restart()
	v.load()
	v.flush()
	require.Zero(t, v.l.Count())
	require.NoError(t, v.store.Put(ctx, page, value)) // arrives after the process gave up on it
	v.clock.turn(4 * time.Hour)
	v.flush()
	require.Equal(t, 1, v.l.Count())
	v.check()
}

func TestAClockThatJumpsAheadDoesNotHoldFlush(t *testing.T) {
	v := newLife(t)
	v.load()
	v.issue(1)
	v.clock.turn(50 * 365 * 24 * time.Hour)
	v.store.Reset()
	v.flush()
	require.Less(t, v.store.Counts().Lists, 100)
	v.clock.turn(-50 * 365 * 24 * time.Hour)
	v.issue(1)
	v.restart()
	v.check()
	clean(t, v.store)
}
