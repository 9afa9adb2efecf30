package crl

import (
	"encoding/binary"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// The DER tags that a CRL is made of.
const (
	tagInteger         = 0x02
	tagBitString       = 0x03
	tagOctetString     = 0x04
	tagUTCTime         = 0x17
	tagGeneralizedTime = 0x18
	tagSequence        = 0x30
	tagExtensions      = 0xa0 // [0] EXPLICIT
)

// appendHeader appends a tag and a definite length in the fewest octets (X.690
// section 10.1).
func appendHeader(dst []byte, tag byte, length int) []byte {
	dst = append(dst, tag)
	if length < 0x80 {
		return append(dst, byte(length))
	}
	octets := 0
	for rest := length; rest > 0; rest >>= 8 {
		octets++
	}
	dst = append(dst, 0x80|byte(octets))
	for shift := 8 * (octets - 1); shift >= 0; shift -= 8 {
		dst = append(dst, byte(length>>shift))
	}
	return dst
}

// appendValue appends a whole tag, length and value.
func appendValue(dst []byte, tag byte, value []byte) []byte {
	return append(appendHeader(dst, tag, len(value)), value...)
}

// appendInteger appends a positive INTEGER of few octets given by its magnitude,
// big-endian and without leading zero octets.
func appendInteger(dst []byte, magnitude string) []byte {
	if magnitude[0] < 0x80 {
		dst = append(dst, tagInteger, byte(len(magnitude)))
	} else {
		dst = append(dst, tagInteger, byte(len(magnitude)+1), 0)
	}
	return append(dst, magnitude...)
}

// The bounds of the two forms of Time, in seconds since 1970.
const (
	year0     = -62167219200
	year1950  = -631152000
	year2050  = 2524608000
	year10000 = 253402300800
)

// asUTCTime reports whether a Time is written as UTCTime: through the year 2049
// (RFC 5280 section 5.1.2.4).
func asUTCTime(t time.Time) bool {
	return uint64(t.Unix()-year1950) < year2050-year1950
}

// encodable reports whether GeneralizedTime can say the time.
func encodable(t time.Time) bool {
	return uint64(t.Unix()-year0) < year10000-year0
}

const (
	utcTimeSize         = 2 + len("YYMMDDHHMMSSZ")
	generalizedTimeSize = 2 + len("YYYYMMDDHHMMSSZ")
)

// timeSize returns the octets that appendTime appends.
func timeSize(t time.Time) int {
	if asUTCTime(t) {
		return utcTimeSize
	}
	return generalizedTimeSize
}

// appendTime appends a Time: UTCTime through the year 2049, GeneralizedTime from
// 2050 on (RFC 5280 section 5.1.2.4).
func appendTime(dst []byte, t time.Time) []byte {
	var c calendar
	return c.appendTime(dst, t)
}

const secondsPerDay = 24 * 60 * 60

// calendar writes times and remembers the dates of days: a million certificates are
// revoked on some hundreds of days, and the date is most of the work. The zero
// calendar remembers none.
type calendar struct{ days [512]date }

// date is a day as it is written.
type date struct {
	begin  int64 // in seconds since 1970
	digits [len("YYYYMMDD")]byte
}

// appendTime appends a Time as the function of that name does.
func (c *calendar) appendTime(dst []byte, t time.Time) []byte {
	if !asUTCTime(t) {
		return c.appendGeneralized(dst, t)
	}
	day, second := c.split(t)
	dst = append(dst, tagUTCTime, byte(utcTimeSize-2))
	return appendClock(append(dst, day.digits[len("YY"):]...), second)
}

// appendGeneralized appends a GeneralizedTime in UTC with seconds and without
// fractions (RFC 5280 section 4.1.2.5.2).
func (c *calendar) appendGeneralized(dst []byte, t time.Time) []byte {
	day, second := c.split(t)
	dst = append(dst, tagGeneralizedTime, byte(generalizedTimeSize-2))
	return appendClock(append(dst, day.digits[:]...), second)
}

// split returns the day of a time that is encodable, and the second of that day.
func (c *calendar) split(t time.Time) (*date, uint32) {
	seconds := uint64(t.Unix() - year0)
	begin := int64(seconds/secondsPerDay*secondsPerDay) + year0
	day := &c.days[seconds/secondsPerDay%uint64(len(c.days))]
	if day.begin != begin || day.digits[0] == 0 {
		year, month, number := t.UTC().Date()
		day.begin, day.digits = begin, [...]byte{
			digit(year / 1000), digit(year / 100), digit(year / 10), digit(year),
			digit(int(month) / 10), digit(int(month)), digit(number / 10), digit(number),
		}
	}
	return day, uint32(seconds % secondsPerDay)
}

// digit returns the last digit of a number.
func digit(n int) byte { return byte('0' + n%10) }

// appendClock appends HHMMSSZ, its six digits worked out at once: hour, minute and
// second stand 16 bits apart, and 103/1024 is a tenth for numbers below 100.
func appendClock(dst []byte, second uint32) []byte {
	minute := second / 60
	pairs := uint64(minute/60) | uint64(minute%60)<<16 | uint64(second%60)<<32
	tens := pairs * 103 >> 10 & 0x000f_000f_000f
	digits := tens | (pairs-10*tens)<<8 | 0x3030_3030_3030
	return binary.LittleEndian.AppendUint64(dst, digits|'Z'<<48)[:len(dst)+len("HHMMSSZ")]
}

// The entry extensions up to their variable octets: SEQUENCE, OID, OCTET STRING.
const (
	reasonHead     = "\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01" // 2.5.29.21, ENUMERATED
	invalidityHead = "\x30\x18\x06\x03\x55\x1d\x18\x04\x11"         // 2.5.29.24
	reasonSize     = len(reasonHead) + 1
	invaliditySize = len(invalidityHead) + generalizedTimeSize
	maxEntrySize   = 2 + 3 + cert.MaxSerialOctets + generalizedTimeSize + 2 + reasonSize + invaliditySize
)

// Below this every length inside an entry takes one octet.
const _ = uint(0x7f - maxEntrySize)

// extensionsSize returns the octets of the entry's extensions.
func (e *Entry) extensionsSize() (size int) {
	if !e.InvalidityAt.IsZero() {
		size += invaliditySize
	}
	if e.Reason != cert.Unspecified {
		size += reasonSize
	}
	return size
}

// size returns the octets of the entry's DER, or refuses what cannot be encoded.
func (e *Entry) size() (int, error) {
	if e.carried != "" {
		return len(e.carried), nil
	}
	if err := e.check(); err != nil {
		return 0, err
	}
	size := 2 + 2 + len(e.Serial) + int(e.Serial[0]>>7) + timeSize(e.RevokedAt)
	if extensions := e.extensionsSize(); extensions > 0 {
		size += 2 + extensions
	}
	return size, nil
}

// append appends one element of revokedCertificates (RFC 5280 section 5.1), its times
// written by the calendar. The reason unspecified is omitted, as section 5.3.1 asks.
func (e *Entry) append(dst []byte, c *calendar) ([]byte, error) {
	if e.carried != "" {
		return append(dst, e.carried...), nil
	}
	if err := e.check(); err != nil {
		return dst, err
	}
	start := len(dst)
	dst = appendInteger(append(dst, tagSequence, 0), string(e.Serial))
	dst = c.appendTime(dst, e.RevokedAt)
	if extensions := e.extensionsSize(); extensions > 0 {
		dst = append(dst, tagSequence, byte(extensions))
		if !e.InvalidityAt.IsZero() {
			dst = append(dst, invalidityHead...)
			dst = c.appendGeneralized(dst, e.InvalidityAt)
		}
		if e.Reason != cert.Unspecified {
			dst = append(dst, reasonHead...)
			dst = append(dst, byte(e.Reason))
		}
	}
	dst[start+1] = byte(len(dst) - start - 2)
	return dst, nil
}

// check refuses what RFC 5280 gives no encoding for in a complete CRL.
func (e *Entry) check() error {
	switch {
	case e.Serial == "" || e.Serial[0] == 0 || len(e.Serial) > cert.MaxSerialOctets:
		return fault.New(fault.Invalid, "crl entry %s: the serial number must be positive and at most %d bytes", e.Serial, cert.MaxSerialOctets)
	case !encodable(e.RevokedAt) || e.RevokedAt.IsZero():
		return fault.New(fault.Invalid, "crl entry %s: the revocation time is missing or beyond the year 9999", e.Serial)
	case !e.InvalidityAt.IsZero() && !encodable(e.InvalidityAt):
		return fault.New(fault.Invalid, "crl entry %s: the invalidity date is beyond the year 9999", e.Serial)
	case !listable(e.Reason) && !e.removed:
		return fault.New(fault.Invalid, "crl entry %s: reason %d has no place in a complete CRL", e.Serial, uint8(e.Reason))
	}
	return nil
}

// listable reports whether a complete CRL may give the reason: removeFromCRL is
// for deltas only (RFC 5280 section 5.3.1).
func listable(r cert.Reason) bool {
	return r <= cert.AACompromise && r != 7 && r != cert.RemoveFromCRL
}
