package ledger

import (
	"context"
	"fmt"
	"sync"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Commit makes the page durable with one Put, then its rows visible. Nothing on
// the page may leave the process before Commit returned nil. When Commit fails, the
// certificates are lost for good: the caller must not hand them out. Storage may
// have taken the page all the same; then the next Flush or Load shows its rows, as
// certificates that were signed and never released.
//
// A page is committed once, in the hour in which it was reserved or the next.
func (l *Ledger) Commit(ctx context.Context, p *Page) error {
	defer p.close()
	return l.put(ctx, p, committed)
}

// Intend records, before the CA key signs, that a certificate with this serial is
// about to be signed: a record without DER, with one Put. Where "signed but not
// recorded" must be impossible (sub-CAs, cross-certificates), call it before
// signing, then Add the certificate to the same page and Commit. An intent has no
// row and is NotFound to Get; fsck lists those that were never completed.
func (l *Ledger) Intend(ctx context.Context, p *Page, record Record) error {
	if len(record.DER) != 0 || record.Revocation != nil {
		return fault.New(fault.Internal, "intent %s with a certificate or a revocation", record.Serial)
	}
	if err := p.add(&record, nil); err != nil {
		return err
	}
	err := l.put(ctx, p, intended)
	if err != nil {
		p.close()
	}
	return err
}

// stage says how far a page is when it is written.
type stage int

const (
	intended  stage = iota // more is to come: no rows yet
	committed              // all of its rows are to be shown
)

// put writes the page as it is. The rows of a page are shown all at once, so that
// none of them is in a segment, where it would tell Load that the page is known,
// before all are.
func (l *Ledger) put(ctx context.Context, p *Page, to stage) error {
	value, rows, err := p.value()
	if err != nil {
		return err
	}
	if to == intended {
		rows = nil
	}
	defer l.lock(p.id).Unlock()
	if err := l.begin(p.id, rows); err != nil {
		return err
	}
	// If we crash before this Put, nothing was issued. If we crash after it, Load
	// finds the page by listing its hour, which is not closed yet.
	if err := l.store.Put(ctx, p.id.key(), value); err != nil {
		l.fail(p.id)
		return fmt.Errorf("writing page %s: %w", p.id.key(), err)
	}
	l.settle(p.id, rows)
	return nil
}

// Note adds the row of a certificate that is not stored (no_store): no Put. It is
// lost in a crash unless a segment was flushed since.
func (l *Ledger) Note(record Record) {
	s, err := summarise(record.DER)
	if err == nil && s.serial != record.Serial {
		err = fault.New(fault.Internal, "the certificate's serial is %s", s.serial)
	}
	if err == nil {
		err = record.check()
	}
	if err == nil {
		record.KeyHash = s.keyHash
		row := rowOf(&record, &s)
		row.Unstored = true
		err = l.note(&row)
	}
	if err != nil {
		l.log.Error("certificate without a record has no row either", "serial", record.Serial.String(), "error", err)
	}
}

func (l *Ledger) note(r *Row) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.state.current(r); err != nil {
		return err
	}
	l.state.show(r, 0)
	return nil
}

// Get returns the record of a serial number with one Get; NotFound when there is none.
func (l *Ledger) Get(ctx context.Context, serial cert.Serial) (*Record, error) {
	id, ok := pageIDOf(serial)
	if !ok {
		return nil, notFound(serial)
	}
	s, err := l.read(ctx, id)
	if err != nil {
		return nil, err
	}
	record, _, err := s.certificate(serial)
	return record, err
}

// certificate returns the record of a serial that has a certificate, and its place.
func (s *sheet) certificate(serial cert.Serial) (*Record, int, error) {
	at := -1
	if s != nil {
		at = s.index(serial)
	}
	if at < 0 {
		return nil, 0, notFound(serial)
	}
	record, err := decodeRecord(s.id, s.records[at])
	if err != nil {
		return nil, 0, fmt.Errorf("reading record %s: %w", serial, err)
	}
	if len(record.DER) == 0 {
		return nil, 0, fault.New(fault.NotFound, "certificate %s was about to be signed and never completed", serial)
	}
	return &record, at, nil
}

