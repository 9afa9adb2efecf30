package lint

import (
	"crypto/x509"
	"encoding/asn1"
)

var (
	oidCRLDistributionPoints = asn1.ObjectIdentifier{2, 5, 29, 31}
	oidFreshestCRL           = asn1.ObjectIdentifier{2, 5, 29, 46}
)

var noRevAvailPointers = rule{
	Rule: Rule{
		Name: "e_no_rev_avail_with_revocation_pointers", Set: "rfc9608", Severity: Error, Citation: "RFC 9608: 3",
		Description: "A certificate with noRevAvail must have no cRLDistributionPoints, no freshestCRL and no OCSP server.",
	},
	check: func(drafted, _ *x509.Certificate) string {
		switch {
		case extension(drafted, oidNoRevAvail) == nil:
			return ""
		case extension(drafted, oidCRLDistributionPoints) != nil:
			return "a certificate with noRevAvail must not have cRLDistributionPoints"
		case extension(drafted, oidFreshestCRL) != nil:
			return "a certificate with noRevAvail must not have freshestCRL"
		case len(drafted.OCSPServer) > 0:
			return "a certificate with noRevAvail must not name an OCSP server"
		}
		return ""
	},
}
