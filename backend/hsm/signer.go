//go:build cgo

package hsm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/ThalesIgnite/crypto11"
	"github.com/miekg/pkcs11"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// signer is a private key in a token. It is safe for concurrent use and survives
// the loss of the token: it finds its key again by CKA_ID and compares the public
// key before it signs.
type signer struct {
	device *device
	id     []byte
	label  string // CKA_LABEL of a key that has no CKA_ID, else ""
	public crypto.PublicKey
	handle atomic.Pointer[handle]
}

// handle is where the key is in one connection.
type handle struct {
	conn *conn
	key  crypto11.Signer     // RSA and ECDSA
	raw  pkcs11.ObjectHandle // Ed25519
}

var _ crypto.Signer = (*signer)(nil)

// newSigner returns the signer of a key; the key is located at its first use.
func newSigner(d *device, id []byte, public crypto.PublicKey) *signer {
	return &signer{device: d, id: append([]byte(nil), id...), public: public}
}

// Find returns the signer for the private key with CKA_ID id, compared with pub.
// NotFound when the token has no such key; Conflict when its public key differs.
func (t *Token) Find(ctx context.Context, id []byte, pub crypto.PublicKey) (crypto.Signer, error) {
	if _, err := cert.KeySpecOf(pub); err != nil {
		return nil, err
	}
	s := newSigner(t.device, id, pub)
	_, err := ask(ctx, t.device, s.mode(), 1, func(c *conn) (*handle, error) { return s.locate(c) })
	if err != nil {
		return nil, err
	}
	return s, nil
}

// mode says which sessions the key needs.
func (s *signer) mode() mode {
	if _, ok := s.public.(ed25519.PublicKey); ok {
		return direct
	}
	return pooled
}

// String identifies the key without its attributes.
func (s *signer) String() string { return fmt.Sprintf("key %x in token %s", s.id, s.device.name()) }

// Public implements crypto.Signer.
func (s *signer) Public() crypto.PublicKey { return s.public }

// Sign implements crypto.Signer. The random source is the token's. Digests must
// have the length of their hash; PSS with an automatic salt length uses the hash's
// length, as RFC 4055 section 3.1 recommends. Unavailable while the token is lost.
func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	digest, opts, err := normalise(s.public, digest, opts)
	if err != nil {
		return nil, err
	}
	return ask(context.Background(), s.device, s.mode(), 1, func(c *conn) ([]byte, error) {
		h, err := s.locate(c)
		if err != nil {
			return nil, err
		}
		signature, err := s.signWith(h, digest, opts)
		if classOf(err) != stale {
			return signature, err
		}
		s.handle.CompareAndSwap(h, nil)
		if h, err = s.locate(c); err != nil {
			return nil, err
		}
		return s.signWith(h, digest, opts)
	})
}

// signWith signs with a located key.
func (s *signer) signWith(h *handle, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, pss := opts.(*rsa.PSSOptions); pss && !h.conn.mech[pkcs11.CKM_RSA_PKCS_PSS] {
		return nil, fault.New(fault.Invalid, "token %s makes no PSS signatures: it lacks CKM_RSA_PKCS_PSS", s.device.name())
	}
	if h.key != nil {
		return h.key.Sign(nil, digest, opts)
	}
	return withSession(h.conn, func(session pkcs11.SessionHandle) ([]byte, error) {
		raw := h.conn.lib.raw
		if err := raw.SignInit(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(ckmEdDSA, nil)}, h.raw); err != nil {
			return nil, err
		}
		return raw.Sign(session, digest)
	})
}

// locate returns the key's handle in a connection, finding the key when the
// connection is new.
func (s *signer) locate(c *conn) (*handle, error) {
	if h := s.handle.Load(); h != nil && h.conn == c {
		return h, nil
	}
	h := &handle{conn: c}
	var err error
	if s.mode() == direct {
		h.raw, err = withSession(c, func(session pkcs11.SessionHandle) (pkcs11.ObjectHandle, error) {
			return s.findEd25519(c, session)
		})
	} else {
		h.key, err = s.findPair(c)
	}
	if err != nil {
		return nil, err
	}
	s.handle.Store(h)
	return h, nil
}

