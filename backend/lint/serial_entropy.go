package lint

import "crypto/x509"

// minSerialBits is the length below which a serial number cannot have come from 64
// random bits, allowing for eight leading zeros.
const minSerialBits = 57

var serialEntropy = rule{
	Rule: Rule{
		Name: "e_serial_number_entropy", Set: "rfc5280", Severity: Error, Citation: "BRs: 7.1, for RFC 5280: 4.1.2.2",
		Description: "A serial number must hold 64 random bits, so that nobody can choose what is signed.",
	},
	check: func(drafted, _ *x509.Certificate) string {
		if drafted.SerialNumber.BitLen() >= minSerialBits {
			return ""
		}
		return "the serial number is too short to hold 64 random bits"
	},
}
