package ledger

import (
	"context"
	"fmt"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// amended is what a change of some records of a page came to.
type amended struct {
	record  *Record // the last that was found
	missing error   // why the last that was not found was not, nil when all were
	news    []Row   // whose status changed, or had changed unknown to memory
}

// amendOne is amend for one record; NotFound when there is none.
func (l *Ledger) amendOne(ctx context.Context, serial cert.Serial, edit func(*Record) (bool, error)) (record *Record, changed bool, err error) {
	id, ok := pageIDOf(serial)
	if !ok {
		return nil, false, notFound(serial)
	}
	done, err := l.amend(ctx, id, []cert.Serial{serial}, edit)
	if err == nil {
		err = done.missing
	}
	if err != nil {
		return nil, false, err
	}
	return done.record, len(done.news) > 0, nil
}

// amend changes records of one page and shows their rows: 1 Get and, when edit changes
// any, at most 2 Puts. edit is told of each record that is found, in the order of the
// serials, changes it or not, and says which.
func (l *Ledger) amend(ctx context.Context, id pageID, serials []cert.Serial, edit func(*Record) (changed bool, err error)) (amended, error) {
	if err := l.refusal(); err != nil {
		return amended{}, err
	}
	defer l.lock(id).Unlock()
	s, err := l.read(ctx, id)
	if err != nil {
		return amended{}, err
	}
	var done amended
	var changed []cert.Serial
	rows, edited := make([]Row, 0, len(serials)), make([]bool, 0, len(serials))
	for _, serial := range serials {
		record, at, err := s.certificate(serial)
		if fault.Is(err, fault.NotFound) {
			done.missing = err
			continue
		}
		if err != nil {
			return amended{}, err
		}
		is, err := edit(record)
		if err != nil {
			return amended{}, err
		}
		if is {
			changed = append(changed, serial)
			s.records[at] = string(encodeRecord(record))
		}
		row, err := RowOf(record)
		if err != nil {
			return amended{}, fmt.Errorf("reading record %s: %w", serial, err)
		}
		rows, edited, done.record = append(rows, row), append(edited, is), record
	}
	if len(rows) == 0 {
		return done, nil
	}
	var n need
	if len(changed) > 0 {
		n = l.needed(id, changed)
		if err := l.rewrite(ctx, s, n); err != nil {
			return amended{}, err
		}
	}
	// An earlier call may have written the page and lost the answer: what the page
	// says is shown in either case.
	news, err := l.publish(s, rows, n)
	if err != nil {
		return amended{}, err
	}
	for i := range rows {
		if edited[i] || news[i] == statusChanged {
			done.news = append(done.news, rows[i])
		}
	}
	return done, nil
}

// need says what a change of rows calls for.
type need struct {
	marks marks       // of every row
	lead  cert.Serial // the one that a marker must name; "" for none
}

// publish shows rows of a page as they were just read or written. While rows load it
// shows the rest of the page too, because Load takes a page of which it meets a row
// for read. When an earlier write of the page is in doubt, it stays so: that may
// concern another row, and Flush tells of those.
//
// All are shown at once: a Flush takes all of them or none, see rewrite.
func (l *Ledger) publish(s *sheet, rows []Row, n need) ([]shown, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.loaded.Load() {
		n.marks |= covered
		others, err := s.rows()
		if err != nil {
			return nil, err
		}
		for i := range others {
			if !slices.ContainsFunc(rows, func(r Row) bool { return r.Serial == others[i].Serial }) {
				l.state.show(&others[i], covered)
			}
		}
	}
	if !l.state.unsettled[s.id] {
		delete(l.state.unsettled, s.id)
	}
	news := make([]shown, len(rows))
	for i := range rows {
		m := n.marks
		if rows[i].Serial == n.lead {
			m |= dirty
		}
		news[i] = l.state.show(&rows[i], m)
	}
	return news, nil
}

// needed returns what a change of rows of a page calls for: a marker when only that
// would tell Load of the change, none when Load reads the page anyway or one of the
// rows has a marker. It announces the write of the page, which keeps Flush from taking
// its rows until the write has ended, so that the answer stays true.
//
// A marker of a row that is on the page and does not change is not enough: the Flush
// that is under way may be about to remove it.
func (l *Ledger) needed(id pageID, changed []cert.Serial) need {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, doubted := l.state.unsettled[id]; !doubted {
		l.state.unsettled[id] = false
	}
	var n need
	led := false
	v := l.state.table.view()
	for _, serial := range changed {
		old, found := v.get(string(serial))
		if found && old.has(dirty) {
			led = true
		}
		// When there is no row, the rows still load, or the page was written and its
		// answer lost: whether a segment has the row is not known.
		if !found || old.has(covered) {
			n.marks = covered
			if n.lead == "" {
				n.lead = serial
			}
		}
	}
	if led {
		n.lead = ""
	}
	return n
}

// rewrite stores a changed page, behind a marker where one is needed.
//
// The marker comes first. If we crash before it, nothing happened. If we crash
// between the two, Load follows the marker to a page that did not change: one Get
// for nothing. If we crash after the page, Load follows the marker to the
// revocation. The other order could leave a revoked page of which a segment says
// "good", with nothing to tell Load.
//
// One marker leads Load to all rows of its page, and so is enough for any number of
// changes written together: the changed rows become fresh at once, a Flush takes them
// into one segment, and the marker goes only after that segment is written and while
// the row that it names is not fresh again.
//
// Without a marker (see needed) no segment has the rows, so Load reads the page when it
// lists the page's hour, or a marker of a row that changes as well is there already.
func (l *Ledger) rewrite(ctx context.Context, s *sheet, n need) error {
	value := encodeSheet(*s)
	if len(value) > kv.MaxValue {
		l.fail(s.id)
		return fmt.Errorf("writing page %s: %w", s.id.key(), ErrFull)
	}
	if n.lead != "" {
		if err := l.putMarker(ctx, n.lead); err != nil {
			l.fail(s.id)
			return err
		}
	}
	if err := l.store.Put(ctx, s.id.key(), value); err != nil {
		// Flush reads the page again, so that the rows do not stay behind for as long
		// as this process lives.
		l.fail(s.id)
		return fmt.Errorf("writing page %s: %w", s.id.key(), err)
	}
	return nil
}

// markerVersion is the value of a dirty marker; its key says everything.
const markerVersion = 1

// putMarker writes a marker. The caller holds the page's lock.
func (l *Ledger) putMarker(ctx context.Context, serial cert.Serial) error {
	err := l.store.Put(ctx, DirtyKey(serial), []byte{markerVersion})
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.state.table.view()
	if _, found := v.get(string(serial)); err != nil || !found {
		// No row says that the marker is there: Flush looks after it.
		l.state.markers[serial] = true
	}
	if err != nil {
		return fmt.Errorf("writing marker of %s: %w", serial, err)
	}
	l.state.table.mark(string(serial), dirty, 0)
	return nil
}

// checkMarker refuses a marker of a newer release. One that is gone is none.
func (l *Ledger) checkMarker(ctx context.Context, serial cert.Serial) error {
	raw, err := l.store.Get(ctx, DirtyKey(serial))
	if err != nil {
		return fmt.Errorf("reading %s: %w", DirtyKey(serial), err)
	}
	if len(raw) > 0 && raw[0] > markerVersion {
		return kv.Newer(layout.Dirty, int(raw[0]), markerVersion)
	}
	return nil
}
