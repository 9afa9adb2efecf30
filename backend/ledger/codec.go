package ledger

import (
	"encoding/binary"
	"fmt"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
)

// The encoding of pages and segments: unsigned varints (LEB128) and octets that
// follow their length. Each value begins with a version octet; a later release
// writes a higher one and still reads the lower.

// zeroUnix is time.Time{}.Unix().
const zeroUnix = -62135596800

// seconds counts from the zero time.Time, so that "not stated" is 0.
func seconds(t time.Time) uint64 { return uint64(max(t.Unix()-zeroUnix, 0)) }

// moment is the reverse of seconds, in UTC.
func moment(s uint64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(int64(s)+zeroUnix, 0).UTC()
}

// maxSeconds is the last second of the year 9999, the end of time in X.509.
const maxSeconds = 253402300799 - zeroUnix

// whole drops what the encoding does not keep of a time.
func whole(t time.Time) time.Time { return moment(seconds(t)) }

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendSeconds(b []byte, t time.Time) []byte { return binary.AppendUvarint(b, seconds(t)) }

// decoder reads a value front to back. After the first error every read returns
// zero and err says what was wrong, so that callers check once. Texts are parts of
// the input: reading one allocates nothing.
type decoder struct {
	rest string
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fault.New(fault.Internal, format, args...)
		d.rest = ""
	}
}

func (d *decoder) octet() byte {
	text := d.take(1)
	if text == "" {
		return 0
	}
	return text[0]
}

func (d *decoder) uvarint() uint64 {
	var value uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen64; i++ {
		b := d.rest[i]
		if i == binary.MaxVarintLen64-1 && b > 1 {
			break
		}
		value |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			d.rest = d.rest[i+1:]
			return value
		}
	}
	d.fail("number is cut off or too large")
	return 0
}

// atMost reads a number and refuses it unless it is at most limit.
func (d *decoder) atMost(limit uint64) uint64 {
	value := d.uvarint()
	if value > limit {
		d.fail("number %d is above %d", value, limit)
		return 0
	}
	return value
}

func (d *decoder) take(n int) string {
	if n > len(d.rest) {
		d.fail("%d octets are missing", n-len(d.rest))
		return ""
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

// text reads octets after their length.
func (d *decoder) text() string { return d.take(int(d.atMost(uint64(len(d.rest))))) }

func (d *decoder) seconds() uint64 { return d.atMost(maxSeconds) }

func (d *decoder) moment() time.Time { return moment(d.seconds()) }

// version reads the version octet of a value below a prefix; newest is the highest that
// this release knows.
func (d *decoder) version(prefix string, newest byte) {
	v := d.octet()
	switch {
	case d.err != nil:
	case v == 0:
		d.fail("0 is no version")
	case v > newest:
		d.err, d.rest = kv.Newer(prefix, int(v), int(newest)), ""
	}
}

// end returns the first error, or one when something is left over.
func (d *decoder) end() error {
	if d.err == nil && d.rest != "" {
		d.fail("%d octets are left over", len(d.rest))
	}
	if d.err != nil {
		return fmt.Errorf("decoding: %w", d.err)
	}
	return nil
}
