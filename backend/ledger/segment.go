package ledger

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

const segmentVersion = 2 // 1 had no bitResumed

// maxHeader is room for what goes before the rows apart from the texts.
const maxHeader = 128

// Segment is an immutable set of rows. Of several rows with one serial, in one
// segment or in many, the one with the highest Sequence is true.
type Segment struct {
	// Complete is an hour since 1970: the row of every certificate of that hour or
	// an earlier one is in this segment or in one with a lower number, or a dirty
	// marker names it.
	Complete uint32
	Zone     Zone
	Rows     []Row
	size     int // as stored
}

// Zone says what a segment holds, so that a whole segment can be passed over.
type Zone struct {
	FirstHour, LastHour         uint32 // of the serials made here; 0 for others
	FirstExpiry, LastExpiry     uint64 // seconds since the year 1
	FirstSequence, LastSequence uint64
	Revoked                     int
}

// segmentKey returns the storage key of a segment. Numbers have a fixed width, so
// that a listing is in their order.
func segmentKey(number uint64) string { return fmt.Sprintf("%s%016x", layout.Segment, number) }

// maxSegment is the highest number of a segment: rows in memory name theirs in 32
// bits, and it takes one write to use one up. There is no segment 0.
const maxSegment = 1<<32 - 1

// ParseSegmentKey returns the number of the segment that a storage key names.
func ParseSegmentKey(key string) (number uint64, ok bool) {
	digits, ok := strings.CutPrefix(key, layout.Segment)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, err == nil && segmentKey(number) == key && number > 0 && number <= maxSegment
}

// segmentWriter fills one segment with rows of a view.
type segmentWriter struct {
	view   *view
	zone   Zone
	rows   int
	body   []byte
	list   []string
	size   int // of list, encoded
	number map[uint32]uint64
}

func newSegmentWriter(v *view) *segmentWriter {
	return &segmentWriter{view: v, number: map[uint32]uint64{}}
}

// add appends the rows of one page, or nothing and false when they do not fit.
// Load takes a page for read when it meets one of its rows in a segment, so the
// rows of a page must not be torn apart by a crash between two segments.
func (w *segmentWriter) add(rows []row) bool {
	before, words, size := len(w.body), len(w.list), w.size
	for i := range rows {
		w.append(&rows[i])
	}
	if w.rows > 0 && maxHeader+w.size+len(w.body) > kv.MaxValue {
		w.body, w.size = w.body[:before], size
		w.list = w.list[:words]
		return false
	}
	for i := range rows {
		w.zone.include(w.view, &rows[i], w.rows == 0 && i == 0)
	}
	w.rows += len(rows)
	return true
}

func (z *Zone) include(v *view, r *row, first bool) {
	if first {
		*z = Zone{FirstHour: maxHour, FirstExpiry: r.notAfter, FirstSequence: r.sequence}
	}
	h, _ := Hour(cert.Serial(v.serial(r)))
	z.FirstHour, z.LastHour = min(z.FirstHour, h), max(z.LastHour, h)
	z.FirstExpiry, z.LastExpiry = min(z.FirstExpiry, r.notAfter), max(z.LastExpiry, r.notAfter)
	z.FirstSequence, z.LastSequence = min(z.FirstSequence, r.sequence), max(z.LastSequence, r.sequence)
	if r.revokedAt != 0 {
		z.Revoked++
	}
}

func (w *segmentWriter) word(id uint32) uint64 {
	n, found := w.number[id]
	if !found || n >= uint64(len(w.list)) || w.list[n] != w.view.words[id] {
		n = uint64(len(w.list))
		w.number[id] = n
		w.list = append(w.list, w.view.words[id])
		w.size += len(w.view.words[id]) + binary.MaxVarintLen16
	}
	return n
}

// The bits of a row in a segment beside the reason.
const (
	bitRevoked  = 0x10
	bitUnstored = 0x20
	bitResumed  = 0x40
)

