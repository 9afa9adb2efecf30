// Package crl promises a certificate revocation list per CA, a name and a key whatever
// certificates it has, that is whole, in order and never goes backwards: a streamed encoder, chunked storage under an
// increasing number, and a head that names the newest. A reader sees the old list
// or the new one, never a mix, wherever a rebuild was cut short.
package crl

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// Entry is one revoked certificate (RFC 5280 section 5.3).
type Entry struct {
	Serial       cert.Serial
	RevokedAt    time.Time
	Reason       cert.Reason
	InvalidityAt time.Time // zero: omitted

	// removed makes it an entry of a delta: the certificate is off hold.
	removed bool
	// carried is the whole DER of an entry that another list has, see Carry.
	carried string
}

// List is a tbsCertList without its entries. Times count in whole seconds.
type List struct {
	Number     cert.CRLNumber
	ThisUpdate time.Time
	NextUpdate time.Time
	// OnlyCACerts and OnlyUserCerts add a critical IssuingDistributionPoint; at
	// most one of them may be set (RFC 5280 section 5.2.5).
	OnlyCACerts, OnlyUserCerts bool
	// AnyKeyID leaves authorityKeyIdentifier out: the certificates of the CA have several
	// subjectKeyIdentifiers, and OpenSSL passes over a list that names another one than
	// the certificate that it has. RFC 5280 section 5.2.1 wants the extension.
	AnyKeyID bool
	// Points are the URLs of the distribution point whose certificates alone are
	// covered: a shard. They make a critical IssuingDistributionPoint.
	Points []string
	// Base makes it a delta of the complete list with that number, in a critical
	// DeltaCRLIndicator (section 5.2.4); 0: it is complete.
	Base cert.CRLNumber
	// Freshest are the URLs of the delta that belongs to this complete list (section
	// 5.2.6).
	Freshest []string
}

// Source tells the room which CAs publish CRLs and lets it sign. An issuer is a
// certificate of a CA; lists, their numbers and their places belong to the CA. Callers of
// this room may name a CA by any of its issuers.
type Source interface {
	// CA returns the id of the CA that an issuer is a certificate of. The id of a CA, and
	// one that is not known, is returned as it is.
	CA(ctx context.Context, issuer string) (string, error)
	// Issuers returns the ids under which the ledger has the certificates of a CA; none
	// for a CA that is not known.
	Issuers(ctx context.Context, ca string) ([]string, error)
	// Authority returns the CA whose CRL is to be signed; usage crl-signing checked.
	Authority(ctx context.Context, ca string) (*sign.Authority, error)
	// Publishers returns the ids of all CAs that sign CRLs.
	Publishers(ctx context.Context) ([]string, error)
	// Points returns where the certificates of a CA say that its lists are.
	Points(ctx context.Context, ca string) (Points, error)
	// Retention returns how long after their end revoked certificates of a profile
	// stay on the list, from the name@version that they were issued under.
	Retention(ctx context.Context, profile string) (time.Duration, error)
}

// Points are the URLs that certificates of a CA name now.
type Points struct {
	CRL   []string // {{crl_shard}} in them is not replaced
	Delta []string // freshestCRL
	// AnyKeyID says that the certificates of the CA have several subjectKeyIdentifiers.
	AnyKeyID bool
}

// Config says what a Service works on. A nil Log discards.
type Config struct {
	Store  kv.Store
	Ledger *ledger.Ledger
	Source Source
	Log    hclog.Logger
	Now    func() time.Time
}

// Head describes the newest CRL of a CA. The zero Head stands for none, see
// Service.Forget.
type Head struct {
	// Number counts the editions of a list for storage and edges. It is the CRL number
	// too, unless CRL is there.
	Number int64 `json:"number"`
	// CRL is the CRL number of an imported list that Number cannot hold: 0, or beyond
	// what JSON numbers hold exactly; and of the lists made here after such a one.
	CRL        *cert.CRLNumber `json:"crl_number,omitempty"`
	ThisUpdate time.Time       `json:"this_update"`
	NextUpdate time.Time       `json:"next_update"`
	Entries    int             `json:"entries"`
	// Made is when the list was made; zero: at ThisUpdate.
	Made time.Time `json:"made,omitzero"`
	// Ended counts the entries of certificates that had ended at ThisUpdate.
	Ended  int    `json:"ended,omitempty"`
	Size   int    `json:"size"`   // octets of DER
	Chunks int    `json:"chunks"` // storage entries that hold them
	SHA256 []byte `json:"sha256"` // of the whole DER
	// Through is a sequence number of the ledger: revocations up to it are on the list.
	// 0 for a list without entries, see Settings.Disable.
	Through uint64 `json:"through,omitempty"`
	// Base is the number of the complete list that a delta is about; 0: no delta.
	Base int64 `json:"base,omitempty"`
	// Before are the complete lists before this one that relying parties may still
	// hold, the oldest first; kept while deltas are published.
	Before []Earlier `json:"before,omitempty"`
	// URLs are those in the list: of a shard's distribution point, of the delta in a
	// complete list.
	URLs []string `json:"urls,omitempty"`
	// Imported says that the list was signed elsewhere and brought in.
	Imported   bool      `json:"imported,omitempty"`
	ImportedAt time.Time `json:"imported_at,omitzero"`
	// Aside are entries of a complete list that the ledger cannot have.
	Aside []Aside `json:"aside,omitempty"`
}

// CRLNumber returns the number in the list (RFC 5280 section 5.2.3).
func (h *Head) CRLNumber() cert.CRLNumber {
	if h.CRL != nil {
		return *h.CRL
	}
	return cert.CRLNumberFrom(h.Number)
}

// made returns when the list was made: ThisUpdate may lie before, see
// Settings.ThisUpdateBackdate.
func (h *Head) made() time.Time {
	if h.Made.IsZero() {
		return h.ThisUpdate
	}
	return h.Made
}

// Earlier is what a delta has to know of a complete list.
type Earlier struct {
	Number     int64     `json:"number"`
	Through    uint64    `json:"through"`
	NextUpdate time.Time `json:"next_update"`
}
