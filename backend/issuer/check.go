package issuer

import (
	"crypto/x509"
	"regexp"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// checkCA refuses a certificate that may not be an issuer here (ca-3).
func checkCA(c *x509.Certificate, now time.Time) error {
	subject := c.Subject.String()
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return fault.Field("certificate", "%q is not a CA certificate: basicConstraints must say CA:TRUE", subject)
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return fault.Field("certificate", "%q must have keyCertSign among its key usages", subject)
	case now.After(c.NotAfter):
		return fault.Field("certificate", "%q expired at %s", subject, c.NotAfter.UTC().Format(time.RFC3339))
	case len(c.UnhandledCriticalExtensions) > 0:
		return fault.Field("certificate", "%q has a critical extension that is not known: %s", subject, c.UnhandledCriticalExtensions[0])
	case len(c.SubjectKeyId) == 0:
		return fault.Field("certificate", "%q has no subjectKeyIdentifier (RFC 5280 section 4.2.1.2)", subject)
	}
	if err := cert.CheckKey(c.PublicKey); err != nil {
		return fault.FieldOf(fault.Invalid, "certificate", "%q: %w", subject, err)
	}
	return nil
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?$`)

// checkName holds names of issuers to what fits a path segment and cannot be taken
// for an id or a keyword.
func checkName(name string) error {
	switch {
	case name == DefaultRef || name == "self":
		return fault.Field("issuer_name", "%q is reserved", name)
	case !nameRule.MatchString(name) || strings.Contains(name, ".."):
		return fault.Field("issuer_name", "must be up to 128 letters, digits, '_', '-' and '.', starting and ending with a letter, digit or '_', without '..'")
	}
	return nil
}
