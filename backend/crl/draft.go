package crl

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"iter"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// draft is the next list of an issuer before it is signed. The ledger's view does
// not change between the walks over it.
type draft struct {
	list    List
	extent  extent
	entries iter.Seq[Entry]
	through uint64 // see Head
}

// draft finds out what is on an issuer's list now. A disabled list has no entries.
// Fails with Unavailable until the ledger is loaded (rev-3).
func (s *Service) draft(issuer string, ca *x509.Certificate, settings Settings) (*draft, error) {
	d := &draft{entries: func(func(Entry) bool) {}}
	if settings.Disable {
		return d, nil
	}
	d.through = s.config.Ledger.Sequence() // before the rows: they have it and perhaps more
	rows, err := s.config.Ledger.Revoked(issuer)
	if err != nil {
		return nil, fmt.Errorf("reading revoked certificates of issuer %s: %w", issuer, err)
	}
	d.entries = entriesOf(rows, ca)
	if d.extent, err = measure(d.entries); err != nil {
		return nil, fmt.Errorf("measuring the crl of issuer %s: %w", issuer, err)
	}
	if limit := settings.MaxCRLEntries; limit > 0 && d.extent.entries > limit {
		return nil, fault.FieldOf(fault.Conflict, "max_crl_entries", "issuer %s has %d revoked certificates, more than %d: its CRL is not rebuilt", issuer, d.extent.entries, limit)
	}
	return d, nil
}

// entriesOf returns the CRL entries of revoked rows. The issuer's own certificate
// is left out (ca-4): a list signed by a key cannot revoke that key.
func entriesOf(rows iter.Seq[ledger.Row], ca *x509.Certificate) iter.Seq[Entry] {
	var own cert.Serial
	if bytes.Equal(ca.RawIssuer, ca.RawSubject) {
		own = cert.SerialOf(ca.SerialNumber)
	}
	return func(yield func(Entry) bool) {
		for row := range rows {
			if row.Serial == own {
				continue
			}
			entry := Entry{Serial: row.Serial, RevokedAt: row.RevokedAt, Reason: row.Reason, InvalidityAt: row.Invalidity}
			if !listable(entry.Reason) {
				// A reason that a list cannot say must not keep the revocation off it.
				entry.Reason = cert.Unspecified
			}
			if !yield(entry) {
				return
			}
		}
	}
}

// sign makes an edition of the draft.
func (d *draft) sign(authority *sign.Authority) (*edition, error) {
	var der octets
	if err := encode(&der, authority, d.list, d.extent, d.entries); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(der)
	return &edition{body: der, head: Head{
		Number: d.list.Number, ThisUpdate: d.list.ThisUpdate, NextUpdate: d.list.NextUpdate,
		Entries: d.extent.entries, Size: len(der), Chunks: chunks(len(der)), SHA256: digest[:],
		Through: d.through,
	}}, nil
}

// octets is a writer that takes exactly the room that it is told to.
type octets []byte

// Grow makes room for n octets.
func (o *octets) Grow(n int) { *o = slices.Grow(*o, n) }

// Write implements io.Writer.
func (o *octets) Write(block []byte) (int, error) {
	*o = append(*o, block...)
	return len(block), nil
}
