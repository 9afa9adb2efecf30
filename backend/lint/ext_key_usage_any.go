package lint

import (
	"crypto/x509"
	"slices"
)

var extKeyUsageAny = rule{
	Rule: Rule{
		Name: "w_ext_key_usage_any_with_others", Set: "rfc5280", Severity: Warning, Citation: "RFC 5280: 4.2.1.12",
		Description: "anyExtendedKeyUsage beside other usages makes them void: the certificate authenticates for everything.",
	},
	check: func(drafted, _ *x509.Certificate) string {
		if len(drafted.ExtKeyUsage)+len(drafted.UnknownExtKeyUsage) < 2 || !slices.Contains(drafted.ExtKeyUsage, x509.ExtKeyUsageAny) {
			return ""
		}
		return "anyExtendedKeyUsage makes the other extended key usages void"
	},
}
