package ledger

import (
	"context"
	"fmt"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// segmentList is what the ledger knows of the segments in storage.
type segmentList struct {
	list     []segmentInfo // by number
	last     uint64        // highest number ever tried
	complete hour          // what the newest segment claims
	highest  uint64        // highest sequence number in a segment at Load
	leaving  []uint64      // no longer in list, and not known to be deleted
}

type segmentInfo struct {
	number uint64
	size   int
	rows   int
}

// writeSegments writes rows, in the order of serials, into as many segments as it
// takes. Only the last claims complete: the others do not know that it will be
// written. A number is never used twice, so that a write that was answered with an
// error and arrives late does not replace a newer segment.
func (l *Ledger) writeSegments(ctx context.Context, v *view, rows []row, complete hour) error {
	w := newSegmentWriter(v)
	first, next := 0, 0
	for next < len(rows) {
		end := next + 1
		for end < len(rows) && samePage(v, &rows[next], &rows[end]) {
			end++
		}
		if w.add(rows[next:end]) {
			next = end
			continue
		}
		if err := l.writeSegment(ctx, w, rows[first:next], l.segments.complete); err != nil {
			return err
		}
		w, first = newSegmentWriter(v), next
	}
	return l.writeSegment(ctx, w, rows[first:], complete)
}

func samePage(v *view, a, b *row) bool {
	id, ours := pageIDOf(cert.Serial(v.serial(a)))
	return ours && id.holds(cert.Serial(v.serial(b)))
}

// writeSegment writes one segment of the rows that are in the writer.
func (l *Ledger) writeSegment(ctx context.Context, w *segmentWriter, rows []row, complete hour) error {
	s := &l.segments
	s.last++
	value := w.value(complete)
	if err := l.store.Put(ctx, segmentKey(s.last), value); err != nil {
		return fmt.Errorf("writing %s: %w", segmentKey(s.last), err)
	}
	s.list = append(s.list, segmentInfo{number: s.last, size: len(value), rows: len(rows)})
	s.complete = complete
	l.mu.Lock()
	l.state.stored = uint32(s.last)
	l.mu.Unlock()
	l.stamp(w.view, rows, uint32(s.last))
	return nil
}

// stamped is how many rows are stamped before others get their turn at the rows.
const stamped = 512

// stamp notes that a segment has the rows, in this version or an older one.
func (l *Ledger) stamp(v *view, rows []row, segment uint32) {
	for part := range slices.Chunk(rows, stamped) {
		l.mu.Lock()
		for i := range part {
			l.state.table.stamp(v.serial(&part[i]), segment)
		}
		l.mu.Unlock()
	}
}

// smallSegments is how many small segments are merged at once, and how many of any
// size are replaced at once.
const smallSegments = 16

// compact merges small segments into large ones. Segments that are half full or more
// are left to sweep.
func (l *Ledger) compact(ctx context.Context) error {
	small := slices.DeleteFunc(slices.Clone(l.segments.list), func(s segmentInfo) bool {
		return s.size >= halfSegment || l.horizon.holds[s.number]
	})
	if len(small) < smallSegments {
		return nil
	}
	_, err := l.replace(ctx, small)
	return err
}

// obsolete returns the segments of which half or more of the rows are gone, or newer
// elsewhere, or to which nothing is owed but the claim of a later one.
func (l *Ledger) obsolete() []segmentInfo {
	l.mu.Lock()
	v := l.state.table.freeze()
	l.mu.Unlock()
	wanted := make(map[uint32]int, len(l.segments.list))
	for _, leaf := range v.leaves {
		for i := range leaf.rows {
			wanted[leaf.rows[i].segment]++
		}
	}
	var old []segmentInfo
	for i, s := range l.segments.list {
		newest := i == len(l.segments.list)-1
		if 2*wanted[uint32(s.number)] <= s.rows && (s.rows > 0 || !newest) && !l.horizon.holds[s.number] {
			old = append(old, s)
		}
	}
	return old
}

// replace writes the rows for which memory knows no other segment than these, as they
// are now, into new segments, then deletes the old ones. If we crash in between, rows
// are there twice with the same sequence number, and rows that are gone are there
// still, which the horizon keeps Load from showing.
//
// The newest segment is never deleted before a newer one repeats what it claims:
// without the claim, Load would list hours that were closed long ago.
//
// It returns how many are replaced.
func (l *Ledger) replace(ctx context.Context, old []segmentInfo) (n int, err error) {
	old, serials, err := l.replaceable(ctx, old)
	if err != nil || len(old) == 0 {
		return 0, err
	}
	among := map[uint32]bool{}
	for _, info := range old {
		among[uint32(info.number)] = true
	}
	l.mu.Lock()
	v := l.state.table.freeze()
	l.mu.Unlock()
	rows := make([]row, 0, len(serials))
	for _, serial := range serials {
		if r, found := v.get(serial); found && (r.segment == 0 || among[r.segment] || r.has(fresh)) {
			rows = append(rows, *r)
		}
	}
	newest := l.segments.list[len(l.segments.list)-1]
	if len(rows) > 0 || among[uint32(newest.number)] {
		if err := l.writeSegments(ctx, &v, rows, l.segments.complete); err != nil {
			return 0, err
		}
	}
	// Forgotten first and deleted later: if deleting fails, a segment too many stays
	// behind, and nobody takes one for granted that is gone.
	l.segments.list = slices.DeleteFunc(l.segments.list, func(s segmentInfo) bool { return slices.Contains(old, s) })
	for _, info := range old {
		l.segments.leaving = append(l.segments.leaving, info.number)
	}
	return len(old), l.removeSegments(ctx)
}

// removeSegments deletes the segments that were replaced.
func (l *Ledger) removeSegments(ctx context.Context) error {
	for len(l.segments.leaving) > 0 {
		last := len(l.segments.leaving) - 1
		key := segmentKey(l.segments.leaving[last])
		if err := l.store.Delete(ctx, key); err != nil {
			return fmt.Errorf("deleting %s: %w", key, err)
		}
		l.segments.leaving = l.segments.leaving[:last]
	}
	return nil
}

// replaceable reads segments and returns those that may go, with the serials that
// they name, sorted. What to write is found by reading: a segment goes when all that
// it says is said elsewhere, and not because a count says so.
//
// One that has a row which was removed, without the horizon saying so yet, stays: an
// older segment may have an older version of that row, which Load would show.
func (l *Ledger) replaceable(ctx context.Context, old []segmentInfo) (may []segmentInfo, serials []string, err error) {
	for _, info := range old {
		segment, err := l.readSegment(ctx, info.number)
		if err != nil {
			return nil, nil, err
		}
		if l.held(&segment) {
			l.horizon.hold(info.number)
			continue
		}
		may = append(may, info)
		for i := range segment.Rows {
			serials = append(serials, string(segment.Rows[i].Serial))
		}
	}
	slices.SortFunc(serials, compare)
	return may, slices.Compact(serials), nil
}

// held reports whether a segment has a row that was removed and not written down so.
func (l *Ledger) held(s *Segment) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	v := l.state.table.view()
	return slices.ContainsFunc(s.Rows, func(r Row) bool {
		_, found := v.get(string(r.Serial))
		return !found && !l.horizon.Gone(r.Serial, r.NotAfter)
	})
}
