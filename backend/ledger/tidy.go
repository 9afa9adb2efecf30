package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// The bounds of a buffer. Clocks differ by minutes; more than a certificate's whole
// life is no buffer but a mistake.
const (
	MinBuffer = time.Second
	MaxBuffer = 100 * 365 * 24 * time.Hour
)

// TidyOptions say what Tidy removes.
type TidyOptions struct {
	// Buffer is how long a certificate stays after its end; see MinBuffer.
	Buffer time.Duration
	// Keep, unless nil, is asked about each certificate past the buffer, and says that
	// it stays all the same. It may be asked about one more than once.
	Keep func(Row) bool
	// Pause is the time between two pages, in which nothing is locked.
	Pause time.Duration
	// Progress, unless nil, is told every few pages and segments.
	Progress func(Tidied)
}

// Tidied counts what was removed.
type Tidied struct {
	Certificates int // records and rows, the revoked included
	Revoked      int
	Pages        int // storage entries of records
	Segments     int // storage entries of rows, replaced ones included
}

func (o *TidyOptions) check() error {
	if o.Buffer < MinBuffer || o.Buffer > MaxBuffer {
		return fault.Field("safety_buffer", "must be from %s to 100 years, not %s", MinBuffer, o.Buffer)
	}
	if o.Pause < 0 {
		return fault.Field("pause_duration", "must not be negative")
	}
	return nil
}

// Tidy removes certificates that ended longer ago than the buffer: their pages, their
// rows in memory, and the segments that are mostly of them. A certificate that has not
// ended stays, revoked or not (rev-2), whatever the options say.
//
// A page goes when all of its certificates may go. Storage sees one Delete for each
// page, two Puts for the horizon when anything goes at all, and for each segment that
// goes a Get, a Delete, and at most one Put. It lists nothing.
//
// It works in steps, between which others may Load, Flush and Tidy, and ends with the
// context's error soon after the context has. Whenever it ends, what it removed is
// removed, and the next Tidy goes on. Unavailable until loaded.
func (l *Ledger) Tidy(ctx context.Context, o TidyOptions) (Tidied, error) {
	if err := o.check(); err != nil {
		return Tidied{}, err
	}
	t := &tidying{Ledger: l, options: o}
	if err := t.begin(ctx); err != nil {
		return Tidied{}, err
	}
	for !t.done {
		err := t.step(ctx)
		t.tell()
		if err != nil {
			return t.count, err
		}
		if err := t.pause(ctx); err != nil {
			return t.count, err
		}
	}
	err := t.finish(ctx)
	return t.count, err
}

// tidying is one Tidy under way.
type tidying struct {
	*Ledger

	options TidyOptions
	count   Tidied

	before time.Time   // what ended before is looked at
	after  cert.Serial // up to here it was
	done   bool
}

// begin brings segments up to date, so that nothing that may go has a marker, and
// takes the time.
func (t *tidying) begin(ctx context.Context) error {
	t.maintenance.Lock()
	defer t.maintenance.Unlock()
	if err := t.flush(ctx); err != nil {
		return err
	}
	now := t.now()
	t.mu.RLock()
	defer t.mu.RUnlock()
	// A clock that jumps far ahead does not take everything with it: hours are closed
	// a few at a time, and count here like a clock of the ledger's own.
	if slow := time.Unix((int64(t.state.closed)+settling+1)*3600, 0); slow.Before(now) {
		now = slow
	}
	t.before = whole(now.Add(-t.options.Buffer))
	return nil
}

// stepPages is how many pages are removed before others get their turn.
const stepPages = 64

