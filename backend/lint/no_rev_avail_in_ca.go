package lint

import "crypto/x509"

var noRevAvailInCA = rule{
	Rule: Rule{
		Name: "e_no_rev_avail_in_ca", Set: "rfc9608", Severity: Error, Citation: "RFC 9608: 2",
		Description: "noRevAvail must not be in a CA certificate.",
	},
	check: func(drafted, _ *x509.Certificate) string {
		if !drafted.IsCA || extension(drafted, oidNoRevAvail) == nil {
			return ""
		}
		return "a CA certificate must not have noRevAvail"
	},
}
