// Package keyring promises that a CA key is used without being seen: keys have an
// id and an optional name, live in Vault storage or in a token, and are handed out
// only as a crypto.Signer. A key belongs to the mount that made it.
package keyring

import (
	"context"
	"crypto"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
)

// Key is the record of one key, without its private part.
type Key struct {
	ID        string        `json:"id"`
	Name      string        `json:"name"`
	Spec      cert.KeySpec  `json:"spec"`
	SPKI      []byte        `json:"spki"` // SubjectPublicKeyInfo, DER
	Token     string        `json:"token,omitempty"`
	TokenID   []byte        `json:"token_id,omitempty"` // CKA_ID
	Exported  bool          `json:"exported,omitempty"`
	Evidence  *hsm.Evidence `json:"evidence,omitempty"`
	CreatedAt int64         `json:"created_at"` // seconds since 1970
}

// TokenConfig is a token as an operator declares it (hsm/:name). The PIN is
// write-only.
type TokenConfig struct {
	Module      string `json:"module"`
	TokenLabel  string `json:"token_label"`
	TokenSerial string `json:"token_serial"`
	PIN         string `json:"pin"`
	MaxSessions int    `json:"max_sessions"`
}

// Config says what a Ring works on.
type Config struct {
	Store kv.Store
	Log   hclog.Logger
	// Mount identifies the mount (its UUID): part of every CKA_ID made here, so
	// that another mount on the same token cannot adopt the key (hsm-3).
	Mount string
}

// Ring is the keys and tokens of one mount. Its signers are cached.
type Ring struct{}

// New returns the ring; it touches neither storage nor tokens.
func New(config Config) *Ring { panic("not written") }

// Public returns the public key.
func (k *Key) Public() (crypto.PublicKey, error) { panic("not written") }

// Generate makes a key: in the token named token, or in storage when token is "".
func (r *Ring) Generate(ctx context.Context, name string, spec cert.KeySpec, token string) (*Key, error) {
	panic("not written")
}

// Import stores a PEM private key (PKCS#8, PKCS#1 or SEC 1) after CheckKey. When the
// key is there already, it returns that one and existing true.
func (r *Ring) Import(ctx context.Context, name string, pem []byte) (key *Key, existing bool, err error) {
	panic("not written")
}

// Get returns the key with an id or a name. NotFound when there is none.
func (r *Ring) Get(ctx context.Context, ref string) (*Key, error) { panic("not written") }

// FindPublic returns the key that has this public key, or nil.
func (r *Ring) FindPublic(ctx context.Context, pub crypto.PublicKey) (*Key, error) {
	panic("not written")
}

// List returns all keys, ordered by id.
func (r *Ring) List(ctx context.Context) ([]*Key, error) { panic("not written") }

// Rename gives a key another name, which must be unused.
func (r *Ring) Rename(ctx context.Context, id, name string) (*Key, error) { panic("not written") }

// Delete removes a key from the ring: its record, and for a storage key the key. A
// token key stays in the token (destroying it is another operation).
func (r *Ring) Delete(ctx context.Context, id string) error { panic("not written") }

// Signer returns the signer of a key. For a token key that is a cached handle that
// reopens the token when it has been lost; Unavailable while it cannot.
func (r *Ring) Signer(ctx context.Context, id string) (crypto.Signer, error) { panic("not written") }

// Export returns the PKCS#8 PEM of a storage key made exportable. It is the only
// way out, for keys/generate/exported.
func (r *Ring) Export(ctx context.Context, id string) (string, error) { panic("not written") }

// PutToken writes a token's config after opening the token with it; the PIN of an
// earlier config is kept when the new one has none. It clears a PIN latch.
func (r *Ring) PutToken(ctx context.Context, name string, config TokenConfig) error {
	panic("not written")
}

// GetToken returns a token's config, with its PIN removed. NotFound when absent.
func (r *Ring) GetToken(ctx context.Context, name string) (*TokenConfig, error) {
	panic("not written")
}

// DeleteToken forgets a token; Conflict while keys of the ring live in it.
func (r *Ring) DeleteToken(ctx context.Context, name string) error { panic("not written") }

// ListTokens returns the names of the tokens.
func (r *Ring) ListTokens(ctx context.Context) ([]string, error) { panic("not written") }

// TokenStatus reports on a token without failing for an unreachable one.
func (r *Ring) TokenStatus(ctx context.Context, name string) (hsm.Status, error) {
	panic("not written")
}

// Default key: config/keys.

// DefaultKey returns the id of the default key, "" when there is none.
func (r *Ring) DefaultKey(ctx context.Context) (string, error) { panic("not written") }

// SetDefaultKey sets the default key by id or name.
func (r *Ring) SetDefaultKey(ctx context.Context, ref string) (string, error) { panic("not written") }

// Invalidate drops cached state after another node changed storage.
func (r *Ring) Invalidate() { panic("not written") }

// Close releases tokens and cached signers. It returns at once.
func (r *Ring) Close() { panic("not written") }