// findPair returns the RSA or ECDSA pair with the signer's id and public key.
func (s *signer) findPair(c *conn) (crypto11.Signer, error) {
	pairs, err := c.ctx.FindKeyPairs(s.id, []byte(s.label))
	if err != nil {
		return nil, fmt.Errorf("finding key %x: %w", s.id, err)
	}
	for _, pair := range pairs {
		if cert.Equal(s.public, pair.Public()) {
			return pair, nil
		}
	}
	if len(pairs) > 0 {
		return nil, s.differs()
	}
	// crypto11 leaves out private keys without a public half.
	if halves, err := c.ctx.FindPrivateKeys(s.id, []byte(s.label)); err == nil && len(halves) > 0 {
		return nil, fault.New(fault.Conflict, "token %s has the private key %x but not its public key, so it cannot be compared", s.device.name(), s.id)
	}
	return nil, c.absent(s.id)
}

// findEd25519 returns the private key object with the signer's id, whose public
// half is the signer's public key.
func (s *signer) findEd25519(c *conn, session pkcs11.SessionHandle) (pkcs11.ObjectHandle, error) {
	private, err := c.find(session, pkcs11.CKO_PRIVATE_KEY, s.id)
	if err != nil {
		return 0, err
	}
	if len(private) == 0 {
		return 0, c.absent(s.id)
	}
	public, err := c.find(session, pkcs11.CKO_PUBLIC_KEY, s.id)
	if err != nil {
		return 0, err
	}
	// Two pairs under one id cannot be told apart, so one of each is required.
	if len(private) != 1 || len(public) != 1 {
		return 0, fault.New(fault.Conflict, "token %s has %d private and %d public keys with CKA_ID %x", s.device.name(), len(private), len(public), s.id)
	}
	for _, object := range []pkcs11.ObjectHandle{private[0], public[0]} {
		kind, err := c.lib.raw.GetAttributeValue(session, object, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, nil)})
		if err != nil {
			return 0, fmt.Errorf("reading the type of key %x: %w", s.id, err)
		}
		if string(kind[0].Value) != string(pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, ckkECEdwards).Value) {
			return 0, s.differs()
		}
	}
	point, err := c.ed25519Public(session, public[0])
	if err != nil {
		return 0, err
	}
	if !cert.Equal(s.public, point) {
		return 0, s.differs()
	}
	return private[0], nil
}

// differs is the refusal to use a key that is not the one on record.
func (s *signer) differs() error {
	return fault.New(fault.Conflict, "the key with CKA_ID %x in token %s is not the key on record: its public key differs", s.id, s.device.name())
}

// normalise checks a digest and its options and returns what the token is asked.
// Tokens sign what they are given: PKCS#1 v1.5 even with digests of a wrong length.
func normalise(public crypto.PublicKey, digest []byte, opts crypto.SignerOpts) ([]byte, crypto.SignerOpts, error) {
	if opts == nil {
		return nil, nil, fault.New(fault.Invalid, "signing needs the hash that was used")
	}
	hash := opts.HashFunc()
	if _, ok := public.(ed25519.PublicKey); ok {
		if options, is := opts.(*ed25519.Options); hash != 0 || is && options.Context != "" {
			return nil, nil, fault.New(fault.Invalid, "ed25519 keys in tokens sign whole messages (RFC 8410), without a hash or context")
		}
		return digest, crypto.Hash(0), nil
	}
	switch hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return nil, nil, fault.New(fault.Invalid, "keys in tokens sign SHA-256, SHA-384 and SHA-512 digests only, not %v", hash)
	}
	if len(digest) != hash.Size() {
		return nil, nil, fault.New(fault.Invalid, "a %v digest has %d bytes, not %d", hash, hash.Size(), len(digest))
	}
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		// FIPS 186-5 section 6.4.1: the left-most bits, as many as the order has.
		if size := (key.Curve.Params().N.BitLen() + 7) / 8; len(digest) > size {
			digest = digest[:size]
		}
		return digest, hash, nil
	case *rsa.PublicKey:
		options, pss := opts.(*rsa.PSSOptions)
		if !pss {
			return digest, hash, nil
		}
		salt := options.SaltLength
		if salt == rsa.PSSSaltLengthAuto {
			salt = rsa.PSSSaltLengthEqualsHash
		}
		return digest, &rsa.PSSOptions{SaltLength: salt, Hash: hash}, nil
	}
	return nil, nil, fault.New(fault.Invalid, "key type %T cannot sign in a token", public)
}
