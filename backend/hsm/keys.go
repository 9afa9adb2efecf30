//go:build cgo

package hsm

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Evidence reads the attributes of the private key with CKA_ID id. NotFound when
// the token has no such key.
func (t *Token) Evidence(ctx context.Context, id []byte) (Evidence, error) {
	return ask(ctx, t.device, direct, 1, func(c *conn) (Evidence, error) {
		return withSession(c, func(session pkcs11.SessionHandle) (Evidence, error) {
			keys, err := c.find(session, pkcs11.CKO_PRIVATE_KEY, id)
			if err != nil {
				return Evidence{}, err
			}
			if len(keys) == 0 {
				return Evidence{}, c.absent(id)
			}
			return c.evidence(session, keys[0])
		})
	})
}

// List returns what the token holds under every CKA_ID that begins with prefix,
// ordered by CKA_ID. It reads every key object of the token, so it is slow.
func (t *Token) List(ctx context.Context, prefix []byte) ([]Pair, error) {
	return ask(ctx, t.device, direct, 12, func(c *conn) ([]Pair, error) {
		return withSession(c, func(session pkcs11.SessionHandle) ([]Pair, error) { return c.list(session, prefix) })
	})
}

// list collects pairs from both classes of key objects.
func (c *conn) list(session pkcs11.SessionHandle, prefix []byte) ([]Pair, error) {
	if err := c.loggedIn(); err != nil {
		return nil, err
	}
	byID := map[string]*Pair{}
	for _, objectClass := range []uint{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY} {
		handles, err := c.find(session, objectClass, nil)
		if err != nil {
			return nil, err
		}
		for _, handle := range handles {
			values, err := c.lib.raw.GetAttributeValue(session, handle, []*pkcs11.Attribute{
				pkcs11.NewAttribute(pkcs11.CKA_ID, nil), pkcs11.NewAttribute(pkcs11.CKA_LABEL, nil),
			})
			if classOf(err) == stale {
				continue // deleted meanwhile
			}
			if err != nil {
				return nil, fmt.Errorf("reading a key's CKA_ID: %w", err)
			}
			id := values[0].Value
			if !bytes.HasPrefix(id, prefix) {
				continue
			}
			pair := byID[string(id)]
			if pair == nil {
				pair = &Pair{ID: id, Label: string(values[1].Value)}
				byID[string(id)] = pair
			}
			pair.Private = pair.Private || objectClass == pkcs11.CKO_PRIVATE_KEY
			pair.Public = pair.Public || objectClass == pkcs11.CKO_PUBLIC_KEY
		}
	}
	pairs := make([]Pair, 0, len(byID))
	for _, pair := range byID {
		pairs = append(pairs, *pair)
	}
	slices.SortFunc(pairs, func(a, b Pair) int { return bytes.Compare(a.ID, b.ID) })
	return pairs, nil
}

// Destroy removes the key pair with CKA_ID id and proves its absence. NotFound when
// there is neither half.
func (t *Token) Destroy(ctx context.Context, id []byte) error {
	return t.destroy(ctx, id, func([]pkcs11.ObjectHandle) error { return nil })
}

// DestroyOrphan removes the public key with CKA_ID id, which an interrupted
// generation left alone. Conflict when the token holds its private key.
func (t *Token) DestroyOrphan(ctx context.Context, id []byte) error {
	return t.destroy(ctx, id, func(private []pkcs11.ObjectHandle) error {
		if len(private) > 0 {
			return fault.New(fault.Conflict, "public key %x is no orphan: token %s holds its private key", id, t.device.name())
		}
		return nil
	})
}

// destroy removes both halves of a key unless the private keys found forbid it.
func (t *Token) destroy(ctx context.Context, id []byte, check func(private []pkcs11.ObjectHandle) error) error {
	if len(id) == 0 {
		return fault.New(fault.Invalid, "destroying a key needs its CKA_ID")
	}
	_, err := ask(ctx, t.device, alone, 3, func(c *conn) (struct{}, error) {
		return withSession(c, func(session pkcs11.SessionHandle) (struct{}, error) {
			if err := c.loggedIn(); err != nil {
				return struct{}{}, err
			}
			private, err := c.find(session, pkcs11.CKO_PRIVATE_KEY, id)
			if err == nil {
				err = check(private)
			}
			if err != nil {
				return struct{}{}, err
			}
			return struct{}{}, c.destroy(session, id)
		})
	})
	return err
}

// destroy removes the private key first: a public key left alone by a crash can be
// recognised as such, a private key left alone looks like one in use.
func (c *conn) destroy(session pkcs11.SessionHandle, id []byte) error {
	removed := 0
	for _, objectClass := range []uint{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY} {
		handles, err := c.find(session, objectClass, id)
		if err != nil {
			return err
		}
		for _, handle := range handles {
			if err := c.lib.raw.DestroyObject(session, handle); err != nil {
				return fmt.Errorf("destroying key %x: %w", id, err)
			}
			removed++
		}
		left, err := c.find(session, objectClass, id)
		if err != nil {
			return err
		}
		if len(left) > 0 {
			return fault.New(fault.Unavailable, "token %s still shows key %x after destroying it", c.info.SerialNumber, id)
		}
	}
	if removed == 0 {
		return c.absent(id)
	}
	return nil
}
