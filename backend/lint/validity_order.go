package lint

import "crypto/x509"

var validityOrder = rule{
	Rule: Rule{
		Name: "e_validity_not_positive", Set: "rfc5280", Severity: Error, Citation: "RFC 5280: 4.1.2.5",
		Description: "notAfter must come after notBefore.",
	},
	check: func(drafted, _ *x509.Certificate) string {
		if drafted.NotAfter.After(drafted.NotBefore) {
			return ""
		}
		return "notAfter must come after notBefore"
	},
}
