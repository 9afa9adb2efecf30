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
	"vault-plugin-secrets-enterprise-pki/backend/sign"
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
	// key with the CA's own key, and records it in the ledger before returning.
	Delegate(ctx context.Context, ca string, pub crypto.PublicKey, validity time.Duration) (*x509.Certificate, error)
	// Direct returns the CA itself as one that signs; usage ocsp-signing checked.
	Direct(ctx context.Context, ca string) (*sign.Authority, error)
	// Belongs reports whether an issuer that the ledger names is a certificate of a CA.
	// It touches no storage. Unavailable while issuers are not known.
	Belongs(issuer, ca string) (bool, error)
	// Former returns the ids of the issuers of a CA, under which an earlier release kept
	// its responders.
	Former(ctx context.Context, ca string) ([]string, error)
}

// Issuer is one certificate of a CA that may be asked about; see Issuers. A CA has
// several when it was renewed or cross-signed: they have one ID, and the first is the one
// in whose name responders are certified. Usage ocsp-signing checked.
type Issuer struct {
	ID  string // of the CA
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

// NeverIssued is what is said of a serial number that was never issued. It is never
// good (ocsp-1).
type NeverIssued string

// The answers for serial numbers that were never issued; the zero one is SayUnknown.
const (
	SayUnknown NeverIssued = "unknown"
	// SayRevoked: revoked since 1970 for certificateHold, with the extension
	// extended-revoked (RFC 6960 sections 2.2 and 4.4.8).
	SayRevoked NeverIssued = "revoked"
	// SayUnauthorized: the whole answer is unauthorized, which costs no signature.
	SayUnauthorized NeverIssued = "unauthorized"
)

// Settings say how to answer.
type Settings struct {
	// Disabled makes every answer unauthorized.
	Disabled bool
	// Expiry is the distance from thisUpdate to nextUpdate; 0 leaves nextUpdate out,
	// which says that newer information is always available (RFC 6960 section 2.4).
	Expiry time.Duration
	// Backdate is how far thisUpdate lies in the past, for clients whose clocks are behind.
	Backdate time.Duration
	// NeverIssued is the answer for serial numbers that were never issued.
	NeverIssued NeverIssued
	// NoNonce leaves nonces unanswered, so that requests with one share an answer.
	NoNonce bool
	// NoSHA1 makes requests that name the issuer by SHA-1 unauthorized.
	NoSHA1 bool
	// ArchiveCutoff is how long after their end certificates are still answered for,
	// which answers then say (RFC 6960 section 4.4.4); 0: they do not.
	ArchiveCutoff time.Duration
}

// DefaultSettings returns the settings of a Responder that was never configured.
func DefaultSettings() Settings { return Settings{Expiry: 12 * time.Hour} }
