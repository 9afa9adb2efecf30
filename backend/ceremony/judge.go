package ceremony

import (
	"crypto/x509"
	"encoding/asn1"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// selfSigned refuses what is not a self-signed CA certificate.
func selfSigned(root *x509.Certificate) error {
	if string(root.RawIssuer) != string(root.RawSubject) {
		return fault.New(fault.Invalid, "is not self-issued")
	}
	if !root.IsCA || !root.BasicConstraintsValid {
		return fault.New(fault.Invalid, "is not a CA certificate")
	}
	return signedBy(root, root)
}

func signedBy(certificate, issuer *x509.Certificate) error {
	if string(certificate.RawIssuer) != string(issuer.RawSubject) {
		return fault.New(fault.Invalid, "names another issuer")
	}
	if err := certificate.CheckSignatureFrom(issuer); err != nil {
		return fault.New(fault.Invalid, "the signature does not verify: %w", err)
	}
	return nil
}

func current(certificate *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(certificate.NotBefore):
		return fault.New(fault.Conflict, "is not valid before %s", certificate.NotBefore.UTC().Format(time.RFC3339))
	case now.After(certificate.NotAfter):
		return fault.New(fault.Conflict, "expired at %s", certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkSerial wants at least 64 bits of length (Baseline Requirements section 7.1)
// and at most 20 octets.
func checkSerial(certificate *x509.Certificate) error {
	n := certificate.SerialNumber
	if n.Sign() <= 0 || n.BitLen() < 56 || n.BitLen() > 8*cert.MaxSerialOctets-1 {
		return fault.New(fault.Invalid, "must be positive, of at least 64 random bits and at most 20 bytes")
	}
	return nil
}

func fresh(list *x509.RevocationList, now time.Time) error {
	switch {
	case now.Before(list.ThisUpdate):
		return fault.New(fault.Conflict, "was issued at %s, which is in the future", list.ThisUpdate.UTC().Format(time.RFC3339))
	case !now.Before(list.NextUpdate):
		return fault.New(fault.Conflict, "a newer one was due at %s", list.NextUpdate.UTC().Format(time.RFC3339))
	}
	return nil
}

const oidScope = "2.5.29.28"

// scope is IssuingDistributionPoint as far as it matters to a complete CRL (RFC 5280
// section 5.2.5).
type scope struct {
	Point    asn1.RawValue `asn1:"optional,tag:0"`
	OnlyUser bool          `asn1:"optional,tag:1"`
	OnlyCA   bool          `asn1:"optional,tag:2"`
}

// checkScope refuses a list that leaves out CA certificates. Without an
// issuingDistributionPoint a list covers everything; with onlyContainsCACerts it covers
// what a root issues.
func checkScope(list *x509.RevocationList) error {
	if err := crl.CheckComplete(list); err != nil {
		return err
	}
	for _, extension := range list.Extensions {
		var s scope
		if extension.Id.String() != oidScope {
			continue
		}
		if rest, err := asn1.Unmarshal(extension.Value, &s); err != nil || len(rest) > 0 || s.OnlyUser {
			return fault.New(fault.Invalid, "must cover CA certificates: its issuingDistributionPoint says onlyContainsUserCerts, or is malformed")
		}
	}
	return nil
}

// requireScope is checkScope for a list that is to be published: its
// issuingDistributionPoint, if any, must be critical.
func requireScope(list *x509.RevocationList) error {
	for _, extension := range list.Extensions {
		if extension.Id.String() == oidScope && !extension.Critical {
			return fault.New(fault.Invalid, "its issuingDistributionPoint must be critical (RFC 5280 section 5.2.5)")
		}
	}
	return checkScope(list)
}
