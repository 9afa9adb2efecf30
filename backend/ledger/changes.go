package ledger

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"sort"
	"sync"
	"time"
)

// MaxChanges is the most rows that one call of Changes returns.
const MaxChanges = 8192

// Cursor says how much of the ledger's history a reader of Changes has seen. The zero
// Cursor is that of a reader who has seen nothing.
type Cursor struct {
	// Epoch names the history: hexadecimal, to be given back as it came. It changes
	// with each process, and within one.
	Epoch    string
	Sequence uint64
}

// Changes are rows that a reader has not seen, in the order of their sequence
// numbers.
type Changes struct {
	Rows []Row
	Next Cursor
	More bool // there are more rows after Next already
	// Reset says that the reader's cursor was not of this history, and that Rows
	// begins with the oldest one.
	Reset bool
}

// Changes returns rows that came or changed after a cursor, at most limit or
// MaxChanges, each as it is now or was a moment ago. Unavailable until loaded.
//
// Whoever walks to the end and asks again with the last cursor misses nothing: a row
// becomes visible with a number above all that were given out, under the same lock.
// After a restart rows keep the number that a segment has, and the others get one
// above the start of the process, so a cursor of an earlier process is as good, unless
// it is above that start: then the clock went back, and the walk begins anew. So it
// does when storage was restored from a backup, for every reader who has followed
// until the first Flush after that backup. Tidy removes rows without a word: NotAfter says when to expect it.
func (l *Ledger) Changes(since Cursor, limit int) (Changes, error) {
	if err := l.questionable(); err != nil {
		return Changes{}, err
	}
	if limit < 1 || limit > MaxChanges {
		limit = MaxChanges
	}
	next, known := l.place(since)
	changes := Changes{Next: next, Reset: !known}
	if changes.Reset {
		since.Sequence = 0
	}
	if since.Sequence == next.Sequence {
		return changes, nil
	}
	l.walks.Lock()
	defer l.walks.Unlock()
	w := l.walk(since.Sequence, limit)
	changes.Rows, changes.Next.Sequence = w.page(since.Sequence, limit)
	changes.More = changes.Next.Sequence < next.Sequence
	if w == l.walks.far && changes.Next.Sequence == w.to {
		l.walks.far = nil
	}
	return changes, nil
}

// Cursor returns the cursor of a reader who has seen everything. Unavailable until
// loaded.
func (l *Ledger) Cursor() (Cursor, error) {
	if err := l.questionable(); err != nil {
		return Cursor{}, err
	}
	next, _ := l.place(Cursor{})
	return next, nil
}

// place returns the cursor of now, and whether another one is of this history.
func (l *Ledger) place(c Cursor) (now Cursor, known bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	s := &l.state
	return Cursor{Epoch: epoch{s.self.id, s.stored}.String(), Sequence: s.sequence}, s.knows(c)
}

// knows reports whether the history of a cursor is the beginning of this one. The
// caller holds Ledger.mu.
func (s *state) knows(c Cursor) bool {
	e, ok := parseEpoch(c.Epoch)
	at := slices.IndexFunc(s.chain, func(b birth) bool { return b.id == e.process })
	if !ok || at < 0 || c.Sequence > s.sequence {
		return false
	}
	return !slices.ContainsFunc(s.chain[at+1:], func(b birth) bool {
		// Segments are numbered upwards, and the newest is never removed: one that the
		// reader's process had written and a later one did not find was restored away.
		return c.Sequence > b.from || e.stored > b.found
	})
}

// epoch is the epoch of a cursor.
type epoch struct {
	process [8]byte
	stored  uint32 // number of the newest segment that was there, 0 for none
}

func (e epoch) String() string {
	return hex.EncodeToString(binary.BigEndian.AppendUint32(e.process[:], e.stored))
}

func parseEpoch(text string) (epoch, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 12 {
		return epoch{}, false
	}
	return epoch{process: [8]byte(raw[:8]), stored: binary.BigEndian.Uint32(raw[8:])}, true
}

// walks serialises what reads changes, so that readers who are far behind share the
// work of putting rows in order.
type walks struct {
	sync.Mutex
	far *walk // nil: none
}

// walk is what changed after a sequence number, in order.
type walk struct {
	view     view
	from, to uint64 // it has the rows with numbers above from, to the last of the view
	order    []step
	made     time.Time
}

// step is the place of a row in a view.
type step struct {
	sequence uint64
	leaf     uint32
	row      uint8
}

// walkLife bounds how long a walk that nobody ends keeps a view of the rows.
const walkLife = 10 * time.Minute

// walk returns a walk that begins at a number or before it. The caller holds walks.
func (l *Ledger) walk(since uint64, limit int) *walk {
	l.endWalk()
	if w := l.walks.far; w != nil && w.from <= since && since < w.to {
		return w
	}
	w := &walk{from: since, made: l.now()}
	l.mu.Lock()
	w.view, w.to = l.state.table.freeze(), l.state.sequence
	l.mu.Unlock()
	most := 0
	for _, leaf := range w.view.leaves {
		if leaf.high > since {
			most += len(leaf.rows)
		}
	}
	w.order = make([]step, 0, most)
	for at, leaf := range w.view.leaves {
		if leaf.high <= since {
			continue
		}
		for i := range leaf.rows {
			if sequence := leaf.rows[i].sequence; sequence > since {
				w.order = append(w.order, step{sequence, uint32(at), uint8(i)})
			}
		}
	}
	slices.SortFunc(w.order, func(a, b step) int { return cmp.Compare(a.sequence, b.sequence) })
	if len(w.order) > limit {
		l.walks.far = w
	}
	return w
}

// endWalk forgets a walk that nobody has ended. The caller holds walks.
func (l *Ledger) endWalk() {
	if w := l.walks.far; w != nil && !l.now().Before(w.made.Add(walkLife)) {
		l.walks.far = nil
	}
}

// page returns some rows after a number, and the number up to which it has them all.
func (w *walk) page(since uint64, limit int) (rows []Row, through uint64) {
	at := sort.Search(len(w.order), func(i int) bool { return w.order[i].sequence > since })
	steps := w.order[at:]
	through = w.to
	if len(steps) > limit {
		steps = steps[:limit]
		through = steps[limit-1].sequence
	}
	rows = make([]Row, len(steps))
	for i, s := range steps {
		rows[i] = w.view.wide(&w.view.leaves[s.leaf].rows[s.row])
	}
	return rows, through
}
