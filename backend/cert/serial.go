package cert

import (
	"encoding/hex"
	"math/big"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// MaxSerialOctets is the longest serial number that RFC 5280 section 4.1.2.2 lets
// a relying party meet.
const MaxSerialOctets = 20

// maxSerialText is the most bytes of a serial number's spelling: a 0x, a zero octet, and
// some space around it.
const maxSerialText = 3*(MaxSerialOctets+1) + 8

// Serial is a certificate serial number: its magnitude, big-endian, without
// leading zero octets. It is comparable and orders like a string of octets.
type Serial string

// SerialOf returns the Serial of a positive integer.
func SerialOf(n *big.Int) Serial { return Serial(n.Bytes()) }

// ParseSerial reads a serial number in hexadecimal as other programs print it: upper or
// lower case; with or without 0x before it; its octets separated by ":", "-" or spaces
// or by nothing; with zeros before it, or without the zero that its first octet begins
// with. Spellings that could mean two numbers are refused.
func ParseSerial(text string) (Serial, error) {
	if len(text) > maxSerialText {
		return "", fault.Field("serial_number", "must be at most %d bytes in hexadecimal", MaxSerialOctets)
	}
	digits := strings.ToLower(strings.TrimSpace(text))
	if strings.HasPrefix(digits, "-") {
		return "", fault.Field("serial_number", "must be positive (RFC 5280 section 4.1.2.2)")
	}
	digits = strings.TrimPrefix(digits, "0x")
	var octets strings.Builder
	for at, group := range strings.FieldsFunc(digits, func(r rune) bool { return r == ':' || r == '-' || r == ' ' }) {
		if len(group)%2 != 0 {
			if at > 0 {
				return "", fault.Field("serial_number", "must be hexadecimal bytes such as 17:5f:0a; each byte after the first has two digits")
			}
			octets.WriteByte('0') // programs that print a number leave the first zero out
		}
		octets.WriteString(group)
	}
	raw, err := hex.DecodeString(octets.String())
	if err != nil || len(raw) == 0 {
		return "", fault.Field("serial_number", "must be hexadecimal bytes such as 17:5f:0a")
	}
	trimmed := strings.TrimLeft(string(raw), "\x00")
	if trimmed == "" || len(trimmed) > MaxSerialOctets {
		return "", fault.Field("serial_number", "must be positive and at most %d bytes", MaxSerialOctets)
	}
	return Serial(trimmed), nil
}

// Big returns the serial as an integer.
func (s Serial) Big() *big.Int { return new(big.Int).SetBytes([]byte(s)) }

// String returns lower-case hexadecimal octets separated by ":".
func (s Serial) String() string { return colonHex([]byte(s)) }

// Hyphenated returns lower-case hexadecimal octets separated by "-", the form
// that suits a path.
func (s Serial) Hyphenated() string { return strings.ReplaceAll(s.String(), ":", "-") }

func colonHex(raw []byte) string {
	if len(raw) == 0 {
		return ""
	}
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 3*len(raw))
	for _, b := range raw {
		out = append(out, digits[b>>4], digits[b&15], ':')
	}
	return string(out[:len(out)-1])
}
