// Package keyring promises that a CA key is used without being seen: keys have an
// id and an optional name, live in Vault storage or in a token, and are handed out
// only as a crypto.Signer. A key belongs to the mount that made it.
//
// What is known of keys and tokens is kept in memory: warm, only writing costs
// storage operations. A token that cannot be reached costs only its own keys.
package keyring

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// Key is the record of one key, without its private part.
type Key struct {
	ID      string       `json:"id"` // UUID version 4 (RFC 9562)
	Name    string       `json:"name"`
	Spec    cert.KeySpec `json:"spec"`
	SPKI    []byte       `json:"spki"` // SubjectPublicKeyInfo, DER
	Token   string       `json:"token,omitempty"`
	TokenID []byte       `json:"token_id,omitempty"` // CKA_ID
	// TokenLabel is the CKA_LABEL of an adopted key that has no CKA_ID.
	TokenLabel string `json:"token_label,omitempty"`
	// AdoptedBy names the mount that adopted the key, in the form that begins the
	// CKA_IDs of its own keys; nil for a key that the mount made.
	AdoptedBy []byte        `json:"adopted_by,omitempty"`
	Exported  bool          `json:"exported,omitempty"` // the private key was handed out
	Evidence  *hsm.Evidence `json:"evidence,omitempty"`
	CreatedAt int64         `json:"created_at"` // seconds since 1970; 0 without a clock
}

// Public returns the public key.
func (k *Key) Public() (crypto.PublicKey, error) {
	pub, err := x509.ParsePKIXPublicKey(k.SPKI)
	if err != nil {
		return nil, fmt.Errorf("decoding public key of key %s: %w", k.ID, err)
	}
	return pub, nil
}

// Fingerprint returns the identity of the public key, as cert.KeyFingerprint does:
// SPKI is canonical, because it is encoded from the parsed key.
func (k *Key) Fingerprint() cert.Fingerprint { return cert.FingerprintOf(k.SPKI) }

// Config says what a Ring works on.
type Config struct {
	Store kv.Store
	Log   hclog.Logger // nil: no log
	// Mount identifies the mount (its UUID): part of every CKA_ID made here, so
	// that another mount on the same token cannot adopt the key (hsm-3).
	Mount string
	// Now dates new keys and errors of tokens; nil leaves the dates out.
	Now func() time.Time
}

// Ring is the keys and tokens of one mount. Its signers are cached.
type Ring struct {
	log    hclog.Logger
	mount  string
	now    func() time.Time
	keys   kv.Table[record]
	tokens kv.Table[TokenConfig]
	config kv.Table[defaults]

	// writing guards storage: whoever holds it is the only one that loads or writes
	// records, so a name found unused stays unused. It is not held while a key is
	// generated or a token is opened.
	writing  sync.Mutex
	reserved map[string]struct{} // names of keys being generated, folded; guarded by writing

	index  atomic.Pointer[index] // what storage holds; nil: load
	epoch  atomic.Uint64         // raised by Invalidate, so that an older load is not kept
	caches caches
	opened handles
}

// caches holds what was derived of keys.
type caches struct {
	sync.Mutex
	signers map[string]crypto.Signer // by key id
	fresh   map[string]struct{}      // ids of keys that may be exported yet
}

// defaults is the record of config/keys.
type defaults struct {
	Default string `json:"default"` // key id
}

// recordVersion is written with every record of this room.
const recordVersion = 1

// New returns the ring; it touches neither storage nor tokens.
func New(config Config) *Ring {
	r := &Ring{
		log:      config.Log,
		mount:    config.Mount,
		now:      config.Now,
		keys:     kv.NewTable[record](config.Store, layout.Key, recordVersion),
		tokens:   kv.NewTable[TokenConfig](config.Store, layout.Token, recordVersion),
		config:   kv.NewTable[defaults](config.Store, layout.ConfigKeys, recordVersion),
		reserved: map[string]struct{}{},
		caches:   caches{signers: map[string]crypto.Signer{}, fresh: map[string]struct{}{}},
		opened:   handles{byName: map[string]*handle{}},
	}
	if r.log == nil {
		r.log = hclog.NewNullLogger()
	}
	return r
}

// Invalidate drops cached state after another node changed storage. Tokens stay
// open; their configuration is compared at their next use.
func (r *Ring) Invalidate() {
	r.epoch.Add(1)
	r.index.Store(nil)
	r.caches.Lock()
	clear(r.caches.signers)
	r.caches.Unlock()
	r.opened.recheck()
}

// Close releases tokens and cached signers. It returns at once. Signers of token
// keys are Unavailable from now on.
func (r *Ring) Close() {
	r.caches.Lock()
	clear(r.caches.signers)
	clear(r.caches.fresh)
	r.caches.Unlock()
	r.opened.closeAll()
}

// today returns the time of a new record in seconds since 1970.
func (r *Ring) today() int64 {
	if r.now == nil {
		return 0
	}
	return r.now().Unix()
}

// mountPrefix begins every CKA_ID of this mount.
func (r *Ring) mountPrefix() []byte {
	digest := sha256.Sum256([]byte("enterprise-pki mount " + r.mount))
	return digest[:8]
}

// storing is the context and deadline of a write that must not be given up half
// way because the caller went away.
func storing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
}

// notFound is the answer for a reference that leads to no key.
func notFound(ref string) error {
	return fault.New(fault.NotFound, "there is no key %q", ref)
}
