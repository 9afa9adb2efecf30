package crl

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"fmt"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// carry takes the entries of a list that was signed elsewhere into the ledger before the
// first list is made here: the key of the CA has come, and what it has revoked stays
// revoked.
//
// The rows are durable before the imported list is replaced. If we crash in between, the
// next rebuild does it again.
func (t *task) carry(ctx context.Context, last *Head) error {
	if last == nil || !last.Imported || last.Entries == 0 {
		return nil
	}
	body, err := t.readBody(ctx, listName(t.issuer, Complete), *last)
	if err != nil {
		return err
	}
	list, err := x509.ParseRevocationList(body)
	if err != nil {
		return fmt.Errorf("reading the imported crl of CA %s: %w", t.issuer, err)
	}
	issuers, err := t.config.Source.Issuers(ctx, t.issuer)
	if err != nil {
		return err
	}
	if len(issuers) == 0 {
		return fault.New(fault.NotFound, "CA %s has no issuer", t.issuer)
	}
	end := t.authority.Certificate().NotAfter
	rows := make([]ledger.Row, 0, len(list.RevokedCertificateEntries))
	for i := range list.RevokedCertificateEntries {
		row, err := carried(&list.RevokedCertificateEntries[i])
		if err != nil {
			return err
		}
		row.Issuer, row.NotBefore, row.NotAfter = issuers[0], row.RevokedAt, end
		rows = append(rows, row)
	}
	if err := t.config.Ledger.AddRevoked(rows); err != nil {
		return fmt.Errorf("taking over the imported crl of CA %s: %w", t.issuer, err)
	}
	if err := t.config.Ledger.Flush(ctx); err != nil {
		return fmt.Errorf("taking over the imported crl of CA %s: %w", t.issuer, err)
	}
	t.config.Log.Info("entries of an imported CRL taken over", "ca", t.issuer, "entries", len(rows))
	return nil
}

// carried returns the row of an entry. Its certificate is not known: it is kept until the
// CA expires.
func carried(e *x509.RevocationListEntry) (ledger.Row, error) {
	if e.SerialNumber.Sign() <= 0 || len(e.SerialNumber.Bytes()) > cert.MaxSerialOctets {
		return ledger.Row{}, fault.New(fault.Invalid, "the imported CRL has the serial number %s, which no certificate may have (RFC 5280 section 4.1.2.2): sign a list without it and import that", e.SerialNumber)
	}
	row := ledger.Row{Serial: cert.SerialOf(e.SerialNumber), RevokedAt: e.RevocationTime.UTC(), Reason: cert.Reason(e.ReasonCode)}
	if !listable(row.Reason) {
		row.Reason = cert.Unspecified // a reason that no list can give must not hide the revocation
	}
	for _, extension := range e.Extensions {
		if extension.Id.Equal(oidInvalidityDate) {
			if rest, err := asn1.UnmarshalWithParams(extension.Value, &row.Invalidity, "generalized"); err != nil || len(rest) > 0 {
				return ledger.Row{}, fault.New(fault.Invalid, "entry %s of the imported CRL has a malformed invalidityDate", row.Serial)
			}
			row.Invalidity = row.Invalidity.UTC()
		}
	}
	return row, nil
}

var oidInvalidityDate = asn1.ObjectIdentifier{2, 5, 29, 24}
