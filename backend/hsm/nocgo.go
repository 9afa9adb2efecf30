//go:build !cgo

package hsm

import (
	"context"
	"crypto"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Token is one token of this process; this build cannot open any.
type Token struct{}

// errNoCgo is the answer of this build to everything.
var errNoCgo = fault.New(fault.Unavailable,
	"this build has no PKCS#11 support: use the release built with cgo for your platform, or build with CGO_ENABLED=1 and a C compiler")

// Open fails: this build has no PKCS#11 support. A config or module that would be
// refused with PKCS#11 is refused here as well.
func Open(_ context.Context, config Config) (*Token, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	if _, err := resolveModule(config.Module); fault.Is(err, fault.Denied) {
		return nil, err
	}
	return nil, errNoCgo
}

// Offer fails like Open.
func Offer(ctx context.Context, config Config) (*Token, error) { return Open(ctx, config) }

// Close does nothing.
func (t *Token) Close() {}

// Serial returns "".
func (t *Token) Serial() string { return "" }

// Generate fails: this build has no PKCS#11 support.
func (t *Token) Generate(context.Context, cert.KeySpec, []byte, string) (crypto.Signer, Evidence, error) {
	return nil, Evidence{}, errNoCgo
}

// Find fails: this build has no PKCS#11 support.
func (t *Token) Find(context.Context, []byte, crypto.PublicKey) (crypto.Signer, error) {
	return nil, errNoCgo
}

// Search fails: this build has no PKCS#11 support.
func (t *Token) Search(context.Context, crypto.PublicKey, []byte, string) (crypto.Signer, Found, error) {
	return nil, Found{}, errNoCgo
}

// Look fails: this build has no PKCS#11 support.
func (t *Token) Look(context.Context, []byte, string) (crypto.Signer, Found, error) {
	return nil, Found{}, errNoCgo
}

// Evidence fails: this build has no PKCS#11 support.
func (t *Token) Evidence(context.Context, []byte) (Evidence, error) { return Evidence{}, errNoCgo }

// List fails: this build has no PKCS#11 support.
func (t *Token) List(context.Context, []byte) ([]Pair, error) { return nil, errNoCgo }

// Destroy fails: this build has no PKCS#11 support.
func (t *Token) Destroy(context.Context, []byte) error { return errNoCgo }

// DestroyOrphan fails: this build has no PKCS#11 support.
func (t *Token) DestroyOrphan(context.Context, []byte) error { return errNoCgo }

// Status says that this build has no PKCS#11 support.
func (t *Token) Status(context.Context) Status { return Status{LastError: errNoCgo.Error()} }
