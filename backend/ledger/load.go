package ledger

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

const (
	// parallel is how many values Load asks for at a time.
	parallel = 8
	// aheadHours is how far in the future Load looks for pages, for a clock that
	// was ahead of ours. Hours are closed only when they are this far in the past,
	// so with regular flushes nothing is further ahead.
	aheadHours = settling

	halfSegment = kv.MaxValue / 2
)

// Load reads the rows into memory. Until it has returned without error, Loaded is
// false and questions answer Unavailable; NewPage, Commit, Get and Revoke work
// meanwhile. After an error it may be called again; once loaded it does nothing.
//
// It reads the horizon and every segment, then looks for what they do not have: pages in the
// hours that the newest segment does not call complete, and what the dirty markers
// name. A change made by this process meanwhile is never undone: rows of segments
// give way to rows that are fresh, and a page is read and shown under its lock.
//
// Storage of a newer release ends it for good: the ledger then refuses every question and
// every change with the same error, and writes nothing. A release that changes pages,
// segments or markers raises the version of the fence, which is read first.
func (l *Ledger) Load(ctx context.Context) error {
	l.maintenance.Lock()
	defer l.maintenance.Unlock()
	if l.loaded.Load() {
		return nil
	}
	if err := l.refusal(); err != nil {
		return err
	}
	err := l.load(ctx)
	if kv.IsNewer(err) {
		l.state.refused.Store(&err)
	}
	return err
}

// refusal returns why Load will never end well, nil when nothing is known of that.
func (l *Ledger) refusal() error {
	if err := l.state.refused.Load(); err != nil {
		return *err
	}
	return nil
}

