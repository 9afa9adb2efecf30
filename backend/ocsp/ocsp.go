// Package ocsp promises truthful answers: RFC 6960 responses signed by a delegated
// responder, in which a serial that was never issued is unknown, and nothing is
// good before the ledger is loaded. Answering reads memory only: no storage
// operation, no CA key, however many ask.
//
// An Answerer is all of that without storage, so that others than a mount can answer
// from what they know; a Responder is the one of a mount.
package ocsp

import (
	"context"
	"crypto"
	"crypto/x509"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// Caps on requests, checked before or while they are decoded (dos-1).
const (
	MaxRequest = 64 << 10 // octets of a request
	MaxCertIDs = 16       // certificates asked about in one request
)

// Source is what the responder needs of the issuers.
type Source interface {
	Issuers
	// Delegate signs a responder certificate (profile ocsp-responder) for the public
	// key with the issuer's own key, and records it in the ledger before returning.
	Delegate(ctx context.Context, issuer string, pub crypto.PublicKey) (*x509.Certificate, error)
}

// Issuer is one CA that may be asked about; see Issuers. Usage ocsp-signing checked.
type Issuer struct {
	ID  string
	DER []byte
}

// Config says what a Responder works on. A nil Log discards.
type Config struct {
	Store  kv.Store
	Ledger *ledger.Ledger
	Source Source
	Log    hclog.Logger
	Now    func() time.Time
}

// Settings are the part of config/crl that concerns the responder.
type Settings struct {
	// Disabled makes every answer unauthorized.
	Disabled bool
	// Expiry is the distance from thisUpdate to nextUpdate; 0 leaves nextUpdate out,
	// which says that newer information is always available (RFC 6960 section 2.4).
	Expiry time.Duration
}

// DefaultSettings returns the settings of a Responder that was never configured.
func DefaultSettings() Settings { return Settings{Expiry: 12 * time.Hour} }
