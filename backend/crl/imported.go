package crl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// MaxImport is the longest CRL in octets that Import takes; it is checked before the
// CRL is parsed (dos-1).
const MaxImport = 1 << 20

// skew is how far the clock of who signed a CRL may be ahead of ours.
const skew = 5 * time.Minute

// ParseImported reads a CRL, in PEM or DER, that a CA outside this mount signed, and
// refuses one that relying parties could not use as the CA's complete list now: another
// signer's, a delta, one that is indirect or for some reasons only, one that has ended,
// one without a number, and one with critical extensions that it does not know.
func ParseImported(raw []byte, ca *x509.Certificate, now time.Time) (*x509.RevocationList, error) {
	if len(raw) > MaxImport {
		return nil, fault.Field("crl", "must be at most %d octets", MaxImport)
	}
	der := raw
	if block, rest := pem.Decode(raw); block != nil {
		if block.Type != "X509 CRL" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, fault.Field("crl", "must be one PEM block of type X509 CRL")
		}
		der = block.Bytes
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fault.Field("crl", "is not a CRL: %w", err)
	}
	if len(list.Raw) != len(der) {
		return nil, fault.Field("crl", "is followed by other octets")
	}
	if !bytes.Equal(list.RawIssuer, ca.RawSubject) {
		return nil, fault.Field("crl", "is of another CA: %s, not %s", list.Issuer, ca.Subject)
	}
	if err := list.CheckSignatureFrom(ca); err != nil {
		return nil, fault.Field("crl", "is not signed by this issuer: %w", err)
	}
	switch {
	case list.Number == nil || !list.Number.IsInt64() || list.Number.Sign() <= 0:
		return nil, fault.Field("crl", "must have a CRL number of at most 63 bits (RFC 5280 section 5.2.3)")
	case list.NextUpdate.IsZero():
		return nil, fault.Field("crl", "must have a nextUpdate (RFC 5280 section 5.1.2.5)")
	case !list.NextUpdate.After(now):
		return nil, fault.Field("crl", "ended at %s", list.NextUpdate.UTC().Format(time.RFC3339))
	case list.ThisUpdate.After(now.Add(skew)):
		return nil, fault.Field("crl", "is not valid before %s", list.ThisUpdate.UTC().Format(time.RFC3339))
	}
	return list, checkExtensions(list)
}

func checkExtensions(list *x509.RevocationList) error {
	for _, e := range list.Extensions {
		switch {
		case e.Id.String() == "2.5.29.27":
			return fault.Field("crl", "is a delta: import the complete list")
		case e.Id.String() == "2.5.29.28":
			if !wholeScope(e.Value) {
				return fault.Field("crl", "is indirect, or for some reasons or attribute certificates only (issuingDistributionPoint)")
			}
		case e.Critical:
			return fault.Field("crl", "has a critical extension that is not known here: %s", e.Id)
		}
	}
	for _, entry := range list.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Critical {
				return fault.Field("crl", "has an entry with a critical extension that is not known here: %s", e.Id)
			}
		}
	}
	return nil
}

// wholeScope reports whether an IssuingDistributionPoint (RFC 5280 section 5.2.5) leaves
// a list that tells of certificates of its own issuer, for all reasons.
func wholeScope(value []byte) bool {
	point, inner := cryptobyte.String(value), cryptobyte.String(nil)
	if !point.ReadASN1(&inner, asn1.SEQUENCE) || !point.Empty() {
		return false
	}
	for !inner.Empty() {
		var field cryptobyte.String
		var tag asn1.Tag
		if !inner.ReadAnyASN1(&field, &tag) {
			return false
		}
		switch tag {
		case asn1.Tag(0).ContextSpecific().Constructed(), asn1.Tag(1).ContextSpecific(), asn1.Tag(2).ContextSpecific():
			// A name, only user certificates, only CA certificates.
		default:
			return false
		}
	}
	return true
}

// Import stores a CRL that the CA of an issuer signed elsewhere, and returns its head. It
// is served like a list that was made here. Conflict when its number is lower than that
// of the list that is there, or the same on another list. Importing the same list again
// changes nothing.
func (s *Service) Import(ctx context.Context, issuer string, ca *x509.Certificate, raw []byte) (Head, error) {
	list, err := ParseImported(raw, ca, s.config.Now())
	if err != nil {
		return Head{}, err
	}
	p := s.publication(issuer, Complete)
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return Head{}, fmt.Errorf("waiting for the crl of issuer %s: %w", issuer, ctx.Err())
	}
	defer func() { <-p.turn }()
	before, err := s.survey(ctx, p)
	if err != nil {
		return Head{}, err
	}
	next := importedEdition(list, s.config.Now())
	if last := before.head; last != nil {
		switch {
		case next.head.Number == last.Number && bytes.Equal(next.head.SHA256, last.SHA256):
			return *last, nil
		case next.head.Number <= last.Number:
			return Head{}, fault.FieldOf(fault.Conflict, "crl", "has number %d, which is not above that of the list that is published, %d", next.head.Number, last.Number)
		}
	}
	if slices.Contains(before.numbers, next.head.Number) {
		// Half of it, from an import that was cut short: its chunks are written again.
		before.numbers = slices.DeleteFunc(before.numbers, func(n int64) bool { return n == next.head.Number })
	}
	p.clean = false
	if err := s.write(ctx, p.name(), next); err != nil {
		return Head{}, err
	}
	p.offer(next)
	s.watchToo(issuer)
	if err := s.retire(ctx, p, before, next.head.Number); err != nil {
		s.config.Log.Warn("octets of an older CRL are left in storage until the next import", "issuer", issuer, "error", err)
		return next.head, nil
	}
	p.clean = true
	return next.head, nil
}

func importedEdition(list *x509.RevocationList, now time.Time) *edition {
	digest := sha256.Sum256(list.Raw)
	return &edition{body: list.Raw, head: Head{
		Number: list.Number.Int64(), ThisUpdate: list.ThisUpdate.UTC(), NextUpdate: list.NextUpdate.UTC(),
		Entries: len(list.RevokedCertificateEntries), Size: len(list.Raw), Chunks: chunks(len(list.Raw)), SHA256: digest[:],
		Imported: true, ImportedAt: now.UTC().Truncate(time.Second),
	}}
}
