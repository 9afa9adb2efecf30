package ledger

import (
	"context"
	"fmt"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
)

// markerVersion is the value of a dirty marker; its key says everything.
const markerVersion = 1

// Revoke marks the certificate as revoked: 1 Get and at most 2 Puts, whatever the
// number of revoked certificates. Revoking what is revoked already changes nothing
// and returns the record as it is with changed false. It works while rows load.
// NotFound when there is no record.
//
// After an error the certificate may be revoked or not; revoking again is safe, and
// answers changed if this ledger did not know yet.
//
// Two certificates of one page may be revoked at the same time: the page's lock,
// held from Get to Put, lets neither write over the other.
func (l *Ledger) Revoke(ctx context.Context, serial cert.Serial, r Revocation) (record *Record, changed bool, err error) {
	return l.RevokeIf(ctx, serial, r, func(*Record) error { return nil })
}

// RevokeIf is Revoke for a record that check lets pass: it is asked once, about the
// record as stored, between the Get and the first Put, and its error is returned. It
// holds up other writes of the page and must not call the ledger.
func (l *Ledger) RevokeIf(ctx context.Context, serial cert.Serial, r Revocation, check func(*Record) error) (record *Record, changed bool, err error) {
	r.At, r.InvalidityAt = whole(r.At), whole(r.InvalidityAt)
	if err := r.check(); err != nil {
		return nil, false, err
	}
	id, ok := pageIDOf(serial)
	if !ok {
		return nil, false, notFound(serial)
	}
	defer l.lock(id).Unlock()
	s, err := l.read(ctx, id)
	if err != nil {
		return nil, false, err
	}
	record, at, err := s.certificate(serial)
	if err != nil {
		return nil, false, err
	}
	if err := check(record); err != nil {
		return nil, false, err
	}
	changed, err = l.revoke(ctx, s, at, record, &r)
	if err != nil {
		return nil, false, err
	}
	return record, changed, nil
}

// revoke completes and stores the record at a place of its page, unless it is
// revoked already, and shows its row.
func (l *Ledger) revoke(ctx context.Context, s *sheet, at int, record *Record, r *Revocation) (changed bool, err error) {
	var m marks
	if record.Revocation == nil {
		changed = true
		record.Revocation = r
		s.records[at] = string(encodeRecord(record))
		if m, err = l.rewrite(ctx, s, record.Serial, l.needed(s.id, record.Serial)); err != nil {
			return false, err
		}
	}
	row, err := RowOf(record)
	if err != nil {
		return false, fmt.Errorf("reading record %s: %w", record.Serial, err)
	}
	// An earlier call may have written the page and lost the answer: what the page
	// says is shown in either case.
	news, err := l.publish(s, &row, m)
	return changed || news == revokedNow, err
}

// publish shows a row of a page as it was just read or written. While rows load it
// shows the rest of the page too, because Load takes a page of which it meets a row
// for read. When an earlier write of the page is in doubt, it stays so: that may
// concern another row, and Flush tells of those.
func (l *Ledger) publish(s *sheet, row *Row, m marks) (shown, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.loaded.Load() {
		m |= covered
		others, err := s.rows()
		if err != nil {
			return nothingNew, err
		}
		for i := range others {
			if others[i].Serial != row.Serial {
				l.state.show(&others[i], covered)
			}
		}
	}
	if !l.state.unsettled[s.id] {
		delete(l.state.unsettled, s.id)
	}
	return l.state.show(row, m), nil
}

// needed returns the marks that a change of a row calls for: dirty|covered when
// only a marker would tell Load of it, 0 when Load will read the page anyway. It
// announces the write of the page, which keeps Flush from taking the row until
// the write has ended, so that the answer stays true.
func (l *Ledger) needed(id pageID, serial cert.Serial) marks {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, doubted := l.state.unsettled[id]; !doubted {
		l.state.unsettled[id] = false
	}
	v := l.state.table.view()
	old, found := v.get(string(serial))
	switch {
	case !found:
		// The rows still load, or the page was written and its answer lost: whether a
		// segment has the row is not known.
		return dirty | covered
	case old.has(covered) && !old.has(dirty):
		return dirty | covered
	}
	return 0
}

// rewrite stores a changed page, behind a marker where one is needed, and returns the
// marks that the row has from now on.
//
// The marker comes first. If we crash before it, nothing happened. If we crash
// between the two, Load follows the marker to a page that did not change: one Get
// for nothing. If we crash after the page, Load follows the marker to the
// revocation. The other order could leave a revoked page of which a segment says
// "good", with nothing to tell Load.
//
// Without a marker (m is 0, see needed) no segment has the row, so Load reads the
// page when it lists the page's hour.
func (l *Ledger) rewrite(ctx context.Context, s *sheet, serial cert.Serial, m marks) (marks, error) {
	value := encodeSheet(*s)
	if len(value) > kv.MaxValue {
		l.fail(s.id)
		return 0, fmt.Errorf("writing page %s: %w", s.id.key(), ErrFull)
	}
	if m != 0 {
		if err := l.putMarker(ctx, serial); err != nil {
			l.fail(s.id)
			return 0, err
		}
	}
	if err := l.store.Put(ctx, s.id.key(), value); err != nil {
		// Flush reads the page again, so that the row does not stay behind for as long
		// as this process lives.
		l.fail(s.id)
		return 0, fmt.Errorf("writing page %s: %w", s.id.key(), err)
	}
	return m, nil
}

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
