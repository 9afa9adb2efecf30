package crl

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// MaxImport is the longest CRL in octets that ReadForeign takes; it is checked before
// the CRL is parsed (dos-1).
const MaxImport = 1 << 20

// ReadForeign reads one CRL, in PEM or DER, that other software made. Its signature is
// not verified, see CheckForeign.
func ReadForeign(raw []byte) (*x509.RevocationList, error) {
	if len(raw) > MaxImport {
		return nil, fault.New(fault.Invalid, "must be at most %d bytes", MaxImport)
	}
	raw, err := cert.Decode("crl", raw)
	if err != nil {
		return nil, err
	}
	der := raw
	if block, rest := pem.Decode(raw); block != nil {
		if block.Type != "X509 CRL" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, fault.New(fault.Invalid, "must be one PEM block of type X509 CRL, or DER")
		}
		der = block.Bytes
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fault.New(fault.Invalid, "must be one CRL in PEM or DER: %w", err)
	}
	if len(list.Raw) != len(der) {
		return nil, fault.New(fault.Invalid, "has other bytes after the CRL")
	}
	return list, nil
}

// CheckForeign refuses a list that is not a complete one of the CA: what CheckSigned and
// CheckComplete refuse. CRL number and validity are the caller's to judge.
func CheckForeign(list *x509.RevocationList, ca *x509.Certificate) error {
	if err := CheckSigned(list, ca); err != nil {
		return err
	}
	return CheckComplete(list)
}

// CheckSigned refuses a list that the CA did not sign with its key. A list without
// authorityKeyIdentifier is accepted; its signature says which key signed it.
func CheckSigned(list *x509.RevocationList, ca *x509.Certificate) error {
	if !bytes.Equal(list.RawIssuer, ca.RawSubject) {
		return fault.New(fault.Invalid, "names another issuer: %s, not %s", list.Issuer, ca.Subject)
	}
	if named, own := list.AuthorityKeyId, ca.SubjectKeyId; len(named) > 0 && len(own) > 0 && !bytes.Equal(named, own) {
		return fault.New(fault.Invalid, "names another key of the issuer: its authorityKeyIdentifier is %s, the CA's subjectKeyIdentifier is %s",
			hex.EncodeToString(named), hex.EncodeToString(own))
	}
	if err := list.CheckSignatureFrom(ca); err != nil {
		return fault.New(fault.Invalid, "the signature does not verify with the key of %s: %w", ca.Subject, err)
	}
	return nil
}

// CheckComplete refuses a delta, a list that is indirect or for some reasons only, one
// with critical extensions that are not known here, and a CRL number beyond 20 octets.
// Extensions that are not critical do not matter (RFC 5280 section 5.2), such as those
// of AD CS.
func CheckComplete(list *x509.RevocationList) error {
	if list.Number != nil {
		if _, err := cert.CRLNumberOf(list.Number); err != nil {
			return err
		}
	}
	for _, e := range list.Extensions {
		switch {
		case e.Id.String() == "2.5.29.27":
			return fault.New(fault.Invalid, "is a delta CRL; give the complete CRL")
		case e.Id.String() == "2.5.29.28":
			if !wholeScope(e.Value) {
				return fault.New(fault.Invalid, "is indirect, or for some reasons or attribute certificates only (issuingDistributionPoint)")
			}
		case e.Critical:
			return fault.New(fault.Invalid, "has a critical extension that is not known here: %s", e.Id)
		}
	}
	for _, entry := range list.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Critical {
				return fault.New(fault.Invalid, "has an entry with a critical extension that is not known here: %s", e.Id)
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

// Carry returns the entries of a list that CheckForeign accepts, for the list that
// follows it: byte for byte, so that serial numbers that no CA may issue today (negative
// or 0) and extensions that are not critical stay what they are. Refused are entries
// that a complete list cannot have: one serial number twice, and reasons beyond RFC 5280
// section 5.3.1.
func Carry(list *x509.RevocationList) ([]Entry, error) {
	entries := make([]Entry, 0, len(list.RevokedCertificateEntries))
	listed := make(map[string]bool, cap(entries))
	for _, old := range list.RevokedCertificateEntries {
		serial := old.SerialNumber.Text(16)
		if listed[serial] {
			return nil, fault.New(fault.Invalid, "lists serial number %s (hexadecimal) twice; have the software that made it sign it again with one entry each", serial)
		}
		listed[serial] = true
		reason := cert.Reason(old.ReasonCode)
		if old.ReasonCode < 0 || old.ReasonCode > int(cert.AACompromise) || !listable(reason) {
			return nil, fault.New(fault.Invalid, "gives serial number %s (hexadecimal) the reason %d, which a complete CRL cannot have (RFC 5280 section 5.3.1)", serial, old.ReasonCode)
		}
		entry := Entry{RevokedAt: old.RevocationTime, Reason: reason, carried: string(old.Raw)}
		if old.SerialNumber.Sign() > 0 {
			entry.Serial = cert.SerialOf(old.SerialNumber)
		}
		entries = append(entries, entry)
	}
	return entries, nil
}
