package ledger_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// life is a use of the ledger that remembers what was acknowledged.
type life struct {
	t     testing.TB
	store *kvtest.Store
	clock *clock
	l     *ledger.Ledger

	issued  map[cert.Serial]bool // acknowledged
	tried   map[cert.Serial]bool // answered with an error: may be there or not
	revoked map[cert.Serial]cert.Reason
	perhaps map[cert.Serial]bool // revocation answered with an error
	notes   map[cert.Serial]bool // not stored, and in a segment
	loose   map[cert.Serial]bool // not stored, lost in a crash
	all     []cert.Serial
	failed  bool // a call was answered with an error

	brief bool                      // every other certificate ends after two hours
	ends  map[cert.Serial]time.Time // of brief ones
	past  time.Time                 // what ended before may have been removed
}

func newLife(t testing.TB) *life {
	v := &life{
		t: t, store: kvtest.New(), clock: newClock(),
		issued: map[cert.Serial]bool{}, tried: map[cert.Serial]bool{}, revoked: map[cert.Serial]cert.Reason{},
		perhaps: map[cert.Serial]bool{}, notes: map[cert.Serial]bool{}, loose: map[cert.Serial]bool{},
		ends: map[cert.Serial]time.Time{},
	}
	v.l = newLedger(v.store, v.clock)
	return v
}

// copied returns the same life in storage of its own, right after a restart.
func (v *life) copied(t testing.TB) *life {
	c := newLife(t)
	c.store = v.store.Clone()
	c.clock.now = v.clock.Now()
	c.all, c.past, c.brief = slices.Clone(v.all), v.past, v.brief
	for to, from := range map[*map[cert.Serial]bool]map[cert.Serial]bool{
		&c.issued: v.issued, &c.tried: v.tried, &c.perhaps: v.perhaps, &c.notes: v.notes, &c.loose: v.loose,
	} {
		*to = maps.Clone(from)
	}
	c.revoked, c.ends = maps.Clone(v.revoked), maps.Clone(v.ends)
	c.restart()
	return c
}

func (v *life) note(err error) bool {
	if v.brief && fault.Is(err, fault.Conflict) {
		return false // refused, because of a clock that was turned back
	}
	if err != nil {
		require.ErrorIs(v.t, err, kvtest.ErrLost)
		v.failed = true
	}
	return err == nil
}

// lifetimes returns the ends of n certificates to be issued.
func (v *life) lifetimes(n int) []time.Time {
	ends := slices.Repeat([]time.Time{start.Add(90 * 24 * time.Hour)}, n)
	for i := range ends {
		if v.brief && (len(v.all)+i)%2 == 0 {
			ends[i] = v.clock.Now().Add(2 * time.Hour).Truncate(time.Second)
		}
	}
	return ends
}

// buffer is that of tidy.
const buffer = time.Hour

// keeps is the TidyOptions.Keep of tidy.
func keeps(serial cert.Serial) bool { return serial[19]%4 == 0 }

func (v *life) tidy() {
	if past := v.clock.Now().Add(-buffer); past.After(v.past) {
		v.past = past
	}
	_, err := v.l.Tidy(v.t.Context(), ledger.TidyOptions{Buffer: buffer, Keep: func(r ledger.Row) bool { return keeps(r.Serial) }})
	if !v.l.Loaded() {
		require.Equal(v.t, fault.Unavailable, fault.KindOf(err))
		return
	}
	v.note(err)
}

// expendable reports whether a certificate may have been removed.
func (v *life) expendable(serial cert.Serial) bool {
	end, brief := v.ends[serial]
	return brief && end.Before(v.past) && !keeps(serial)
}

func (v *life) load() { v.note(v.l.Load(v.t.Context())) }

func (v *life) issue(n int) {
	ends := v.lifetimes(n)
	serials, err := tryIssueUntil(v.t, v.t.Context(), v.l, ends...)
	into := v.tried
	if v.note(err) {
		into = v.issued
		v.all = append(v.all, serials...)
	}
	for i, serial := range serials {
		into[serial] = true
		v.ends[serial] = ends[i]
	}
}

func (v *life) issueUnstored() {
	page, err := v.l.NewPage(1)
	require.NoError(v.t, err)
	end := v.lifetimes(1)[0]
	r := recordUntil(v.t, page.Serial(), end)
	v.l.Note(r)
	if _, found, err := v.l.Row(r.Serial); err == nil && !found {
		require.True(v.t, end.Before(v.past), "acknowledged and lost")
		return // refused, because of a clock that was turned back
	}
	v.ends[r.Serial] = end
	v.loose[r.Serial] = true
}

