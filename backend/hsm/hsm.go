// Package hsm promises PKCS#11 tokens that can be lost and come back: opened once
// per process however many mounts use them, chosen by label or serial number,
// bounded in sessions, never waited for without a deadline, never logged in to
// again after a wrong PIN, and keys found by CKA_ID and compared with the public
// key that is on record.
package hsm

import (
	"context"
	"crypto"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// Config names one token. Exactly one of TokenLabel and TokenSerial is set.
type Config struct {
	Module      string // path of the PKCS#11 library; must be in the allow-list
	TokenLabel  string
	TokenSerial string
	PIN         string
	MaxSessions int // 0: 8
}

// Evidence is what the token said about a private key when it was read back: a
// statement of the module, not a proof.
type Evidence struct {
	Local            bool `json:"local"`
	AlwaysSensitive  bool `json:"always_sensitive"`
	NeverExtractable bool `json:"never_extractable"`
	Sensitive        bool `json:"sensitive"`
	Extractable      bool `json:"extractable"`
}

// Status is what an operator sees of a token.
type Status struct {
	Reachable    bool
	PINLatched   bool // a wrong PIN was seen; no login until the config is written again
	Label        string
	Serial       string
	Manufacturer string
	Model        string
	Firmware     string
	Mechanisms   []string
	LastError    string
	LastErrorAt  time.Time
}

// AllowedModules returns the allow-list: PKI_PKCS11_MODULES split at ":", or the
// well-known vendor paths.
func AllowedModules() []string { panic("not written") }

// Token is one token of this process, shared by everyone who opened it.
type Token struct{}

// Open returns the token, opening its library and logging in if nobody did yet.
// The PIN is compared with the one in use. Unavailable when the token cannot be
// reached; Denied for a wrong PIN (latched) or a module outside the allow-list.
func Open(ctx context.Context, config Config) (*Token, error) { panic("not written") }

// Close releases the caller's share of the token.
func (t *Token) Close() { panic("not written") }

// Generate makes a key pair in the token under CKA_ID id with the attributes of
// dependencies.md and reads them back.
func (t *Token) Generate(ctx context.Context, spec cert.KeySpec, id []byte, label string) (crypto.Signer, Evidence, error) {
	panic("not written")
}

// Find returns the signer for the private key with CKA_ID id, compared with pub.
// NotFound when the token has no such key; Conflict when its public key differs.
func (t *Token) Find(ctx context.Context, id []byte, pub crypto.PublicKey) (crypto.Signer, error) {
	panic("not written")
}

// Evidence reads the attributes of the private key with CKA_ID id.
func (t *Token) Evidence(ctx context.Context, id []byte) (Evidence, error) { panic("not written") }

// Destroy removes the key pair with CKA_ID id and proves its absence.
func (t *Token) Destroy(ctx context.Context, id []byte) error { panic("not written") }

// Status reports on the token without failing.
func (t *Token) Status(ctx context.Context) Status { panic("not written") }
