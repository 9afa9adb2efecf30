// Package ledger promises to know what was issued and what became of it: no
// certificate is handed out before its page is durable, a serial number names the
// page that records it, and what questions need is held in memory as rows.
package ledger

import (
	"context"
	"iter"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
)

// Record is everything kept about one certificate.
type Record struct {
	Serial     cert.Serial
	DER        []byte
	Issuer     string // issuer id
	Role       string
	Profile    string // name@version
	Requester  string // entity id, "" for root and orphan tokens
	Owner      string
	Contacts   []string
	Metadata   map[string]string
	Replaces   cert.Serial
	IssuedAt   time.Time
	KeyHash    cert.Fingerprint
	Revocation *Revocation // nil: not revoked
}

// Revocation says when and why a certificate was revoked.
type Revocation struct {
	At           time.Time
	Reason       cert.Reason
	InvalidityAt time.Time // zero: not stated
	Comment      string
}

// Row is what questions need of one certificate, held in memory.
type Row struct {
	Serial     cert.Serial
	Issuer     string
	Role       string
	Profile    string
	Owner      string
	Name       string // the common name, or the first name
	NotBefore  time.Time
	NotAfter   time.Time
	KeyHash    [8]byte
	RevokedAt  time.Time // zero: not revoked
	Reason     cert.Reason
	Invalidity time.Time
	Sequence   uint64
}

// Config says what a Ledger works on.
type Config struct {
	Store kv.Store
	Log   hclog.Logger
	Now   func() time.Time
}

// Ledger is the ledger of one mount.
type Ledger struct{}

// New returns a ledger that has loaded nothing and touched no storage.
func New(config Config) *Ledger { panic("not written") }

// Load reads the rows into memory. Until it has returned without error, Loaded is
// false and questions answer Unavailable.
func (l *Ledger) Load(ctx context.Context) error { panic("not written") }

// Loaded reports whether the rows are complete.
func (l *Ledger) Loaded() bool { panic("not written") }

// MaxPage is the largest number of certificates on one page.
const MaxPage = 256

// NewPage reserves a page for up to n certificates, 1 <= n <= MaxPage. It touches no storage.
func (l *Ledger) NewPage(n int) (*Page, error) { panic("not written") }

// Page is a set of certificates recorded by one write.
type Page struct{}

// Serial returns a fresh serial number on this page: at least 64 bits from the
// CSPRNG, never the same twice.
func (p *Page) Serial() cert.Serial { panic("not written") }

// Add puts a signed certificate on the page. Its serial must be of this page.
func (p *Page) Add(record Record) error { panic("not written") }

// Commit makes the page durable with one Put, then its rows visible. Nothing on
// the page may leave the process before Commit returned nil. When Commit fails, the
// certificates are lost for good: the caller must not hand them out.
func (l *Ledger) Commit(ctx context.Context, p *Page) error { panic("not written") }

// Note adds the row of a certificate that is not stored (no_store): no Put. It is
// lost in a crash unless a segment was flushed since.
func (l *Ledger) Note(record Record) { panic("not written") }

// Get returns the record of a serial number with one Get; NotFound when there is none.
func (l *Ledger) Get(ctx context.Context, serial cert.Serial) (*Record, error) { panic("not written") }

// Revoke marks the certificate as revoked: 1 Get and at most 2 Puts. Revoking what
// is revoked already changes nothing and returns the record as it is with changed
// false.
func (l *Ledger) Revoke(ctx context.Context, serial cert.Serial, r Revocation) (record *Record, changed bool, err error) {
	panic("not written")
}

// Row returns the row of a serial number. Unavailable until loaded.
func (l *Ledger) Row(serial cert.Serial) (row Row, found bool, err error) { panic("not written") }

// Revoked iterates over the revoked rows of an issuer in the order of serials.
// Unavailable until loaded.
func (l *Ledger) Revoked(issuer string) (iter.Seq[Row], error) { panic("not written") }

// Rows iterates over all rows in the order of serials, after a serial ("" for the
// start). Unavailable until loaded.
func (l *Ledger) Rows(after cert.Serial) (iter.Seq[Row], error) { panic("not written") }

// ByKey iterates over rows whose certificate has this public key.
func (l *Ledger) ByKey(key cert.Fingerprint) (iter.Seq[Row], error) { panic("not written") }

// Flush writes the rows that no segment holds yet into new segments.
func (l *Ledger) Flush(ctx context.Context) error { panic("not written") }
