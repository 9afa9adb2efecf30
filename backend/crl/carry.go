package crl

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"iter"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// carry takes the entries of a list that was signed elsewhere into the ledger before the
// first list is made here: the key of the CA has come, and what it has revoked stays
// revoked.
//
// The rows are durable before the imported list is replaced. If we crash in between, the
// next rebuild does it again. Entries that can have no row stay in the heads of lists.
func (t *task) carry(ctx context.Context, last *Head) error {
	if last == nil {
		return nil
	}
	t.aside = last.Aside
	if !last.Imported || last.Entries == 0 {
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
	recorded, foreign, err := t.config.Ledger.AddRevoked(rows, issuers)
	if err == nil {
		err = t.setAside(foreign)
	}
	if err == nil {
		err = t.revokeRecorded(ctx, recorded)
	}
	if err != nil {
		return fmt.Errorf("taking over the imported crl of CA %s: %w", t.issuer, err)
	}
	if err := t.config.Ledger.Flush(ctx); err != nil {
		return fmt.Errorf("taking over the imported crl of CA %s: %w", t.issuer, err)
	}
	t.config.Log.Info("entries of an imported CRL taken over", "ca", t.issuer, "entries", len(rows))
	return nil
}

// revokeRecorded revokes certificates on record that a list of their CA names, which was
// signed elsewhere.
func (t *task) revokeRecorded(ctx context.Context, rows []ledger.Row) error {
	for i := range rows {
		row := &rows[i]
		_, _, err := t.config.Ledger.Revoke(ctx, row.Serial, ledger.Revocation{At: row.RevokedAt, Reason: row.Reason, InvalidityAt: row.Invalidity})
		if err != nil && !fault.Is(err, fault.NotFound) { // an intent: nothing was signed
			return err
		}
	}
	return nil
}

// Aside is an entry of an imported CRL that can have no row in the ledger, because its
// serial number is that of a certificate of another CA.
type Aside struct {
	Serial     []byte      `json:"serial"`
	RevokedAt  time.Time   `json:"revoked_at"`
	Reason     cert.Reason `json:"reason,omitempty"`
	Invalidity time.Time   `json:"invalidity_at,omitzero"`
}

// maxAside bounds the entries of a head. CAs that count their certificates share small
// numbers.
const maxAside = 1000

// setAside keeps entries for the heads of the next lists.
func (t *task) setAside(rows []ledger.Row) error {
	t.aside = nil
	if len(rows) > maxAside {
		return fault.New(fault.Conflict, "%d serial numbers in the CRL, such as %s, are those of certificates of other CAs in this mount, more than %d: give the CA a mount of its own",
			len(rows), rows[0].Serial, maxAside)
	}
	for i := range rows {
		row := &rows[i]
		t.aside = append(t.aside, Aside{Serial: []byte(row.Serial), RevokedAt: row.RevokedAt, Reason: row.Reason, Invalidity: row.Invalidity})
	}
	return nil
}

// withAside adds the entries that have no row, none while lists are disabled.
func (t *task) withAside(entries iter.Seq[Entry]) iter.Seq[Entry] {
	if len(t.aside) == 0 || t.rules.settings.Disable {
		return entries
	}
	return func(yield func(Entry) bool) {
		for entry := range entries {
			if !yield(entry) {
				return
			}
		}
		for i := range t.aside {
			a := &t.aside[i]
			if !yield(Entry{Serial: cert.Serial(a.Serial), RevokedAt: a.RevokedAt, Reason: a.Reason, InvalidityAt: a.Invalidity}) {
				return
			}
		}
	}
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
