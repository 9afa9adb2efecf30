//go:build cgo

package hsm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"

	"github.com/miekg/pkcs11"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Look returns the signer of the one private key that has a CKA_ID and a CKA_LABEL, of
// which one may be empty, whoever put it into the token. Its public key is read from the
// public key object or the certificate beside it, and the private key proves with a
// signature that they belong together. NotFound when there is no such private key,
// Conflict, with the CKA_IDs, when there are several or when the proof fails.
func (t *Token) Look(ctx context.Context, id []byte, label string) (crypto.Signer, Found, error) {
	if len(id) == 0 && label == "" {
		return nil, Found{}, fault.New(fault.Invalid, "looking for a key needs its CKA_ID or CKA_LABEL")
	}
	var places []place
	var edwards bool
	for _, keyType := range []cert.KeyType{cert.RSA, cert.EC, cert.Ed25519} {
		some, err := ask(ctx, t.device, direct, 12, func(c *conn) ([]place, error) {
			return withSession(c, func(session pkcs11.SessionHandle) ([]place, error) { return c.places(session, keyType, id, label) })
		})
		if err != nil {
			return nil, Found{}, err
		}
		places, edwards = append(places, some...), len(some) > 0 && keyType == cert.Ed25519
	}
	switch {
	case len(places) == 0:
		return nil, Found{}, fault.New(fault.NotFound, "token %s has no private key of type rsa, ec or ed25519%s", t.device.name(), narrowed(id, label))
	case len(places) > 1:
		return nil, Found{}, t.several(places, id, label)
	}
	return t.seen(ctx, places[0], edwards)
}

// several refuses a search that is not about one key.
func (t *Token) several(places []place, id []byte, label string) error {
	var names []string
	for _, p := range places[:min(len(places), maxNamed)] {
		names = append(names, fmt.Sprintf("%x (label %q)", p.id, p.label))
	}
	return fault.New(fault.Conflict, "token %s has %d private keys%s; say which by CKA_ID: %s", t.device.name(), len(places), narrowed(id, label), fault.List(names))
}

// seen finds the public key of a private key and has the private key prove it.
func (t *Token) seen(ctx context.Context, p place, edwards bool) (crypto.Signer, Found, error) {
	read := t.publicOf
	if edwards {
		read = t.edwardsPublicOf
	}
	public, err := read(ctx, p)
	if err != nil {
		return nil, Found{}, err
	}
	s := newSigner(t.device, p.id, public)
	if len(p.id) == 0 {
		s.label = p.label
	}
	if _, err := ask(ctx, t.device, s.mode(), 1, func(c *conn) (*handle, error) { return s.locate(c) }); err != nil {
		return nil, Found{}, err
	}
	if err := t.prove(s); err != nil {
		return nil, Found{}, err
	}
	evidence, err := ask(ctx, t.device, direct, 1, func(c *conn) (Evidence, error) {
		return withSession(c, func(session pkcs11.SessionHandle) (Evidence, error) { return c.evidence(session, p.object) })
	})
	return s, Found{ID: p.id, Label: p.label, Evidence: evidence}, err
}

// publicOf returns the public key that the token has beside an RSA or EC private key.
func (t *Token) publicOf(ctx context.Context, p place) (crypto.PublicKey, error) {
	return ask(ctx, t.device, pooled, 1, func(c *conn) (crypto.PublicKey, error) {
		pairs, err := c.ctx.FindKeyPairs(p.id, []byte(p.label))
		if err != nil {
			return nil, fmt.Errorf("finding key %x: %w", p.id, err)
		}
		if len(pairs) != 1 || pairs[0].Public() == nil {
			return nil, t.halved(p)
		}
		return pairs[0].Public(), nil
	})
}

// edwardsPublicOf is publicOf for an Ed25519 private key, which must have a CKA_ID.
func (t *Token) edwardsPublicOf(ctx context.Context, p place) (crypto.PublicKey, error) {
	return ask(ctx, t.device, direct, 1, func(c *conn) (crypto.PublicKey, error) {
		return withSession(c, func(session pkcs11.SessionHandle) (crypto.PublicKey, error) {
			halves, err := c.find(session, pkcs11.CKO_PUBLIC_KEY, p.id)
			if err != nil {
				return nil, err
			}
			if len(p.id) == 0 || len(halves) == 0 {
				return nil, t.halved(p)
			}
			return c.ed25519Public(session, halves[0])
		})
	})
}

// halved refuses a private key whose public key nothing in the token tells.
func (t *Token) halved(p place) error {
	return fault.New(fault.Conflict,
		"token %s has neither the public key nor a certificate of private key %x (label %q): put one beside it with the same CKA_ID, for instance with pkcs11-tool --write-object",
		t.device.name(), p.id, p.label)
}

// prove has a private key sign a random message, which its public key verifies.
func (t *Token) prove(s *signer) error {
	if _, err := cert.KeySpecOf(s.public); err != nil {
		return err
	}
	message := make([]byte, 32)
	_, _ = rand.Read(message) // never fails: crypto/rand ends the process instead
	digest := sha256.Sum256(message)
	var verified bool
	switch public := s.public.(type) {
	case ed25519.PublicKey:
		signature, err := s.Sign(nil, message, crypto.Hash(0))
		if err != nil {
			return err
		}
		verified = ed25519.Verify(public, message, signature)
	case *ecdsa.PublicKey:
		signature, err := s.Sign(nil, digest[:], crypto.SHA256)
		if err != nil {
			return err
		}
		verified = ecdsa.VerifyASN1(public, digest[:], signature)
	case *rsa.PublicKey:
		signature, err := s.Sign(nil, digest[:], crypto.SHA256)
		if err != nil {
			return err
		}
		verified = rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
	}
	if !verified {
		return fault.New(fault.Conflict, "private key %x in token %s does not belong to the public key beside it", s.id, t.device.name())
	}
	return nil
}
