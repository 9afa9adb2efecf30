package issuer

import (
	"crypto/x509"
	"encoding/asn1"
	"regexp"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// checkCA refuses a certificate that may not be an issuer here (ca-3).
func checkCA(c *x509.Certificate, now time.Time) error {
	subject := c.Subject.String()
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return fault.Field("certificate", "%q is not a CA certificate: basicConstraints must say CA:TRUE", subject)
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return fault.Field("certificate", "%q must have keyCertSign among its key usages", subject)
	case c.NotAfter.Before(c.NotBefore):
		return fault.Field("certificate", "%q is never valid: its notAfter %s is before its notBefore %s", subject,
			c.NotAfter.UTC().Format(time.RFC3339), c.NotBefore.UTC().Format(time.RFC3339))
	case now.After(c.NotAfter):
		return fault.Field("certificate", "%q expired at %s", subject, c.NotAfter.UTC().Format(time.RFC3339))
	case len(c.Subject.Names) == 0:
		return fault.Field("certificate", "a CA certificate must have a subject (RFC 5280 section 4.1.2.6): serial number %s has none", cert.SerialOf(c.SerialNumber))
	case len(c.SubjectKeyId) == 0:
		return fault.Field("certificate", "%q has no subjectKeyIdentifier (RFC 5280 section 4.2.1.2)", subject)
	}
	for _, oid := range c.UnhandledCriticalExtensions {
		if !oid.Equal(oidNameConstraints) { // those are checked below
			return fault.Field("certificate", "%q has a critical extension that is not known: %s", subject, oid)
		}
	}
	if err := sign.CheckConstraints(c); err != nil {
		return fault.Field("certificate", "%q: %w", subject, err)
	}
	if err := cert.CheckKey(c.PublicKey); err != nil {
		return fault.FieldOf(fault.Invalid, "certificate", "%q: %w", subject, err)
	}
	return nil
}

var oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}

// signsCRLs reports whether the key usage of a CA certificate lets it sign CRLs (RFC
// 5280 section 4.2.1.3). Without the extension nothing is restricted.
func signsCRLs(c *x509.Certificate) bool {
	return c == nil || c.KeyUsage == 0 || c.KeyUsage&x509.KeyUsageCRLSign != 0
}

// UsageFor returns of a list of usages those that the key usage of a CA certificate
// allows; c is nil for an issuer without a certificate.
func UsageFor(c *x509.Certificate, usage []string) []string {
	return slices.DeleteFunc(slices.Clone(usage), func(u string) bool { return u == string(CRLSigning) && !signsCRLs(c) })
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?$`)

// isID reports whether a reference has the form of an id, in any case. No name has it,
// so that nobody takes the place of a deleted issuer to which a role refers by id.
func isID(ref string) bool { return idRule.MatchString(ref) }

var idRule = regexp.MustCompile(`^(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// checkName holds names of issuers to what fits a path segment and cannot be taken
// for an id or a keyword.
func checkName(name string) error {
	switch {
	case strings.EqualFold(name, DefaultRef) || strings.EqualFold(name, selfRef):
		return fault.Field("issuer_name", "%q is reserved: choose another name", name)
	case isID(name):
		return fault.Field("issuer_name", "%q has the form of an issuer's id: choose another name", name)
	case !nameRule.MatchString(name) || strings.Contains(name, ".."):
		return fault.Field("issuer_name", "must be up to 128 letters, digits, '_', '-' and '.', starting and ending with a letter, digit or '_', without '..'")
	}
	return nil
}
