package ledger

import (
	"iter"
	"slices"
	"sort"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// row is a Row in 80 octets without a pointer.
type row struct {
	text      uint32 // place of the key hash, the serial and the name
	olderKey  uint32 // place of the text of the row with this key put before, 0 for none
	newerKey  uint32 // and of the one put after
	segment   uint32 // number of the last segment that took the row, 0 for none
	nameLen   uint16
	serialLen uint8
	state     uint8 // the reason in the low four bits, marks above
	issuer    uint32
	role      uint32
	profile   uint32
	owner     uint32
	notBefore uint64 // times as seconds has them
	notAfter  uint64
	revokedAt uint64
	invalid   uint64 // of one that is not revoked: when its suspension ended
	sequence  uint64
}

// marks say how a row stands to storage.
type marks uint8

const (
	reasonBits       = 0x0f
	fresh      marks = 0x10 // no segment has the row as it is now
	covered    marks = 0x20 // a segment may have the row, older or as it is now
	dirty      marks = 0x40 // the row's dirty marker is in storage
	unstored   marks = 0x80 // no page has the row
)

// resumed returns when the last suspension of a row that is not revoked ended, 0 for
// never.
func (r *row) resumed() uint64 {
	if r.revokedAt != 0 {
		return 0
	}
	return r.invalid
}

func (r *row) has(m marks) bool { return marks(r.state)&m == m }

// leafRows is a compromise: a reader's snapshot makes the next writer copy one
// leaf, 10 KiB, and a million rows make a list of some ten thousand leaves.
const leafRows = 128

// leaf holds neighbouring rows. Once a snapshot has seen it, it never changes.
type leaf struct {
	low     string // the serial of the first row
	rows    []row
	epoch   uint64
	revoked int    // rows that are revoked
	fresh   int    // rows that are marked fresh
	high    uint64 // no row has a sequence number above
}

// table holds all rows in the order of serials. The caller holds Ledger.mu.
type table struct {
	leaves []*leaf
	count  int
	epoch  uint64 // grows with each snapshot; leaves of an older epoch are shared
	frozen bool   // the list of leaves is shared
	arena  arena
	words  words
	byKey  map[[8]byte]uint32 // the text of the row put last for a key hash
	keys   keyNotes
}

// view reads a table. One from table.view is valid while the caller holds
// Ledger.mu, one from table.freeze for ever.
type view struct {
	leaves []*leaf
	texts  texts
	words  []string
}

func (t *table) view() view {
	return view{leaves: t.leaves, texts: t.arena.view(), words: t.words.list}
}

// freeze returns a snapshot in constant time; writers copy what they touch next.
func (t *table) freeze() view {
	t.epoch++
	t.frozen = true
	return t.view()
}

// compare orders serials as the integers that they are.
func compare(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func (v *view) serial(r *row) string { return v.texts.serial(r.text) }

func (v *view) name(r *row) string { return v.texts.name(r.text, int(r.serialLen), int(r.nameLen)) }

// find returns the place of a serial, or of the first row above it.
func (v *view) find(serial string) (at, i int, found bool) {
	at = sort.Search(len(v.leaves), func(j int) bool { return compare(v.leaves[j].low, serial) > 0 })
	if at == 0 {
		return 0, 0, false
	}
	rows := v.leaves[at-1].rows
	i = sort.Search(len(rows), func(j int) bool { return compare(v.serial(&rows[j]), serial) >= 0 })
	if i == len(rows) {
		return at, 0, false
	}
	return at - 1, i, v.serial(&rows[i]) == serial
}

func (v *view) get(serial string) (*row, bool) {
	at, i, found := v.find(serial)
	if !found {
		return nil, false
	}
	return &v.leaves[at].rows[i], true
}

// hasPage reports whether any certificate recorded on a page has a row.
func (v *view) hasPage(id pageID) bool {
	var tail [tailLength]byte
	at, i, _ := v.find(string(id[:]) + string(tail[:]))
	for ; at < len(v.leaves); at, i = at+1, 0 {
		for rows := v.leaves[at].rows; i < len(rows); i++ {
			if !id.holds(cert.Serial(v.serial(&rows[i]))) {
				return false
			}
			if !rows[i].has(unstored) {
				return true
			}
		}
	}
	return false
}

// pagesAfter yields the rows of each page, in the order of serials, from the first
// one above a serial. Serials that name no page are yielded one by one. What it
// yields is valid until the next.
func (v *view) pagesAfter(serial cert.Serial) iter.Seq[[]row] {
	at, i, found := v.find(string(serial))
	if found {
		i++
	}
	return v.pages(at, i)
}

// pagesFrom is pagesAfter from a page on, if that has rows.
func (v *view) pagesFrom(id pageID) iter.Seq[[]row] {
	var tail [tailLength]byte
	at, i, _ := v.find(string(id[:]) + string(tail[:]))
	return v.pages(at, i)
}

func (v *view) pages(at, i int) iter.Seq[[]row] {
	return func(yield func([]row) bool) {
		var page []row
		for ; at < len(v.leaves); at, i = at+1, 0 {
			for rows := v.leaves[at].rows; i < len(rows); i++ {
				if len(page) > 0 && !samePage(v, &page[0], &rows[i]) {
					if !yield(page) {
						return
					}
					page = page[:0]
				}
				page = append(page, rows[i])
			}
		}
		if len(page) > 0 {
			yield(page)
		}
	}
}

// wide returns the Row of a row; its texts are parts of the view's.
func (v *view) wide(r *row) Row {
	wide := Row{
		Serial: cert.Serial(v.serial(r)), Name: v.name(r),
		Issuer: v.words[r.issuer], Role: v.words[r.role], Profile: v.words[r.profile], Owner: v.words[r.owner],
		NotBefore: moment(r.notBefore), NotAfter: moment(r.notAfter), KeyHash: v.texts.keyHash(r.text),
		RevokedAt: moment(r.revokedAt), Reason: cert.Reason(r.state & reasonBits), Resumed: moment(r.resumed()),
		Sequence: r.sequence, Unstored: r.has(unstored),
	}
	if r.revokedAt != 0 {
		wide.Invalidity = moment(r.invalid)
	}
	return wide
}

// own returns the leaf at a place of the list, copied if a snapshot shares it.
func (t *table) own(at int) *leaf {
	if t.frozen {
		t.leaves, t.frozen = slices.Clone(t.leaves), false
	}
	l := t.leaves[at]
	if l.epoch != t.epoch {
		copied := *l
		copied.rows = append(make([]row, 0, leafRows), l.rows...)
		copied.epoch = t.epoch
		l = &copied
		t.leaves[at] = l
	}
	return l
}

// put inserts the row or replaces that of the same serial. Name and key come from
// the certificate and so are the same whenever a serial is put again. segment is the
// one that has the row, 0 when nothing is known of that which was not before.
func (t *table) put(wide *Row, m marks, segment uint32) {
	v := t.view()
	at, i, found := v.find(string(wide.Serial))
	r := row{
		serialLen: uint8(len(wide.Serial)), nameLen: uint16(len(wide.Name)),
		state:  uint8(m) | uint8(wide.Reason)&reasonBits,
		issuer: t.words.put(wide.Issuer), role: t.words.put(wide.Role),
		profile: t.words.put(wide.Profile), owner: t.words.put(wide.Owner),
		notBefore: seconds(wide.NotBefore), notAfter: seconds(wide.NotAfter),
		revokedAt: seconds(wide.RevokedAt), invalid: seconds(wide.Invalidity), sequence: wide.Sequence,
		segment: segment,
	}
	if r.revokedAt == 0 {
		r.invalid = seconds(wide.Resumed)
	}
	if found {
		l := t.own(at)
		old := &l.rows[i]
		t.keys.compare(wide.KeyHash, old, &r)
		r.text, r.olderKey, r.newerKey, r.nameLen = old.text, old.olderKey, old.newerKey, old.nameLen
		if segment == 0 {
			r.segment = old.segment
		}
		l.tally(old, -1)
		*old = r
		l.tally(old, 1)
		return
	}
	r.text = t.arena.put(wide.KeyHash, string(wide.Serial), wide.Name)
	if t.byKey == nil {
		t.byKey = map[[8]byte]uint32{}
	}
	r.olderKey, t.byKey[wide.KeyHash] = t.byKey[wide.KeyHash], r.text
	older := t.at(r.olderKey)
	if older != nil {
		older.newerKey = r.text
	}
	t.keys.compare(wide.KeyHash, older, &r)
	t.insert(at, i, r)
}

// insert puts a new row at the place that find returned for it.
func (t *table) insert(at, i int, r row) {
	t.count++
	// find names the start of the next leaf when the row belongs behind a leaf's last.
	if i == 0 && at > 0 {
		at--
		i = len(t.leaves[at].rows)
	}
	if at == len(t.leaves) || i == leafRows && at == len(t.leaves)-1 {
		// Rows mostly arrive in the order of their hours: leaves filled one after the
		// other are left full.
		if t.frozen {
			t.leaves, t.frozen = slices.Clone(t.leaves), false
		}
		t.leaves = append(t.leaves, &leaf{rows: make([]row, 0, leafRows), epoch: t.epoch})
		at, i = len(t.leaves)-1, 0
	}
	l := t.own(at)
	if len(l.rows) == leafRows {
		right := t.split(at)
		if i > leafRows/2 {
			l, i = right, i-leafRows/2
		}
	}
	l.rows = slices.Insert(l.rows, i, r)
	l.tally(&l.rows[i], 1)
	if i == 0 {
		texts := t.arena.view()
		l.low = texts.serial(r.text)
	}
}

// split moves the upper half of a leaf that the table owns into a new one behind it.
func (t *table) split(at int) *leaf {
	l := t.leaves[at]
	right := &leaf{rows: append(make([]row, 0, leafRows), l.rows[leafRows/2:]...), epoch: t.epoch}
	l.rows = l.rows[:leafRows/2]
	texts := t.arena.view()
	right.low = texts.serial(right.rows[0].text)
	for i := range right.rows {
		right.tally(&right.rows[i], 1)
		l.tally(&right.rows[i], -1)
	}
	t.leaves = slices.Insert(t.leaves, at+1, right)
	return right
}

func (l *leaf) tally(r *row, by int) {
	if r.revokedAt != 0 {
		l.revoked += by
	}
	if r.has(fresh) {
		l.fresh += by
	}
	l.high = max(l.high, r.sequence)
}

// mark sets and clears marks of a row; nothing happens when it is not there.
func (t *table) mark(serial string, set, unset marks) {
	v := t.view()
	at, i, found := v.find(serial)
	if !found || marks(v.leaves[at].rows[i].state)&(set|unset) == set {
		return
	}
	l := t.own(at)
	r := &l.rows[i]
	l.tally(r, -1)
	r.state = r.state&^uint8(unset) | uint8(set)
	l.tally(r, 1)
}
