// Package crl promises a certificate revocation list per issuer that is whole, in
// order and never goes backwards: a streamed encoder, chunked storage under an
// increasing number, and a head that names the newest.
package crl

import (
	"context"
	"io"
	"iter"
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
}

// List is a tbsCertList without its entries.
type List struct {
	Number     int64
	ThisUpdate time.Time
	NextUpdate time.Time
	// OnlyCACerts and OnlyUserCerts add a critical IssuingDistributionPoint.
	OnlyCACerts, OnlyUserCerts bool
}

// Encode streams a signed CRL in DER to w: entries is walked twice (lengths first,
// then octets) and must yield the same entries in the same order both times.
func Encode(w io.Writer, authority *sign.Authority, list List, entries iter.Seq[Entry]) error {
	panic("not written")
}

// Settings are config/crl with the built-in engine's fields and defaults.
type Settings struct {
	Expiry string `json:"expiry"`
}

// Source tells the room which issuers publish CRLs and lets it sign.
type Source interface {
	// Authority returns the CA whose CRL is to be signed; usage crl-signing checked.
	Authority(ctx context.Context, issuer string) (*sign.Authority, error)
	// Publishers returns the ids of all issuers that sign CRLs.
	Publishers(ctx context.Context) ([]string, error)
}

// Config says what a Service works on.
type Config struct {
	Store  kv.Store
	Ledger *ledger.Ledger
	Source Source
	Log    hclog.Logger
	Now    func() time.Time
}

// Head describes the newest CRL of an issuer.
type Head struct {
	Number     int64     `json:"number"`
	ThisUpdate time.Time `json:"this_update"`
	NextUpdate time.Time `json:"next_update"`
	Entries    int       `json:"entries"`
	Size       int       `json:"size"`
	Chunks     int       `json:"chunks"`
	SHA256     []byte    `json:"sha256"`
}

// Service keeps the CRLs of one mount.
type Service struct{}

// New returns a service that has touched no storage.
func New(config Config) *Service { panic("not written") }

// Rebuild makes, stores and returns the next CRL of an issuer.
func (s *Service) Rebuild(ctx context.Context, issuer string) (Head, error) { panic("not written") }

// RebuildAll rebuilds every issuer's CRL and joins the errors.
func (s *Service) RebuildAll(ctx context.Context) error { panic("not written") }

// Get returns the newest CRL in DER with no signing: from memory, else from
// storage. A nil body when the issuer has none yet.
func (s *Service) Get(ctx context.Context, issuer string) ([]byte, Head, error) { panic("not written") }

// Revoked notes that an issuer's list changed: it is rebuilt at once for
// keyCompromise, else within the rebuild delay, in the background.
func (s *Service) Revoked(issuer string, reason cert.Reason) { panic("not written") }

// Tick rebuilds what is due: lists past half of their life. It returns when done.
func (s *Service) Tick(ctx context.Context) error { panic("not written") }

// Settings returns config/crl, defaults included.
func (s *Service) Settings(ctx context.Context) (Settings, error) { panic("not written") }

// PutSettings validates and stores config/crl.
func (s *Service) PutSettings(ctx context.Context, settings Settings) error { panic("not written") }

// Close stops background work and waits for it no longer than a moment.
func (s *Service) Close() { panic("not written") }
