// Package ocsp promises truthful answers: RFC 6960 responses signed by a delegated
// responder, in which a serial that was never issued is unknown, and nothing is
// good before the ledger is loaded.
package ocsp

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// MaxRequest is the largest request that is decoded, in octets.
const MaxRequest = 64 << 10

// Source is what the responder needs of the issuers.
type Source interface {
	// Issuers returns every CA certificate that may be asked about, by issuer id.
	// It touches no storage.
	Issuers() []Issuer
	// Delegate signs a responder certificate (profile ocsp-responder) for the public
	// key with the issuer's own key, and records it in the ledger before returning.
	Delegate(ctx context.Context, issuer string, responder Delegation) (*sign.Authority, error)
}

// Issuer is one CA that may be asked about; see Source. Usage ocsp-signing checked.
type Issuer struct {
	ID  string
	DER []byte
}

// Delegation carries the key for which a responder certificate is wanted.
type Delegation struct{}

// Config says what a Responder works on.
type Config struct {
	Store  kv.Store
	Ledger *ledger.Ledger
	Source Source
	Log    hclog.Logger
	Now    func() time.Time
}

// Responder answers OCSP requests for all issuers of one mount.
type Responder struct{}

// New returns a responder that has touched nothing.
func New(config Config) *Responder { panic("not written") }

// Answer returns the DER of the response to a DER request: it never fails, does no
// storage operation and uses no CA key. maxAge is how long the answer may be
// cached, 0 for not at all.
func (r *Responder) Answer(request []byte) (response []byte, maxAge time.Duration) {
	panic("not written")
}

// Prepare makes sure that every issuer has a responder certificate that is valid
// and not past two thirds of its life; called at start and by Tick.
func (r *Responder) Prepare(ctx context.Context) error { panic("not written") }
