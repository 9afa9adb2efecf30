package ledger

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
)

// MaxPage is the largest number of certificates on one page.
const MaxPage = 256

// ErrFull is what Add answers when the page has no room left for a record that
// would fit on a page of its own. A signed certificate cannot move to another page,
// because its serial names this one: ask Fits before signing.
var ErrFull = fault.New(fault.TooLarge, "the page is full")

// pageRoom is what a page has for records, in octets, with their revocations.
const pageRoom = kv.MaxValue - 1 - pageIDLength - binary.MaxVarintLen16

// slack is how much longer a signed certificate may be than its draft: DER of an
// ECDSA signature varies by a few octets.
const slack = 16

// Page is a set of certificates recorded by one write. Its methods may be called
// at the same time.
type Page struct {
	id    pageID
	limit int

	mu     sync.Mutex // guards what follows
	tails  map[[tailLength]byte]bool
	lines  []line
	used   int
	closed bool
}

// line is one record of a page to be, encoded; row is nil for an intent.
type line struct {
	serial  cert.Serial
	encoded string
	row     *Row
}

// NewPage reserves a page for up to n certificates, 1 <= n <= MaxPage. It touches
// no storage. The page must be committed in this hour or the next.
func (l *Ledger) NewPage(n int) (*Page, error) {
	if n < 1 || n > MaxPage {
		return nil, fault.New(fault.Invalid, "a page holds 1 to %d certificates, not %d", MaxPage, n)
	}
	if err := l.refusal(); err != nil {
		return nil, err
	}
	l.mu.RLock()
	// A clock that went back must not put a page into an hour that a restart would
	// no longer look at.
	h := max(hourOf(l.now()), l.state.closed+1)
	l.mu.RUnlock()
	p := &Page{limit: n, tails: make(map[[tailLength]byte]bool, 1)}
	binary.BigEndian.PutUint32(p.id[0:4], uint32(h))
	p.id[0] = serialFormat
	rand.Read(p.id[4:])
	return p, nil
}

// Serial returns a fresh serial number on this page: at least 64 bits from the
// CSPRNG, never the same twice. One that is not used in the end costs nothing.
func (p *Page) Serial() cert.Serial {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		var tail [tailLength]byte
		rand.Read(tail[:])
		if !p.tails[tail] {
			p.tails[tail] = true
			return cert.Serial(append(slices.Clone(p.id[:]), tail[:]...))
		}
	}
}

// Fits reports whether Add would find room for all of the records. Ask it with the
// drafts' DER before the CA key signs: when they do not fit, commit this page with
// fewer, reserve the next one, and draft again with serials of that.
func (p *Page) Fits(records ...Record) bool {
	takes := 0
	for i := range records {
		takes += cost(len(encodeRecord(&records[i]))) + slack
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines)+len(records) <= p.limit && p.used+takes <= pageRoom
}

// intentRoom is kept free on a page for the certificate that an intent announces.
const intentRoom = 16 << 10

// cost is what a record of this encoded length takes of pageRoom: itself, its
// length, and what revoking it adds some day.
func cost(encoded int) int { return encoded + binary.MaxVarintLen32 + maxRevocation }

// Add puts a signed certificate on the page. Its serial must be of this page and
// equal to that in the DER. ErrFull when there is no room: see Fits.
func (p *Page) Add(record Record) error {
	s, err := summarise(record.DER)
	if err != nil {
		return err
	}
	if s.serial != record.Serial {
		return fault.New(fault.Internal, "record %s holds the certificate %s", record.Serial, s.serial)
	}
	if record.KeyHash == (cert.Fingerprint{}) {
		record.KeyHash = s.keyHash
	}
	row := rowOf(&record, &s)
	return p.add(&record, &row)
}

func (p *Page) add(record *Record, row *Row) error {
	if !p.id.holds(record.Serial) {
		return fault.New(fault.Internal, "serial %s is not of page %s", record.Serial, p.id.key())
	}
	if err := record.check(); err != nil {
		return err
	}
	encoded := encodeRecord(record)
	takes := cost(len(encoded))
	if row == nil {
		takes += intentRoom
	}
	if takes > pageRoom {
		return fault.New(fault.TooLarge, "record %s has %d bytes, more than a page holds (%d)", record.Serial, len(encoded), pageRoom)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fault.New(fault.Internal, "page %s was committed already", p.id.key())
	}
	used, at := p.used+takes, slices.IndexFunc(p.lines, func(l line) bool { return l.serial == record.Serial })
	switch {
	case at >= 0 && (p.lines[at].row != nil || row == nil):
		return fault.New(fault.Internal, "serial %s is on its page already", record.Serial)
	case at >= 0:
		used -= cost(len(p.lines[at].encoded)) + intentRoom
	case len(p.lines) == p.limit:
		return fault.New(fault.TooLarge, "page %s was reserved for %d: %w", p.id.key(), p.limit, ErrFull)
	}
	if used > pageRoom {
		return fault.New(fault.TooLarge, "adding %s: %w", record.Serial, ErrFull)
	}
	added := line{serial: record.Serial, encoded: string(encoded), row: row}
	if at < 0 {
		p.lines = append(p.lines, added)
	} else {
		p.lines[at] = added
	}
	p.used = used
	return nil
}

// value returns the page as stored and the rows of its certificates.
func (p *Page) value() ([]byte, []Row, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, fault.New(fault.Internal, "page %s was committed already", p.id.key())
	}
	if len(p.lines) == 0 {
		return nil, nil, fault.New(fault.Internal, "page %s is empty", p.id.key())
	}
	s := sheet{id: p.id, records: make([]string, 0, len(p.lines))}
	rows := make([]Row, 0, len(p.lines))
	for i := range p.lines {
		s.records = append(s.records, p.lines[i].encoded)
		if row := p.lines[i].row; row != nil {
			rows = append(rows, *row)
		}
	}
	return encodeSheet(s), rows, nil
}

func (p *Page) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}