// load is Load for a caller that holds maintenance.
func (l *Ledger) load(ctx context.Context) error {
	if err := l.fence(ctx); err != nil {
		return err
	}
	if err := l.loadHorizon(ctx); err != nil {
		return err
	}
	complete, err := l.loadSegments(ctx)
	if err != nil {
		return err
	}
	if err := l.found(ctx, uint32(l.segments.last)); err != nil {
		return err
	}
	if err := l.loadHours(ctx, complete); err != nil {
		return err
	}
	if err := l.loadMarkers(ctx); err != nil {
		return err
	}
	if err := l.keepEarly(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.renumber(l.segments.highest)
	l.loaded.Store(true)
	l.log.Info("ledger loaded", "certificates", l.state.table.count, "segments", len(l.segments.list))
	return nil
}

// each calls f for 0 to n-1, some at a time, and returns the first error.
func each(n int, f func(i int) error) error {
	var group errgroup.Group
	group.SetLimit(parallel)
	for i := range n {
		group.Go(func() error { return f(i) })
	}
	return group.Wait()
}

// loadSegments shows the rows of all segments and returns the hour that the newest
// calls complete, 0 when there is no segment.
func (l *Ledger) loadSegments(ctx context.Context) (hour, error) {
	names, err := l.store.List(ctx, layout.Segment)
	if err != nil {
		return 0, fmt.Errorf("listing %s: %w", layout.Segment, err)
	}
	l.segments.list = l.segments.list[:0]
	var numbers []uint64
	for _, name := range names {
		number, ok := ParseSegmentKey(layout.Segment + name)
		if !ok {
			return 0, fault.New(fault.Internal, "%s%s is not a segment", layout.Segment, name)
		}
		numbers = append(numbers, number)
	}
	// Read some at a time, shown in their order, so that rows arrive mostly sorted.
	for len(numbers) > 0 {
		n := min(parallel, len(numbers))
		batch := make([]Segment, n)
		err := each(n, func(i int) (err error) {
			batch[i], err = l.readSegment(ctx, numbers[i])
			return err
		})
		if err != nil {
			return 0, err
		}
		for i := range batch {
			l.showSegment(&batch[i], uint32(numbers[i]))
			l.segments.list = append(l.segments.list, segmentInfo{number: numbers[i], size: batch[i].size, rows: len(batch[i].Rows)})
			l.segments.last = max(l.segments.last, numbers[i])
			l.segments.complete = hour(batch[i].Complete)
			l.segments.highest = max(l.segments.highest, batch[i].Zone.LastSequence)
		}
		numbers = numbers[n:]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.stored = uint32(l.segments.last)
	return l.segments.complete, nil
}

func (l *Ledger) readSegment(ctx context.Context, number uint64) (Segment, error) {
	key := segmentKey(number)
	raw, err := l.store.Get(ctx, key)
	if err != nil {
		return Segment{}, fmt.Errorf("reading %s: %w", key, err)
	}
	if raw == nil {
		return Segment{}, fault.New(fault.Internal, "reading %s: it was listed and is not there", key)
	}
	s, err := DecodeSegment(raw)
	if err != nil {
		return Segment{}, fmt.Errorf("reading %s: %w", key, err)
	}
	s.size = len(raw)
	return s, nil
}

// showSegment shows the rows of a segment that are newer than those already shown,
// and not gone.
func (l *Ledger) showSegment(s *Segment, number uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &l.state.table
	for i := range s.Rows {
		r := &s.Rows[i]
		if l.horizon.Gone(r.Serial, r.NotAfter) {
			continue
		}
		v := t.view()
		old, found := v.get(string(r.Serial))
		switch {
		case found && old.has(fresh):
			// Shown by this process from the page, and marked as covered then.
			continue
		case found && old.sequence >= r.Sequence:
			continue
		}
		m := covered
		if r.Unstored {
			m |= unstored
		}
		t.put(r, m, number)
	}
}

// loadHours shows the pages of all hours that are not complete.
func (l *Ledger) loadHours(ctx context.Context, complete hour) error {
	now := hourOf(l.now())
	var hours []hour
	closed := complete
	if complete == 0 {
		var err error
		if hours, err = l.firstHours(ctx); err != nil {
			return err
		}
		closed = max(now, settling+2) - settling - 1
	} else {
		// While a clock that went back has not caught up, pages are in the hour after the
		// closed ones, of which segments tell only once a day.
		for h := complete + 1; h <= max(now, complete+idleHours)+aheadHours; h++ {
			hours = append(hours, h)
		}
	}
	l.mu.Lock()
	l.state.closed = max(l.state.closed, closed)
	l.mu.Unlock()
	if err := each(len(hours), func(i int) error { return l.adoptHour(ctx, hours[i]) }); err != nil {
		return err
	}
	if complete == 0 {
		return nil
	}
	return l.markEarly(ctx, complete)
}

// markEarly puts markers for certificates of closed hours that this process issued
// before it knew which hours those are: that takes a clock that went back. Load
// would not look for their pages again.
func (l *Ledger) markEarly(ctx context.Context, complete hour) error {
	var busy []pageID
	l.mu.RLock()
	for id := range l.state.unsettled {
		if id.hour() <= complete {
			busy = append(busy, id)
		}
	}
	l.mu.RUnlock()
	for _, id := range busy {
		// Waits for the write, and shows what came of it.
		if err := l.adopt(ctx, id); err != nil {
			return err
		}
	}
	var early []cert.Serial
	l.mu.RLock()
	v := l.state.table.view()
	for _, leaf := range v.leaves {
		if leaf.fresh == 0 {
			continue
		}
		for i := range leaf.rows {
			r := &leaf.rows[i]
			serial := cert.Serial(v.serial(r))
			id, ours := pageIDOf(serial)
			if ours && r.has(fresh) && !r.has(dirty) && !r.has(unstored) && id.hour() <= complete {
				early = append(early, serial)
			}
		}
	}
	l.mu.RUnlock()
	return each(len(early), func(i int) error {
		id, _ := pageIDOf(early[i])
		defer l.lock(id).Unlock()
		return l.putMarker(ctx, early[i])
	})
}

// firstHours returns the hours that have pages, for a mount that has no segment.
// This alone lists a prefix that is not a leaf, which walks everything below it:
// without a segment that is no more than what was issued before the first Flush.
func (l *Ledger) firstHours(ctx context.Context) ([]hour, error) {
	names, err := l.store.List(ctx, layout.Page)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", layout.Page, err)
	}
	var hours []hour
	for _, name := range names {
		id, ok := parsePageKey(layout.Page + name + strings.Repeat("0", 16))
		if !ok {
			l.log.Warn("not an hour of the ledger", "key", layout.Page+name)
			continue
		}
		hours = append(hours, id.hour())
	}
	return hours, nil
}

// loadMarkers reads the page of each dirty marker. What it names is fresh, so that
// the next Flush writes it and removes the marker.
func (l *Ledger) loadMarkers(ctx context.Context) error {
	names, err := l.store.List(ctx, layout.Dirty)
	if err != nil {
		return fmt.Errorf("listing %s: %w", layout.Dirty, err)
	}
	return each(len(names), func(i int) error {
		serial, ok := ParseDirtyKey(layout.Dirty + names[i])
		if !ok {
			l.log.Warn("not a marker of the ledger", "key", layout.Dirty+names[i])
			return nil
		}
		if err := l.checkMarker(ctx, serial); err != nil {
			return err
		}
		id, _ := pageIDOf(serial)
		if err := l.adopt(ctx, id); err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		v := l.state.table.view()
		if _, found := v.get(string(serial)); !found {
			// The page was never written, or it is gone: the marker names nothing.
			l.state.markers[serial] = true
		}
		l.state.table.mark(string(serial), fresh|covered|dirty, 0)
		return nil
	})
}

// renumber gives rows of this process that were numbered before the segments were
// known, with a clock that went back, numbers above those of the segments. The
// caller holds Ledger.mu.
func (s *state) renumber(highest uint64) {
	s.sequence = max(s.sequence, highest)
	for at := range s.table.leaves {
		if s.table.leaves[at].fresh == 0 {
			continue
		}
		leaf := s.table.own(at)
		for i := range leaf.rows {
			if r := &leaf.rows[i]; r.has(fresh) && r.sequence <= highest {
				s.sequence++
				r.sequence = s.sequence
				leaf.high = s.sequence
			}
		}
	}
}
