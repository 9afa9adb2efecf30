//go:build cgo

package hsm

import (
	"bytes"
	"context"
	"crypto"
	"fmt"

	"github.com/miekg/pkcs11"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// place is where one private key object of a token is.
type place struct {
	object pkcs11.ObjectHandle
	id     []byte
	label  string
}

// Search returns the signer for the private key that belongs to pub, under whatever
// CKA_ID and CKA_LABEL other software put it into the token; a key without CKA_ID is
// found by its label. id and label narrow the search unless they are empty. NotFound
// when the token has no such key, Conflict when the id or label is that of another key.
func (t *Token) Search(ctx context.Context, pub crypto.PublicKey, id []byte, label string) (crypto.Signer, Found, error) {
	spec, err := cert.KeySpecOf(pub)
	if err != nil {
		return nil, Found{}, err
	}
	places, err := ask(ctx, t.device, direct, 12, func(c *conn) ([]place, error) {
		return withSession(c, func(session pkcs11.SessionHandle) ([]place, error) { return c.places(session, spec.Type, id, label) })
	})
	if err != nil {
		return nil, Found{}, err
	}
	if len(places) == 0 {
		return nil, Found{}, fault.New(fault.NotFound, "token %s has no private key of type %s%s", t.device.name(), spec.Type, narrowed(id, label))
	}
	for _, p := range places {
		if len(p.id) == 0 && p.label == "" {
			continue // PKCS#11 cannot tell it from others
		}
		s := newSigner(t.device, p.id, pub)
		if len(p.id) == 0 {
			s.label = p.label
		}
		if _, err = ask(ctx, t.device, s.mode(), 1, func(c *conn) (*handle, error) { return s.locate(c) }); err != nil {
			if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) || fault.Is(err, fault.Invalid) {
				continue // another key
			}
			return nil, Found{}, err
		}
		evidence, err := ask(ctx, t.device, direct, 1, func(c *conn) (Evidence, error) {
			return withSession(c, func(session pkcs11.SessionHandle) (Evidence, error) { return c.evidence(session, p.object) })
		})
		if err != nil {
			return nil, Found{}, err
		}
		return s, Found{ID: p.id, Label: p.label, Evidence: evidence}, nil
	}
	hash, err := cert.KeyFingerprint(pub)
	if err != nil {
		return nil, Found{}, err
	}
	return nil, Found{}, fault.New(fault.Conflict, "token %s has no private key with the public key %s%s", t.device.name(), hash, narrowed(id, label))
}

// narrowed says what a search was narrowed to.
func narrowed(id []byte, label string) (text string) {
	if len(id) > 0 {
		text = fmt.Sprintf(" with CKA_ID %x", id)
	}
	if label != "" {
		text += fmt.Sprintf(" with label %q", label)
	}
	return text
}

// keyTypes are the values of CKA_KEY_TYPE.
var keyTypes = map[cert.KeyType]uint{cert.RSA: pkcs11.CKK_RSA, cert.EC: pkcs11.CKK_EC, cert.Ed25519: ckkECEdwards}

// places lists the private keys of a type with the id and label, those with a CKA_ID
// first.
func (c *conn) places(session pkcs11.SessionHandle, keyType cert.KeyType, id []byte, label string) ([]place, error) {
	if err := c.loggedIn(); err != nil {
		return nil, err
	}
	handles, err := c.find(session, pkcs11.CKO_PRIVATE_KEY, nil)
	if err != nil {
		return nil, err
	}
	var with, without []place
	for _, object := range handles {
		values, err := c.lib.raw.GetAttributeValue(session, object, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_ID, nil), pkcs11.NewAttribute(pkcs11.CKA_LABEL, nil), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, nil),
		})
		if classOf(err) == stale {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("reading a key's CKA_ID: %w", err)
		}
		p := place{object: object, id: values[0].Value, label: string(values[1].Value)}
		wanted := pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyTypes[keyType]).Value
		switch {
		case !bytes.Equal(values[2].Value, wanted):
		case len(id) > 0 && !bytes.Equal(p.id, id) || label != "" && p.label != label:
		case len(p.id) > 0:
			with = append(with, p)
		default:
			without = append(without, p)
		}
	}
	return append(with, without...), nil
}
