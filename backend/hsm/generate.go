//go:build cgo

package hsm

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/asn1"
	"fmt"

	"github.com/ThalesIgnite/crypto11"
	"github.com/miekg/pkcs11"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// edwardsParams encodes the curve for CKA_EC_PARAMS (PKCS#11 v3.0 section 2.3.10):
// its object identifier (RFC 8410 section 3), or its name for tokens that want that.
var edwardsParams = [][]byte{
	{0x06, 0x03, 0x2b, 0x65, 0x70},
	append([]byte{0x13, 0x0c}, "edwards25519"...),
}

// Generate makes a key pair in the token under CKA_ID id with the attributes of
// privateAttributes and reads them back. Conflict when the id is taken, Invalid
// when the token cannot make such keys. While it runs, no other call uses the
// library. If the caller stops waiting, the pair is removed once it is made.
func (t *Token) Generate(ctx context.Context, spec cert.KeySpec, id []byte, label string) (crypto.Signer, Evidence, error) {
	if len(id) == 0 {
		return nil, Evidence{}, fault.New(fault.Invalid, "generating a key needs a CKA_ID")
	}
	d := t.device
	// Shared and repeatable: a token that was lost is opened again before the part
	// that cannot be repeated.
	if _, err := ask(ctx, d, direct, 1, func(c *conn) (struct{}, error) { return struct{}{}, c.able(spec) }); err != nil {
		return nil, Evidence{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // tells a call that is still running that nobody waits for it
	type made struct {
		signer   *signer
		evidence Evidence
	}
	m, err := ask(ctx, d, alone, 12, func(c *conn) (made, error) {
		return withSession(c, func(session pkcs11.SessionHandle) (made, error) {
			if err := c.unused(session, id); err != nil {
				return made{}, err
			}
			made := made{}
			pub, err := c.generate(session, spec, id, label)
			if err == nil {
				made.signer, made.evidence, err = d.prove(c, session, id, pub)
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				// Best effort: what stays is found by its id.
				_ = c.destroy(session, id)
			}
			return made, err
		})
	})
	if err != nil {
		return nil, Evidence{}, err
	}
	return m.signer, m.evidence, nil
}

// prove finds the new pair again and refuses one whose private key could leave.
func (d *device) prove(c *conn, session pkcs11.SessionHandle, id []byte, pub crypto.PublicKey) (*signer, Evidence, error) {
	keys, err := c.find(session, pkcs11.CKO_PRIVATE_KEY, id)
	if err != nil {
		return nil, Evidence{}, err
	}
	if len(keys) != 1 {
		return nil, Evidence{}, fault.New(fault.Unavailable, "token %s shows %d private keys under the new CKA_ID %x", d.name(), len(keys), id)
	}
	evidence, err := c.evidence(session, keys[0])
	if err != nil {
		return nil, Evidence{}, err
	}
	if evidence.Extractable || !evidence.Sensitive {
		return nil, Evidence{}, fault.New(fault.Conflict, "token %s made a private key that can leave it, although asked not to; the key was destroyed", d.name())
	}
	return newSigner(d, id, pub), evidence, nil
}

// able reports as Invalid that the token has no mechanism for such keys.
func (c *conn) able(spec cert.KeySpec) error {
	if err := c.loggedIn(); err != nil {
		return err
	}
	var needs []uint
	switch spec.Type {
	case cert.RSA:
		needs = []uint{pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKM_RSA_PKCS}
	case cert.EC:
		needs = []uint{pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKM_ECDSA}
	case cert.Ed25519:
		needs = []uint{ckmECEdwardsKeyPairGen, ckmEdDSA}
	default:
		return fault.Field("key_type", "%s keys are not made in tokens", spec)
	}
	for _, mechanism := range needs {
		if !c.mech[mechanism] {
			return fault.Field("key_type", "token %q (%s) does not support %s keys: it lacks %s",
				c.info.Label, c.info.SerialNumber, spec.Type, mechanismName(mechanism))
		}
	}
	return nil
}

// unused refuses an id that any key object has: two pairs under one CKA_ID could
// not be told apart.
func (c *conn) unused(session pkcs11.SessionHandle, id []byte) error {
	if err := c.loggedIn(); err != nil {
		return err
	}
	for _, objectClass := range []uint{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY} {
		taken, err := c.find(session, objectClass, id)
		if err != nil {
			return err
		}
		if len(taken) > 0 {
			return fault.New(fault.Conflict, "token %q (%s) already has a key with CKA_ID %x", c.info.Label, c.info.SerialNumber, id)
		}
	}
	return nil
}

// generate makes a pair and returns its public key.
func (c *conn) generate(session pkcs11.SessionHandle, spec cert.KeySpec, id []byte, label string) (crypto.PublicKey, error) {
	if spec.Type == cert.Ed25519 {
		return c.generateEd25519(session, id, label)
	}
	public, err := attributeSet(c.dialect.publicAttributes(spec.Type, id, label))
	if err != nil {
		return nil, err
	}
	private, err := attributeSet(c.dialect.privateAttributes(spec.Type, id, label))
	if err != nil {
		return nil, err
	}
	var key crypto11.Signer
	if spec.Type == cert.RSA {
		key, err = c.ctx.GenerateRSAKeyPairWithAttributes(public, private, spec.Bits)
	} else {
		curve := map[int]elliptic.Curve{256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()}[spec.Bits]
		if curve == nil {
			return nil, fault.Field("key_bits", "%d is not the size of a curve; use 256, 384 or 521", spec.Bits)
		}
		key, err = c.ctx.GenerateECDSAKeyPairWithAttributes(public, private, curve)
	}
	if err != nil {
		return nil, fmt.Errorf("generating a %s key: %w", spec, err)
	}
	return key.Public(), nil
}

// generateEd25519 makes an Ed25519 pair, which crypto11 cannot.
func (c *conn) generateEd25519(session pkcs11.SessionHandle, id []byte, label string) (crypto.PublicKey, error) {
	mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(ckmECEdwardsKeyPairGen, nil)}
	var err error
	for _, params := range edwardsParams {
		public := append(c.dialect.publicAttributes(cert.Ed25519, id, label),
			attribute{pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY},
			attribute{pkcs11.CKA_KEY_TYPE, ckkECEdwards},
			attribute{pkcs11.CKA_EC_PARAMS, params})
		private := append(c.dialect.privateAttributes(cert.Ed25519, id, label),
			attribute{pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY},
			attribute{pkcs11.CKA_KEY_TYPE, ckkECEdwards})
		var handle pkcs11.ObjectHandle
		handle, _, err = c.lib.raw.GenerateKeyPair(session, mechanism, template(public), template(private))
		if err == nil {
			return c.ed25519Public(session, handle)
		}
		if classOf(err) != lacking {
			break
		}
	}
	return nil, fmt.Errorf("generating an ed25519 key: %w", err)
}

// ed25519Public reads the point of a public key object. Tokens wrap it as OCTET
// STRING (v2.40) or BIT STRING (drafts of v3.0), or give its 32 octets.
func (c *conn) ed25519Public(session pkcs11.SessionHandle, handle pkcs11.ObjectHandle) (ed25519.PublicKey, error) {
	values, err := c.lib.raw.GetAttributeValue(session, handle, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)})
	if err != nil {
		return nil, fmt.Errorf("reading an ed25519 public key: %w", err)
	}
	point := values[0].Value
	var octets []byte
	var bits asn1.BitString
	switch {
	case len(point) == ed25519.PublicKeySize:
		return ed25519.PublicKey(point), nil
	case parsesWhole(point, &octets) && len(octets) == ed25519.PublicKeySize:
		return ed25519.PublicKey(octets), nil
	case parsesWhole(point, &bits) && len(bits.Bytes) == ed25519.PublicKeySize:
		return ed25519.PublicKey(bits.Bytes), nil
	}
	return nil, fault.New(fault.Unavailable, "token %s gave an ed25519 public key of %d bytes that nobody understands", c.info.SerialNumber, len(point))
}

// parsesWhole decodes DER that has nothing behind it.
func parsesWhole[T any](der []byte, into *T) bool {
	rest, err := asn1.Unmarshal(der, into)
	return err == nil && len(rest) == 0
}
