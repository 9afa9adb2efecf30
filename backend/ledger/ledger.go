// Package ledger promises to know what was issued and what became of it: no
// certificate is handed out before its page is durable, a serial number names the
// page that records it, and what questions need is held in memory as rows.
//
// Three things are in storage. Pages hold the records, one Put for up to MaxPage
// certificates. Segments hold rows, many to a value, so that a start does not read
// every page. Dirty markers name rows that changed after a segment took them. The
// page is the truth; segments and markers only say where to look for it.
package ledger

import (
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
)

// Record is everything kept about one certificate. Times are kept in UTC and to
// the second, as certificates and CRLs carry them.
type Record struct {
	Serial     cert.Serial
	DER        []byte // empty only in an intent, see Intend
	Issuer     string // issuer id
	Role       string
	Profile    string // name@version
	Requester  string // entity id, "" for root and orphan tokens
	Owner      string
	Contacts   []string
	Metadata   map[string]string
	Replaces   cert.Serial
	IssuedAt   time.Time
	KeyHash    cert.Fingerprint // of the public key; Add derives it when it is zero
	Revocation *Revocation      // nil: not revoked
	Resumed    time.Time        // when its last suspension ended; zero: never, or it was revoked since
}

// Revocation says when and why a certificate was revoked.
type Revocation struct {
	At           time.Time
	Reason       cert.Reason
	InvalidityAt time.Time // zero: not stated
	Comment      string    // at most MaxComment octets
}

// Row is what questions need of one certificate, held in memory.
type Row struct {
	Serial     cert.Serial
	Issuer     string
	Role       string
	Profile    string
	Owner      string
	Name       string // the common name, or the first name; at most MaxText octets
	NotBefore  time.Time
	NotAfter   time.Time
	KeyHash    [8]byte   // the first octets of the key's fingerprint
	RevokedAt  time.Time // zero: not revoked
	Reason     cert.Reason
	Invalidity time.Time
	Resumed    time.Time // see Record
	Sequence   uint64    // grows with every change of any row, below 2^53, also across restarts
	Unstored   bool      // no_store: there is no record to Get
}

// Config says what a Ledger works on.
type Config struct {
	Store kv.Store
	Log   hclog.Logger // nil: no log
	Now   func() time.Time
	// Learnt, unless nil, is told of a revocation, suspension or resumption that Flush
	// found in storage although it had been answered with an error, so that it is
	// published like any other. The reason of a resumption is removeFromCRL.
	Learnt func(issuer string, reason cert.Reason)
}

// stripes is the number of page locks; pages share them by an octet of their
// random number.
const stripes = 256

// Ledger is the ledger of one mount. All methods may be called at the same time.
//
// Locks are taken in the order maintenance, page, mu.
type Ledger struct {
	store  kv.Store
	log    hclog.Logger
	now    func() time.Time
	learnt func(issuer string, reason cert.Reason)

	// maintenance lets one Load, Flush or step of Tidy run at a time.
	maintenance sync.Mutex
	segments    segmentList // guarded by maintenance
	horizon     horizon     // guarded by maintenance

	// pages serialises what reads a page and then writes it or its rows: whoever
	// holds a page's lock and has read the page knows the truth until it lets go.
	pages [stripes]sync.Mutex

	// mu guards state. It is never held across a storage operation.
	mu     sync.RWMutex
	state  state
	loaded atomic.Bool

	walks walks // taken before mu
}

// state is what the ledger holds in memory, guarded by Ledger.mu.
type state struct {
	table    table
	sequence uint64
	// closed is the newest hour of which every page has rows and to which no page
	// is added any more.
	closed hour
	// unsettled holds the pages for which a Put has begun that is not known to
	// have ended well; true when it has failed and storage must be asked.
	unsettled map[pageID]bool
	// markers holds serials of which a marker may be in storage that no row's mark
	// speaks of: its Put was answered with an error, or there was no row.
	markers map[cert.Serial]bool
	// ended is the moment, as seconds has it, before which Load shows only what the
	// horizon keeps: no row that ended before may be added.
	ended uint64

	// refused is set when storage turned out to be of a newer release; read without mu.
	refused atomic.Pointer[error]

	self   birth   // of this process; immutable
	chain  []birth // what Load wrote in the fence, this process last
	stored uint32  // number of the newest segment that is in storage
}

// New returns a ledger that has loaded nothing and touched no storage.
func New(config Config) *Ledger {
	log := config.Log
	if log == nil {
		log = hclog.NewNullLogger()
	}
	// Rows that were not in a segment get new sequence numbers at a restart. Counting
	// on from the clock puts those above every number that the last process gave out,
	// so a reader's cursor never jumps over a change; see Changes for a clock that
	// went back.
	self := birth{from: uint64(max(config.Now().UnixMilli(), 0)) << 10, found: notKnown}
	_, _ = rand.Read(self.id[:]) // never fails
	return &Ledger{
		store: config.Store, log: log, now: config.Now, learnt: config.Learnt,
		state: state{
			sequence:  self.from,
			unsettled: map[pageID]bool{},
			markers:   map[cert.Serial]bool{},
			self:      self,
		},
	}
}

// Loaded reports whether the rows are complete.
func (l *Ledger) Loaded() bool { return l.loaded.Load() }

// questionable refuses questions until the rows are complete (rev-3).
func (l *Ledger) questionable() error {
	if !l.loaded.Load() {
		if err := l.refusal(); err != nil {
			return err
		}
		return fault.New(fault.Unavailable, "the ledger is still loading; ask again in a moment")
	}
	return nil
}

// Count returns the number of rows in memory; before Loaded, of those so far.
func (l *Ledger) Count() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.table.count
}

// CountRevoked returns how many of the rows in memory are revoked.
func (l *Ledger) CountRevoked() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n := 0
	for _, leaf := range l.state.table.leaves {
		n += leaf.revoked
	}
	return n
}

// Sequence returns the highest sequence number given out: a later snapshot has every
// row up to it as that number stands for.
func (l *Ledger) Sequence() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.sequence
}

// Row returns the row of a serial number. Unavailable until loaded.
func (l *Ledger) Row(serial cert.Serial) (row Row, found bool, err error) {
	if err := l.questionable(); err != nil {
		return Row{}, false, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	v := l.state.table.view()
	compact, found := v.get(string(serial))
	if !found {
		return Row{}, false, nil
	}
	return v.wide(compact), true, nil
}

// snapshot returns a view that no later write changes.
func (l *Ledger) snapshot() (view, error) {
	if err := l.questionable(); err != nil {
		return view{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.table.freeze(), nil
}

// SequenceTime returns a time that had come when the sequence number of a row was given
// out.
func SequenceTime(sequence uint64) time.Time {
	return time.UnixMilli(int64(sequence >> 10)).UTC()
}