func (v *life) issueCA() {
	page, err := v.l.NewPage(1)
	require.NoError(v.t, err)
	r := record(v.t, page.Serial(), "Sub CA")
	intent := r
	intent.DER = nil
	if !v.note(v.l.Intend(v.t.Context(), page, intent)) {
		return
	}
	_, err = v.l.Get(v.t.Context(), r.Serial)
	if err != nil && !fault.Is(err, fault.NotFound) {
		v.note(err)
	}
	require.NoError(v.t, page.Add(r))
	if v.note(v.l.Commit(v.t.Context(), page)) {
		v.issued[r.Serial] = true
		v.all = append(v.all, r.Serial)
	} else {
		v.tried[r.Serial] = true
	}
}

func (v *life) revoke(i int, reason cert.Reason) {
	if len(v.all) == 0 {
		return
	}
	serial := v.all[i%len(v.all)]
	r, _, err := v.l.Revoke(v.t.Context(), serial, revocation(reason))
	if fault.Is(err, fault.NotFound) {
		require.True(v.t, v.expendable(serial), "acknowledged and lost")
		return
	}
	if v.note(err) {
		if known, found := v.revoked[serial]; found {
			require.Equal(v.t, known, r.Revocation.Reason)
		}
		v.revoked[serial] = r.Revocation.Reason
		delete(v.perhaps, serial)
	} else {
		v.perhaps[serial] = true
	}
}

// revokePage revokes what was acknowledged of a page, but not the last.
func (v *life) revokePage(i int, reason cert.Reason) {
	if len(v.all) == 0 {
		return
	}
	var page []cert.Serial
	for _, serial := range v.all {
		if serial[:12] == v.all[i%len(v.all)][:12] {
			page = append(page, serial)
		}
	}
	if len(page) > 1 {
		page = page[:len(page)-1]
	}
	_, err := v.l.RevokePage(v.t.Context(), page, revocation(reason), func(*ledger.Record) (bool, error) { return true, nil })
	for _, serial := range page {
		if _, known := v.revoked[serial]; known {
			continue
		}
		if v.note(err) {
			v.revokedOrGone(serial)
		} else {
			v.perhaps[serial] = true
		}
	}
}

// revokedOrGone takes down what became of a certificate that was just revoked.
func (v *life) revokedOrGone(serial cert.Serial) {
	r, err := v.l.Get(v.t.Context(), serial)
	switch {
	case fault.Is(err, fault.NotFound):
		require.True(v.t, v.expendable(serial), "acknowledged and lost")
	case v.note(err):
		require.NotNil(v.t, r.Revocation)
		v.revoked[serial] = r.Revocation.Reason
		delete(v.perhaps, serial)
	default:
		v.perhaps[serial] = true
	}
}

func (v *life) flush() {
	err := v.l.Flush(v.t.Context())
	if !v.l.Loaded() {
		require.Equal(v.t, fault.Unavailable, fault.KindOf(err))
		return
	}
	if v.note(err) {
		maps.Copy(v.notes, v.loose)
		clear(v.loose)
	}
}

// restart forgets what is in memory.
func (v *life) restart() {
	// A process takes a moment to start, and counts on from the clock.
	v.clock.turn(time.Second)
	v.l = newLedger(v.store, v.clock)
	maps.Copy(v.tried, v.loose)
	clear(v.loose)
}

// check holds the rows against what was acknowledged. Loads if need be.
func (v *life) check() {
	require.NoError(v.t, v.l.Load(v.t.Context()))
	all := rows(v.t, v.l)
	for _, known := range []map[cert.Serial]bool{v.issued, v.notes, v.loose} {
		for serial := range known {
			if !v.expendable(serial) {
				_, found := all[serial]
				require.True(v.t, found, "acknowledged and lost: %s, ended %s", serial, v.ends[serial])
			}
		}
	}
	revoked, err := v.l.Revoked("issuer-1")
	require.NoError(v.t, err)
	listed := map[cert.Serial]bool{}
	for row := range revoked {
		listed[row.Serial] = true
	}
	for serial, row := range all {
		require.True(v.t, v.issued[serial] || v.notes[serial] || v.loose[serial] || v.tried[serial], "from nowhere")
		reason, is := v.revoked[serial]
		require.Equal(v.t, !row.RevokedAt.IsZero(), listed[serial])
		switch {
		case is:
			require.Equal(v.t, start.Add(time.Hour), row.RevokedAt, "revoked and forgotten")
			require.Equal(v.t, reason, row.Reason)
		case !v.perhaps[serial]:
			require.Zero(v.t, row.RevokedAt, "revoked by nobody")
		}
	}
}