// read returns a page, nil when there is none.
func (l *Ledger) read(ctx context.Context, id pageID) (*sheet, error) {
	raw, err := l.store.Get(ctx, id.key())
	if err != nil {
		return nil, fmt.Errorf("reading page %s: %w", id.key(), err)
	}
	if raw == nil {
		return nil, nil
	}
	s, err := decodeSheet(raw)
	if err != nil {
		return nil, fmt.Errorf("reading page %s: %w", id.key(), err)
	}
	if s.id != id {
		return nil, fault.New(fault.Internal, "page %s is stored under %s", s.id.key(), id.key())
	}
	return &s, nil
}

// lock takes a page's lock.
func (l *Ledger) lock(id pageID) *sync.Mutex {
	m := &l.pages[id[pageIDLength-1]]
	m.Lock()
	return m
}

// begin announces a first write of a page. The caller holds the page's lock.
func (l *Ledger) begin(id pageID, rows []Row) error {
	now := hourOf(l.now())
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range rows {
		if err := l.state.current(&rows[i]); err != nil {
			return err
		}
	}
	if now > id.hour()+1 || id.hour() <= l.state.closed {
		// A restart may no longer look for pages in that hour.
		return fault.New(fault.Conflict, "page %s was reserved too long ago; ask again", id.key())
	}
	l.state.unsettled[id] = false
	return nil
}

// fail notes that a write of the page was answered with an error: it may have
// happened. Flush asks storage.
func (l *Ledger) fail(id pageID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.unsettled[id] = true
}

// settle shows rows of a page as storage has them. The caller holds the page's
// lock since it last read or wrote the page.
// It returns the rows of which the status turned out to be another.
func (l *Ledger) settle(id pageID, rows []Row) (learnt []Row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range rows {
		if l.state.show(&rows[i], 0) == statusChanged {
			learnt = append(learnt, rows[i])
		}
	}
	delete(l.state.unsettled, id)
	return learnt
}

// adopt reads a page and shows its rows; nothing happens when there is no page.
func (l *Ledger) adopt(ctx context.Context, id pageID) error {
	learnt, err := l.readAndSettle(ctx, id)
	if l.learnt != nil && l.loaded.Load() {
		for _, row := range learnt {
			l.learnt(row.Issuer, row.status())
		}
	}
	return err
}

func (l *Ledger) readAndSettle(ctx context.Context, id pageID) (learnt []Row, err error) {
	defer l.lock(id).Unlock()
	s, err := l.read(ctx, id)
	if err != nil {
		return nil, err
	}
	var rows []Row
	if s != nil {
		if rows, err = s.rows(); err != nil {
			return nil, fmt.Errorf("reading page %s: %w", id.key(), err)
		}
	}
	return l.settle(id, rows), nil
}

// rows returns the rows of all certificates on the page.
func (s *sheet) rows() ([]Row, error) {
	records, err := s.all()
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, len(records))
	for i := range records {
		if len(records[i].DER) == 0 {
			continue
		}
		row, err := RowOf(&records[i])
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", records[i].Serial, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// shown says what a row told that was not known.
type shown int

const (
	nothingNew shown = iota
	somethingNew
	statusChanged // of a row that was there: revoked, suspended or resumed
)

// show makes a row visible. One that says something new gets the next sequence
// number and is fresh; one that says nothing new only gets the marks. The caller
// holds Ledger.mu.
func (s *state) show(r *Row, m marks) shown {
	news := somethingNew
	v := s.table.view()
	if old, found := v.get(string(r.Serial)); found {
		m |= marks(old.state) &^ (reasonBits | unstored)
		wide := v.wide(old)
		r.Sequence = wide.Sequence
		if wide == *r {
			s.table.mark(string(r.Serial), m, 0)
			return nothingNew
		}
		if !wide.RevokedAt.Equal(r.RevokedAt) || wide.Reason != r.Reason {
			news = statusChanged
		}
	}
	s.sequence++
	r.Sequence = s.sequence
	if r.Unstored {
		m |= unstored
	}
	s.table.put(r, m|fresh, 0)
	return news
}
