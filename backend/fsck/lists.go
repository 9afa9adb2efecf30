package fsck

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"math"
	"strconv"

	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/places"
)

// lists checks that each CRL head has all of its body, and that the body is what
// the head says; of deltas and shards too.
func (c *checker) lists() error {
	names, err := c.list(layout.CRLHead)
	if err != nil {
		return err
	}
	for _, name := range names {
		key := layout.CRLHead + name
		issuer, kind := crl.SplitName(name)
		if _, err := crl.ParseKind(string(kind)); err != nil {
			c.broken(key, "is not named like a list of issuer %s", issuer)
			continue
		}
		raw, err := c.get(key)
		if err != nil {
			return err
		}
		// A reader takes whatever version there is.
		head, err := kv.NewTable[crl.Head](stored{value: raw}, layout.CRLHead, math.MaxInt).Get(c.ctx, name)
		switch {
		case err != nil:
			c.broken(key, "%v", err)
			continue
		case head == nil:
			c.broken(key, "it was listed and is not there")
			continue
		}
		if head.Chunks == 0 && head.Number == 0 {
			c.notice(key, "a CRL that is not published any more is being removed; the next CRL, or tidy_expired_issuers, goes on with it")
			continue
		}
		c.report.CRLs++
		c.named(key, issuer)
		c.passed(head.ThisUpdate)
		if err := c.body(key, name, head); err != nil {
			return err
		}
	}
	return c.places()
}

// places checks the records of which shards certificates name.
func (c *checker) places() error {
	names, err := c.list(layout.CRLPlaces)
	if err != nil {
		return err
	}
	for _, issuer := range names {
		key := layout.CRLPlaces + issuer
		c.named(key, issuer)
		raw, err := c.get(key)
		if err != nil {
			return err
		}
		if err := crl.CheckPlaces(c.ctx, stored{value: raw}, issuer); err != nil {
			c.broken(key, "%v", err)
		}
	}
	return c.urls()
}

// urls checks the records of which URLs certificates name.
func (c *checker) urls() error {
	cas, err := c.list(layout.Place)
	if err != nil {
		return err
	}
	for _, ca := range cas {
		raw, err := c.get(layout.Place + ca)
		if err != nil {
			return err
		}
		if err := places.Check(c.ctx, stored{value: raw}, ca); err != nil {
			c.broken(layout.Place+ca, "%v", err)
		}
	}
	return nil
}

// stored is a store of one value that was read: what its table makes of it is then
// about the value, and not about storage.
type stored struct {
	kv.Store

	value []byte
}

// Get implements kv.Store.
func (s stored) Get(context.Context, string) ([]byte, error) { return s.value, nil }

func (c *checker) body(key, name string, head *crl.Head) error {
	folder := layout.CRLBody + name + "/" + strconv.FormatInt(head.Number, 10) + "/"
	var body []byte
	for i := range head.Chunks {
		chunk, err := c.get(folder + strconv.Itoa(i))
		if err != nil {
			return err
		}
		if len(chunk) == 0 {
			c.broken(folder+strconv.Itoa(i), "chunk %d of %d is missing", i, head.Chunks)
		}
		body = append(body, chunk...)
	}
	digest := sha256.Sum256(body)
	if len(body) != head.Size || !bytes.Equal(digest[:], head.SHA256) {
		c.broken(key, "the body of CRL %d (%d octets) is not the one that the head names (%d octets)", head.Number, len(body), head.Size)
		return nil
	}
	list, err := x509.ParseRevocationList(body)
	if err != nil {
		c.broken(key, "CRL %d: %v", head.Number, err)
		return nil
	}
	if number := head.CRLNumber(); list.Number == nil || list.Number.Cmp(number.Big()) != 0 {
		c.broken(key, "the CRL number is %v, not %s", list.Number, number)
	}
	if base := crl.BaseOf(list); base != head.Base {
		c.broken(key, "CRL %d is a delta of %d, not of %d", head.Number, base, head.Base)
	}
	if len(list.RevokedCertificateEntries) != head.Entries {
		c.broken(key, "CRL %d has %d entries, not %d", head.Number, len(list.RevokedCertificateEntries), head.Entries)
	}
	return nil
}
