package keyring

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"io"
	"sync/atomic"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
)

// Signer returns the signer of a key. For a token key that is a cached handle that
// reopens the token when it has been lost, and Unavailable while it cannot. NotFound
// when there is no such key, or the token has lost it; Denied when the key belongs
// to another mount; Conflict when the token's key is another than the one on record.
func (r *Ring) Signer(ctx context.Context, id string) (crypto.Signer, error) {
	r.caches.Lock()
	signer := r.caches.signers[id]
	r.caches.Unlock()
	if signer != nil {
		return signer, nil
	}
	epoch := r.epoch.Load()
	i, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	key := i.byID[id]
	if key == nil {
		return nil, notFound(id)
	}
	if key.Token != "" {
		signer, err = r.tokenSigner(ctx, key)
	} else {
		signer, err = r.storageSigner(ctx, key)
	}
	if err != nil {
		return nil, fmt.Errorf("opening key %s: %w", id, err)
	}
	r.remember(epoch, id, signer)
	return signer, nil
}

// remember caches a signer unless its key may have changed since the epoch.
func (r *Ring) remember(epoch uint64, id string, signer crypto.Signer) {
	i := r.index.Load()
	r.caches.Lock()
	defer r.caches.Unlock()
	if r.epoch.Load() == epoch && i != nil && i.byID[id] != nil {
		r.caches.signers[id] = signer
	}
}

// storageSigner returns the signer of a key in storage.
func (r *Ring) storageSigner(ctx context.Context, key *Key) (crypto.Signer, error) {
	stored, err := r.read(ctx, key.ID)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(stored.PKCS8)
	if err != nil {
		// The cause could repeat the key's octets.
		return nil, fault.New(fault.Internal, "the record of key %s holds no private key", key.ID)
	}
	pub, err := key.Public()
	if err != nil {
		return nil, err
	}
	private, ok := parsed.(crypto.Signer)
	if !ok || !cert.Equal(private.Public(), pub) {
		return nil, fault.New(fault.Internal, "the private key in the record of key %s is not that of its public key", key.ID)
	}
	return &storageSigner{id: key.ID, private: private}, nil
}

// storageSigner signs with a key in memory. It is not the key: what gets hold of it
// can neither encode nor print the private key.
type storageSigner struct {
	id      string
	private crypto.Signer
}

// Public implements crypto.Signer.
func (s *storageSigner) Public() crypto.PublicKey { return s.private.Public() }

// Sign implements crypto.Signer.
func (s *storageSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.private.Sign(rand, digest, opts)
}

// Format implements fmt.Formatter: every verb shows the id only.
func (s *storageSigner) Format(state fmt.State, _ rune) { _, _ = fmt.Fprintf(state, "key %s", s.id) }

// tokenSigner returns the signer of a key in a token, found once so that what is
// wrong with the key is said now.
func (r *Ring) tokenSigner(ctx context.Context, key *Key) (crypto.Signer, error) {
	if err := r.owns(key); err != nil {
		return nil, err
	}
	pub, err := key.Public()
	if err != nil {
		return nil, err
	}
	s := &tokenSigner{ring: r, key: key, public: pub}
	if _, err := s.find(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// owns refuses a token key that this mount neither made nor adopted, however its record
// came here.
func (r *Ring) owns(key *Key) error {
	if r.mount == "" || !bytes.HasPrefix(key.TokenID, r.mountPrefix()) && !bytes.Equal(key.AdoptedBy, r.mountPrefix()) {
		return fault.New(fault.Denied, "key %s in token %s belongs to another mount", key.ID, key.Token)
	}
	return nil
}

// tokenSigner signs with a key in a token as that token is configured at the time:
// whoever holds the signer need not learn that the token was moved or given another
// PIN.
type tokenSigner struct {
	ring   *Ring
	key    *Key
	public crypto.PublicKey
	bound  atomic.Pointer[bound]
}

// bound is a key found in an open token.
type bound struct {
	token  *hsm.Token
	signer crypto.Signer
}

// Public implements crypto.Signer.
func (s *tokenSigner) Public() crypto.PublicKey { return s.public }

// Sign implements crypto.Signer. Unavailable while the token cannot be reached.
func (s *tokenSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	signer, err := s.find(context.Background())
	if err != nil {
		return nil, err
	}
	return signer.Sign(rand, digest, opts)
}

// Format implements fmt.Formatter: every verb shows the id only.
func (s *tokenSigner) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "key %s in token %s", s.key.ID, s.key.Token)
}

// findIn returns the signer of a key in a token: by its CKA_ID, or by its label when it
// has none.
func findIn(ctx context.Context, token *hsm.Token, key *Key, pub crypto.PublicKey) (crypto.Signer, error) {
	if len(key.TokenID) > 0 {
		return token.Find(ctx, key.TokenID, pub)
	}
	signer, _, err := token.Search(ctx, pub, nil, key.TokenLabel)
	return signer, err
}

// find returns the signer in the open token.
func (s *tokenSigner) find(ctx context.Context) (crypto.Signer, error) {
	token, err := s.ring.token(ctx, s.key.Token)
	if err != nil {
		return nil, err
	}
	if b := s.bound.Load(); b != nil && b.token == token {
		return b.signer, nil
	}
	signer, err := findIn(ctx, token, s.key, s.public)
	if err != nil {
		return nil, err
	}
	s.bound.Store(&bound{token: token, signer: signer})
	return signer, nil
}
