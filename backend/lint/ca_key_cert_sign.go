package lint

import "crypto/x509"

var caKeyCertSign = rule{
	Rule: Rule{
		Name: "e_ca_without_key_cert_sign", Set: "rfc5280", Severity: Error, Citation: "RFC 5280: 4.2.1.3",
		Description: "A CA certificate must have key usage keyCertSign.",
	},
	check: func(drafted, _ *x509.Certificate) string {
		if !drafted.IsCA || drafted.KeyUsage&x509.KeyUsageCertSign != 0 {
			return ""
		}
		return "a CA certificate must have key usage keyCertSign"
	},
}
