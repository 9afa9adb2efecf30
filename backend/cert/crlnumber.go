package cert

import (
	"bytes"
	"math/big"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// MaxCRLNumberOctets is the longest CRL number that RFC 5280 section 5.2.3 lets a relying
// party meet.
const MaxCRLNumberOctets = 20

// crlNumberRoom is how many CRLs must be able to follow one whose number is continued:
// one a second for more than a century.
const crlNumberRoom = 1 << 32

// CRLNumber is a CRL number (RFC 5280 section 5.2.3): an integer from 0 that DER encodes
// in at most 20 octets. It is comparable; the zero CRLNumber is 0. JSON holds it as a
// decimal string, since it may be beyond what readers of JSON numbers keep exactly; a
// JSON number is read too.
type CRLNumber struct {
	octets [MaxCRLNumberOctets]byte // big-endian
}

// maxCRLNumber is the largest that DER encodes in 20 octets: the first bit is the sign.
var maxCRLNumber = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 8*MaxCRLNumberOctets-1), big.NewInt(1))

// CRLNumberFrom returns a number made here; a negative n is 0.
func CRLNumberFrom(n int64) CRLNumber {
	var number CRLNumber
	new(big.Int).SetInt64(max(n, 0)).FillBytes(number.octets[:])
	return number
}

// CRLNumberOf returns the CRLNumber of an integer. Invalid when it is negative or beyond
// 20 octets.
func CRLNumberOf(n *big.Int) (CRLNumber, error) {
	switch {
	case n.Sign() < 0:
		return CRLNumber{}, fault.New(fault.Invalid, "CRL number %s must not be negative (RFC 5280 section 5.2.3)", n)
	case n.Cmp(maxCRLNumber) > 0:
		return CRLNumber{}, fault.New(fault.Invalid, "the CRL number must be at most %d bytes (RFC 5280 section 5.2.3)", MaxCRLNumberOctets)
	}
	var number CRLNumber
	n.FillBytes(number.octets[:])
	return number, nil
}

// ParseCRLNumber reads a decimal number.
func ParseCRLNumber(text string) (CRLNumber, error) {
	const digits = 48 // of maxCRLNumber
	n, ok := new(big.Int), len(text) <= digits && text != "" && strings.Trim(text, "0123456789") == ""
	if ok {
		n, ok = n.SetString(text, 10)
	}
	if !ok {
		return CRLNumber{}, fault.New(fault.Invalid, "must be a decimal number of at most %d bytes (RFC 5280 section 5.2.3)", MaxCRLNumberOctets)
	}
	return CRLNumberOf(n)
}

// Big returns the number as an integer.
func (n CRLNumber) Big() *big.Int { return new(big.Int).SetBytes(n.octets[:]) }

// String returns the number in decimal.
func (n CRLNumber) String() string { return n.Big().String() }

// IsZero reports whether the number is 0.
func (n CRLNumber) IsZero() bool { return n == CRLNumber{} }

// Compare returns -1, 0 or 1 when n is below, equal to or above other.
func (n CRLNumber) Compare(other CRLNumber) int { return bytes.Compare(n.octets[:], other.octets[:]) }

// Max returns the larger of the two.
func (n CRLNumber) Max(other CRLNumber) CRLNumber {
	if n.Compare(other) < 0 {
		return other
	}
	return n
}

// Next returns the number after n; the last one stays.
func (n CRLNumber) Next() CRLNumber {
	next := n.Big()
	if next.Cmp(maxCRLNumber) < 0 {
		next.Add(next, big.NewInt(1))
	}
	next.FillBytes(n.octets[:])
	return n
}

// CheckRoom refuses a number that leaves too few for the lists that follow: who takes
// over a list with such a number could soon publish no further one.
func (n CRLNumber) CheckRoom() error {
	if left := new(big.Int).Sub(maxCRLNumber, n.Big()); left.Cmp(big.NewInt(crlNumberRoom)) < 0 {
		return fault.New(fault.Invalid, "CRL number %s leaves %s numbers below the largest of %d bytes; at least 2^32 must be left for the lists that follow", n, left, MaxCRLNumberOctets)
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler: decimal.
func (n CRLNumber) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler, for YAML.
func (n *CRLNumber) UnmarshalText(text []byte) error {
	parsed, err := ParseCRLNumber(string(text))
	if err != nil {
		return err
	}
	*n = parsed
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *CRLNumber) UnmarshalJSON(raw []byte) error {
	return n.UnmarshalText([]byte(strings.Trim(string(raw), `"`)))
}
