package lint

import (
	"bytes"
	"crypto/x509"
)

var authorityKeyID = rule{
	Rule: Rule{
		Name: "e_authority_key_identifier_not_issuers", Set: "rfc5280", Severity: Error, Citation: "RFC 5280: 4.2.1.1",
		Description: "The authorityKeyIdentifier must be the issuer's subjectKeyIdentifier, so that a path can be built.",
	},
	check: func(drafted, issuer *x509.Certificate) string {
		if drafted.Equal(issuer) || bytes.Equal(drafted.AuthorityKeyId, issuer.SubjectKeyId) {
			return ""
		}
		return "the authorityKeyIdentifier is not the issuer's subjectKeyIdentifier"
	},
}
