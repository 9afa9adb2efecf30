package crl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// skew is how far the clock of who signed a CRL may be ahead of ours.
const skew = 5 * time.Minute

// ParseImported reads a CRL, in PEM or DER, that a CA outside this mount signed, and
// refuses one that relying parties could not use as the CA's complete list now: what
// CheckForeign refuses, one that has expired, and one without nextUpdate.
func ParseImported(raw []byte, ca *x509.Certificate, now time.Time) (*x509.RevocationList, error) {
	list, err := readImported(raw, ca, now)
	if err != nil {
		return nil, fault.FieldOf(fault.KindOf(err), "crl", "%w", err)
	}
	return list, nil
}

func readImported(raw []byte, ca *x509.Certificate, now time.Time) (*x509.RevocationList, error) {
	list, err := ReadForeign(raw)
	if err != nil {
		return nil, err
	}
	if err := CheckForeign(list, ca); err != nil {
		return nil, err
	}
	if len(list.AuthorityKeyId) > 0 && len(ca.SubjectKeyId) > 0 && !bytes.Equal(list.AuthorityKeyId, ca.SubjectKeyId) {
		return nil, fault.New(fault.Invalid, "has the authorityKeyIdentifier %x, but the issuer has the subjectKeyIdentifier %x: relying parties find no signer for it, have the CRL issued again",
			list.AuthorityKeyId, ca.SubjectKeyId)
	}
	switch {
	case list.Number == nil:
		return nil, fault.New(fault.Invalid, "must have a CRL number (RFC 5280 section 5.2.3)")
	case list.NextUpdate.IsZero():
		return nil, fault.New(fault.Invalid, "must have a nextUpdate (RFC 5280 section 5.1.2.5)")
	case !list.NextUpdate.After(now):
		return nil, fault.New(fault.Invalid, "expired at %s", list.NextUpdate.UTC().Format(time.RFC3339))
	case list.ThisUpdate.After(now.Add(skew)):
		return nil, fault.New(fault.Invalid, "is not valid before %s", list.ThisUpdate.UTC().Format(time.RFC3339))
	}
	number, err := cert.CRLNumberOf(list.Number)
	if err != nil {
		return nil, err
	}
	return list, number.CheckRoom()
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
	issuer, err = s.ca(ctx, issuer)
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
	number, err := cert.CRLNumberOf(list.Number)
	if err != nil {
		return Head{}, err
	}
	if last := before.head; last != nil {
		switch published := last.CRLNumber(); {
		case number == published && bytes.Equal(next.head.SHA256, last.SHA256):
			return *last, nil
		case number.Compare(published) <= 0:
			return Head{}, fault.FieldOf(fault.Conflict, "crl", "has number %s, which is not above that of the list that is published, %s", number, published)
		}
	}
	next.head.identify(p.edition(number, before, s.config.Now()), number)
	if slices.Contains(before.numbers, next.head.Number) {
		// Half of it, from an import that was cut short: its chunks are written again.
		before.numbers = slices.DeleteFunc(before.numbers, func(n int64) bool { return n == next.head.Number })
	}
	p.clean = false
	if err := s.write(ctx, p.name(), next); err != nil {
		return Head{}, err
	}
	p.offer(next)
	p.raise(&next.head)
	s.watchToo(issuer)
	if err := s.retire(ctx, p, before, next.head.Number); err != nil {
		s.config.Log.Warn("octets of an older CRL are left in storage until the next import", "issuer", issuer, "error", err)
		return next.head, nil
	}
	p.clean = true
	return next.head, nil
}

// exact is the largest number that JSON readers hold exactly; edges go by such numbers.
const exact = 1<<53 - 1

// edition returns the number under which storage and edges have an imported list: its
// CRL number where that can be, as with the next one of a list before it.
func (p *publication) edition(number cert.CRLNumber, before past, now time.Time) int64 {
	n := number.Big()
	if n.IsInt64() && n.Sign() > 0 && n.Int64() <= exact && (before.head == nil || n.Int64() > before.head.Number) {
		return n.Int64()
	}
	return p.next(now)
}

// identify sets the numbers of a list.
func (h *Head) identify(edition int64, number cert.CRLNumber) {
	h.Number, h.CRL = edition, nil
	if number != cert.CRLNumberFrom(edition) {
		h.CRL = &number
	}
}

func importedEdition(list *x509.RevocationList, now time.Time) *edition {
	digest := sha256.Sum256(list.Raw)
	return &edition{body: list.Raw, head: Head{
		ThisUpdate: list.ThisUpdate.UTC(), NextUpdate: list.NextUpdate.UTC(),
		Entries: len(list.RevokedCertificateEntries), Size: len(list.Raw), Chunks: chunks(len(list.Raw)), SHA256: digest[:],
		Imported: true, ImportedAt: now.UTC().Truncate(time.Second),
	}}
}