func (w *segmentWriter) append(r *row) {
	b := w.body
	b = append(appendText(b, w.view.serial(r)), 0)
	flags := &b[len(b)-1]
	*flags = r.state & reasonBits
	if r.has(unstored) {
		*flags |= bitUnstored
	}
	switch {
	case r.revokedAt != 0:
		*flags |= bitRevoked
	case r.resumed() != 0:
		*flags |= bitResumed
	}
	for _, id := range []uint32{r.issuer, r.role, r.profile, r.owner} {
		b = binary.AppendUvarint(b, w.word(id))
	}
	b = appendText(b, w.view.name(r))
	b = binary.AppendUvarint(b, r.notBefore)
	b = binary.AppendUvarint(b, r.notAfter)
	hash := w.view.texts.keyHash(r.text)
	b = append(b, hash[:]...)
	b = binary.AppendUvarint(b, r.sequence)
	switch {
	case r.revokedAt != 0:
		b = binary.AppendUvarint(b, r.revokedAt)
		b = binary.AppendUvarint(b, r.invalid)
	case r.resumed() != 0:
		b = binary.AppendUvarint(b, r.resumed())
	}
	w.body = b
}

// value returns the segment as stored.
func (w *segmentWriter) value(complete hour) []byte {
	b := make([]byte, 0, maxHeader+w.size+len(w.body))
	b = append(b, segmentVersion)
	z := &w.zone
	for _, n := range []uint64{
		uint64(complete), uint64(z.FirstHour), uint64(z.LastHour), z.FirstExpiry, z.LastExpiry,
		z.FirstSequence, z.LastSequence, uint64(z.Revoked), uint64(len(w.list)),
	} {
		b = binary.AppendUvarint(b, n)
	}
	for _, word := range w.list {
		b = appendText(b, word)
	}
	return append(binary.AppendUvarint(b, uint64(w.rows)), w.body...)
}

// maxSequence is exact as a JSON number, and never reached.
const maxSequence = 1<<53 - 1

// minRow is the least that a row takes in a segment.
const minRow = 2 + 1 + 4 + 1 + 1 + 1 + 8 + 1

// DecodeSegment decodes a stored segment.
func DecodeSegment(raw []byte) (Segment, error) {
	d := decoder{rest: string(raw)}
	d.version(layout.Segment, segmentVersion)
	var s Segment
	s.Complete = uint32(d.atMost(maxHour))
	s.Zone = Zone{
		FirstHour: uint32(d.atMost(maxHour)), LastHour: uint32(d.atMost(maxHour)),
		FirstExpiry: d.seconds(), LastExpiry: d.seconds(),
		FirstSequence: d.atMost(maxSequence), LastSequence: d.atMost(maxSequence), Revoked: int(d.atMost(kv.MaxValue)),
	}
	list := make([]string, 0, 16)
	for n := d.atMost(uint64(len(d.rest))); n > 0 && d.err == nil; n-- {
		list = append(list, d.text())
	}
	n := d.atMost(uint64(len(d.rest) / minRow))
	s.Rows = make([]Row, n)
	for i := range s.Rows {
		s.Rows[i] = d.row(list)
	}
	if err := d.end(); err != nil {
		return Segment{}, err
	}
	return s, nil
}

// row reads one row of a segment.
func (d *decoder) row(list []string) Row {
	var r Row
	if r.Serial = cert.Serial(d.text()); d.err == nil && (len(r.Serial) == 0 || len(r.Serial) > cert.MaxSerialOctets) {
		d.fail("serial of %d octets", len(r.Serial))
	}
	flags := d.octet()
	r.Reason = cert.Reason(flags & reasonBits)
	if !r.Reason.Known() || flags&^(reasonBits|bitRevoked|bitUnstored|bitResumed) != 0 || flags&(bitRevoked|bitResumed) == bitRevoked|bitResumed {
		d.fail("row flags %#x are not known", flags)
	}
	r.Unstored = flags&bitUnstored != 0
	word := func() string {
		if n := d.uvarint(); n < uint64(len(list)) {
			return list[n]
		}
		d.fail("text is not in the list")
		return ""
	}
	r.Issuer, r.Role, r.Profile, r.Owner = word(), word(), word(), word()
	if r.Name = d.text(); len(r.Name) > MaxText {
		d.fail("name of %d octets", len(r.Name))
	}
	r.NotBefore, r.NotAfter = d.moment(), d.moment()
	copy(r.KeyHash[:], d.take(len(r.KeyHash)))
	r.Sequence = d.atMost(maxSequence)
	if flags&bitRevoked != 0 {
		if r.RevokedAt, r.Invalidity = d.moment(), d.moment(); d.err == nil && r.RevokedAt.IsZero() {
			d.fail("revoked row without a time")
		}
	}
	if flags&bitResumed != 0 {
		if r.Resumed = d.moment(); d.err == nil && r.Resumed.IsZero() {
			d.fail("resumed row without a time")
		}
	}
	return r
}
