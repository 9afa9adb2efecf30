package ledger

import (
	"context"
	"fmt"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

const (
	// settling is how many hours an hour stays open: a page is committed in its
	// hour or the next, and one more hour lets any write that was under way arrive.
	settling = 3
	// idleHours is how far the segments may fall behind when there are no rows to
	// write: a restart lists that many empty hours for nothing.
	idleHours = 24
	// closePerFlush bounds what a clock that jumps far ahead can do before it is
	// put right again: hours stay closed.
	closePerFlush = 48
)

// Flush writes the rows that no segment holds yet into new segments, then removes
// the dirty markers of those rows. Unavailable until loaded. After an error
// nothing is lost, and the next Flush does it all again.
func (l *Ledger) Flush(ctx context.Context) error {
	l.maintenance.Lock()
	defer l.maintenance.Unlock()
	return l.flush(ctx)
}

// flush is Flush for a caller that holds maintenance.
func (l *Ledger) flush(ctx context.Context) error {
	if err := l.questionable(); err != nil {
		return err
	}
	l.walks.Lock()
	l.endWalk()
	l.walks.Unlock()
	if err := l.resolve(ctx); err != nil {
		return err
	}
	if err := l.closeHours(ctx); err != nil {
		return err
	}
	if err := l.writeFresh(ctx); err != nil {
		return err
	}
	if err := l.removeMarkers(ctx); err != nil {
		return err
	}
	if err := l.removeSegments(ctx); err != nil {
		return err
	}
	return l.compact(ctx)
}

// resolve asks storage about the pages whose last write was answered with an error.
func (l *Ledger) resolve(ctx context.Context) error {
	l.mu.RLock()
	var doubtful []pageID
	for id, failed := range l.state.unsettled {
		if failed {
			doubtful = append(doubtful, id)
		}
	}
	l.mu.RUnlock()
	for _, id := range doubtful {
		if err := l.adopt(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// closeHours moves closed forward. Each hour is listed once, so that what it is
// closed with was seen to be complete, and not only believed: a write that was
// answered with an error and arrived late is found here.
func (l *Ledger) closeHours(ctx context.Context) error {
	for range closePerFlush {
		l.mu.RLock()
		next := l.state.closed + 1
		open := next+settling > hourOf(l.now())
		for id := range l.state.unsettled {
			open = open || id.hour() == next
		}
		l.mu.RUnlock()
		if open {
			return nil
		}
		if err := l.adoptHour(ctx, next); err != nil {
			return err
		}
		l.mu.Lock()
		l.state.closed = next
		l.mu.Unlock()
	}
	return nil
}

// adoptHour lists the pages of an hour and reads those that have no row.
func (l *Ledger) adoptHour(ctx context.Context, h hour) error {
	names, err := l.store.List(ctx, h.leaf())
	if err != nil {
		return fmt.Errorf("listing %s: %w", h.leaf(), err)
	}
	var missing []pageID
	l.mu.RLock()
	v := l.state.table.view()
	for _, name := range names {
		id, ok := parsePageKey(h.leaf() + name)
		if !ok {
			l.log.Warn("not a page of the ledger", "key", h.leaf()+name)
			continue
		}
		if !v.hasPage(id) {
			missing = append(missing, id)
		}
	}
	l.mu.RUnlock()
	return each(len(missing), func(i int) error { return l.adopt(ctx, missing[i]) })
}

// harvest is what one flush writes.
type harvest struct {
	view     view
	rows     []row
	complete hour // what the last of its segments may claim
}

// reap takes the rows that no segment has. From here on they count as covered: a
// change that comes while they are being written gets a marker.
func (l *Ledger) reap() harvest {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &l.state.table
	h := harvest{complete: l.state.closed}
	texts := t.arena.view()
	for at := range t.leaves {
		if t.leaves[at].fresh == 0 {
			continue
		}
		leaf := t.own(at)
		for i := range leaf.rows {
			r := &leaf.rows[i]
			if !r.has(fresh) {
				continue
			}
			serial := cert.Serial(texts.serial(r.text))
			id, _ := pageIDOf(serial)
			if _, busy := l.state.unsettled[id]; busy {
				// The row may be changing. If only its hour would lead Load to it, that
				// hour must not be called complete.
				if !r.has(dirty) {
					h.complete = min(h.complete, id.hour()-1)
				}
				continue
			}
			leaf.tally(r, -1)
			r.state = r.state&^uint8(fresh) | uint8(covered)
			leaf.tally(r, 1)
			h.rows = append(h.rows, *r)
		}
	}
	h.view = t.view()
	return h
}

// writeFresh writes what reap took. Rows are in segments before their markers go
// and before a segment claims that their hour is complete, so a crash at any point
// leaves each row to be found in one way at least.
func (l *Ledger) writeFresh(ctx context.Context) error {
	h := l.reap()
	complete := max(h.complete, l.segments.complete)
	if len(h.rows) == 0 && complete < l.segments.complete+idleHours {
		return nil
	}
	if err := l.writeSegments(ctx, &h.view, h.rows, complete); err != nil {
		// Some of the segments may be in storage. The rows stay covered, which is the
		// safe side, and are written once more.
		l.mu.Lock()
		defer l.mu.Unlock()
		for i := range h.rows {
			l.state.table.mark(h.view.serial(&h.rows[i]), fresh, 0)
		}
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range h.rows {
		if !h.rows[i].has(dirty) {
			continue
		}
		serial := h.view.serial(&h.rows[i])
		v := l.state.table.view()
		if now, found := v.get(serial); found && now.sequence == h.rows[i].sequence {
			// Forgotten first and removed later: if removing fails, a marker too many
			// stays behind, never one too few.
			l.state.table.mark(serial, 0, dirty)
			l.state.markers[cert.Serial(serial)] = true
		}
	}
	return nil
}