// step removes some pages. Their order is that of serials.
//
// If we crash before the horizon is announced, nothing was removed. If we crash after
// it, between pages, rows in segments have no page: the horizon says that they need
// none. Load shows them, and the next Tidy removes them like any other, with a Delete
// of what is not there.
func (t *tidying) step(ctx context.Context) error {
	t.maintenance.Lock()
	defer t.maintenance.Unlock()
	if err := t.removeMarkers(ctx); err != nil {
		return err
	}
	n := stepPages
	if t.options.Pause > 0 {
		n = 1
	}
	for _, leaving := range t.next(n) {
		if err := t.announce(ctx, t.before); err != nil {
			return err
		}
		if err := t.leave(ctx, leaving); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// leaving is a page all of whose certificates may go.
type leaving struct {
	id      pageID
	rows    []row // of a view
	serials []string
	stored  bool // some of them have a record
}

// next returns the next pages to go, at most n.
func (t *tidying) next(n int) []leaving {
	t.mu.Lock()
	v := t.state.table.freeze()
	t.mu.Unlock()
	var pages []leaving
	for rows := range v.pagesAfter(t.after) {
		if p, ok := t.judge(&v, rows); ok {
			pages = append(pages, p)
		}
		t.after = cert.Serial(v.serial(&rows[len(rows)-1]))
		if len(pages) == n {
			return pages
		}
	}
	t.done = true
	return pages
}

// judge tells whether all certificates of a page may go.
func (t *tidying) judge(v *view, rows []row) (leaving, bool) {
	limit := seconds(t.before)
	for i := range rows {
		if rows[i].notAfter >= limit {
			return leaving{}, false
		}
	}
	id, ours := pageIDOf(cert.Serial(v.serial(&rows[0])))
	if !ours {
		return leaving{}, false
	}
	p := leaving{id: id, rows: slices.Clone(rows), serials: make([]string, 0, len(rows))}
	for i := range rows {
		if t.options.Keep != nil && t.options.Keep(v.wide(&rows[i])) {
			return leaving{}, false
		}
		p.serials = append(p.serials, v.serial(&rows[i]))
		p.stored = p.stored || !rows[i].has(unstored)
	}
	return p, true
}

// leave removes a page, unless it has changed since it was judged. The lock lets no
// revocation that has read the page write it again.
func (t *tidying) leave(ctx context.Context, p leaving) error {
	defer t.lock(p.id).Unlock()
	if !t.unchanged(&p) {
		return nil
	}
	if p.stored {
		if err := t.store.Delete(ctx, p.id.key()); err != nil {
			return fmt.Errorf("deleting page %s: %w", p.id.key(), err)
		}
		t.count.Pages++
	}
	t.mu.Lock()
	for i, serial := range p.serials {
		t.state.table.remove(serial)
		t.count.Certificates++
		if p.rows[i].revokedAt != 0 {
			t.count.Revoked++
		}
	}
	t.mu.Unlock()
	return nil
}

// unchanged reports whether the rows of a page are those that were judged, and all of
// them settled: a row that no segment has as it is, or that has a marker, waits for
// the next Tidy.
func (t *tidying) unchanged(p *leaving) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if _, busy := t.state.unsettled[p.id]; busy {
		return false
	}
	v := t.state.table.view()
	for now := range v.pagesFrom(p.id) {
		if len(now) != len(p.rows) {
			return false
		}
		for i := range now {
			if now[i].sequence != p.rows[i].sequence || now[i].has(fresh) || now[i].has(dirty) {
				return false
			}
		}
		return true
	}
	return false
}

func (t *tidying) tell() {
	if t.options.Progress != nil {
		t.options.Progress(t.count)
	}
}

// pause lets others have their turn.
func (t *tidying) pause(ctx context.Context) error {
	if t.options.Pause == 0 || t.done {
		return ctx.Err()
	}
	timer := time.NewTimer(t.options.Pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish writes down that everything was looked at, then replaces the segments that
// are not worth keeping, and gives memory back.
func (t *tidying) finish(ctx context.Context) error {
	t.maintenance.Lock()
	defer t.maintenance.Unlock()
	if err := t.conclude(ctx, t.before); err != nil {
		return err
	}
	old := t.obsolete()
	for len(old) > 0 {
		n := min(len(old), smallSegments)
		replaced, err := t.replace(ctx, old[:n])
		t.count.Segments += replaced
		if err != nil {
			return err
		}
		old = old[n:]
		// Others get their turn. Segments that they replace are gone from the list.
		t.maintenance.Unlock()
		t.tell()
		t.maintenance.Lock()
		old = t.still(old)
	}
	t.shrink()
	return ctx.Err()
}

// still returns those of some segments that are there.
func (t *tidying) still(some []segmentInfo) []segmentInfo {
	return slices.DeleteFunc(slices.Clone(some), func(s segmentInfo) bool { return !slices.Contains(t.segments.list, s) })
}
