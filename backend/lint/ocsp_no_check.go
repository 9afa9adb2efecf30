package lint

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
)

// oidOCSPNoCheck is id-pkix-ocsp-nocheck.
var oidOCSPNoCheck = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}

var ocspNoCheck = rule{
	Rule: Rule{
		Name: "e_ocsp_no_check_without_ocsp_signing", Set: "rfc6960", Severity: Error, Citation: "RFC 6960: 4.2.2.2.1",
		Description: "id-pkix-ocsp-nocheck switches revocation checking off; only an OCSP responder may have it.",
	},
	check: func(drafted, _ *x509.Certificate) string {
		if extension(drafted, oidOCSPNoCheck) == nil || !drafted.IsCA && slices.Contains(drafted.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
			return ""
		}
		return "only an OCSP responder's certificate may have id-pkix-ocsp-nocheck"
	},
}
