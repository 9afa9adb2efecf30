package lint

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
)

// oidNoRevAvail is id-ce-noRevAvail.
var oidNoRevAvail = asn1.ObjectIdentifier{2, 5, 29, 56}

var noRevAvailForm = rule{
	Rule: Rule{
		Name: "e_no_rev_avail_form", Set: "rfc9608", Severity: Error, Citation: "RFC 9608: 2",
		Description: "noRevAvail must be non-critical and hold NULL.",
	},
	check: func(drafted, _ *x509.Certificate) string {
		found := extension(drafted, oidNoRevAvail)
		switch {
		case found == nil:
			return ""
		case found.Critical:
			return "noRevAvail must not be critical"
		case !bytes.Equal(found.Value, asn1.NullBytes):
			return "noRevAvail must hold NULL"
		}
		return ""
	},
}
