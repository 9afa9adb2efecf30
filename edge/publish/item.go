package publish

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

// What a publisher may be told to publish.
const (
	complete    = "complete"
	delta       = "delta"
	shards      = "shards"
	certificate = "certificate"
)

// item is one thing to publish: a CRL or a CA certificate.
type item struct {
	issuer, name string   // id and name
	kind         string   // of the constants above
	list         string   // complete, delta, 8-3 or certificate: as reports and templates say it
	number       int64    // of the edition of a CRL
	crl          *big.Int // its CRL number
	digest       string   // SHA-256 of the DER, hexadecimal
	authority    *x509.Certificate
}

// mediaType returns what HTTP calls it (RFC 2585 section 4).
func (i item) mediaType() string {
	if i.kind == certificate {
		return "application/pkix-cert"
	}
	return "application/pkix-crl"
}

// order is the one in which things are published: a delta list is of use only where
// the complete one is, which is of use only to who knows the CA.
var order = []string{certificate, complete, delta, shards}

// itemsOf lists what a manifest has for a publisher.
func itemsOf(manifest *feed.Manifest, publisher feed.Publisher) ([]item, error) {
	var items []item
	for _, issuer := range manifest.Issuers {
		if len(publisher.Issuers) > 0 && !slices.Contains(publisher.Issuers, issuer.ID) {
			continue
		}
		block, _ := pem.Decode([]byte(issuer.Certificate))
		if block == nil {
			return nil, fault.New(fault.Internal, "the manifest's certificate of issuer %s is no PEM", issuer.ID)
		}
		authority, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fault.New(fault.Internal, "reading the manifest's certificate of issuer %s: %w", issuer.ID, err)
		}
		base := item{issuer: issuer.ID, name: cmp.Or(issuer.Name, issuer.ID), authority: authority}
		one := base
		one.kind, one.list, one.digest = certificate, certificate, digestOf(authority.Raw)
		items = append(items, one)
		for _, list := range issuer.Lists {
			one := base
			one.kind, one.list, one.number, one.digest = list.Kind, list.Kind, list.Number, list.SHA256
			if one.crl = big.NewInt(list.Number); list.CRLNumber != "" {
				var ok bool
				if one.crl, ok = new(big.Int).SetString(list.CRLNumber, 10); !ok {
					return nil, fault.New(fault.Internal, "the manifest's CRL number %q of issuer %s is no number", list.CRLNumber, issuer.ID)
				}
			}
			if list.Kind == string(feed.Shard) {
				one.kind, one.list = shards, list.Shard
			}
			items = append(items, one)
		}
	}
	items = slices.DeleteFunc(items, func(i item) bool { return !slices.Contains(publisher.Publish, i.kind) })
	slices.SortStableFunc(items, func(a, b item) int { return slices.Index(order, a.kind) - slices.Index(order, b.kind) })
	return items, nil
}

func digestOf(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
