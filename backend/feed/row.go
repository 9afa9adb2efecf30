package feed

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// State is what became of a certificate. The zero State is none, so that nothing is
// good by being forgotten.
type State uint8

// The states. A suspended certificate is Revoked with cert.CertificateHold.
const (
	Good    State = 1
	Revoked State = 2
)

// Row is the status of one certificate. Times count in whole seconds, in UTC.
type Row struct {
	Serial       cert.Serial
	Issuer       string // issuer id, 1 to MaxIssuer octets
	State        State
	Reason       cert.Reason // Revoked only
	RevokedAt    time.Time   // Revoked only
	InvalidityAt time.Time   // Revoked only; zero: not stated
	NotAfter     time.Time
	Sequence     uint64 // below 2^53; the newest row of a serial has the highest
}

// The caps on what Decode takes, which hold for what Encode makes as well.
const (
	MaxRows    = 8192    // rows of one answer
	MaxIssuer  = 64      // octets of an issuer id
	MaxOctets  = 1 << 20 // octets of all rows of an answer
	maxIssuers = 1 << 10 // different issuers in one answer
)

// Rows are encoded as
//
//	version octet 1
//	number of issuers, each as length and octets
//	number of rows, each as
//	  flags: the reason in the low four bits, bit 4 set when revoked
//	  length and octets of the serial
//	  place of the issuer in the list
//	  distance from the sequence number of the row before (from 0 for the first)
//	  notAfter
//	  when revoked: the time of revocation, and of invalidity
//
// Numbers are unsigned varints (LEB128). Times are seconds since the year 1, 0 for
// "not stated". A later release that changes this writes a higher version.
const (
	version     = 1
	flagRevoked = 0x10
	reasonBits  = 0x0f

	// zeroUnix is time.Time{}.Unix().
	zeroUnix = -62135596800
	// maxSeconds is the end of the year 9999, which is the end of time in X.509.
	maxSeconds  = 253402300799 - zeroUnix
	maxSequence = 1<<53 - 1
	// minRow is the least that a row takes.
	minRow = 1 + 2 + 1 + 1 + 1
)

func seconds(t time.Time) uint64 { return uint64(min(max(t.Unix()-zeroUnix, 0), maxSeconds)) }

func moment(s uint64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(int64(s)+zeroUnix, 0).UTC()
}

// check refuses a row that Decode would not take.
func (r *Row) check() error {
	switch {
	case len(r.Serial) == 0 || len(r.Serial) > cert.MaxSerialOctets || r.Serial[0] == 0:
		return fault.New(fault.Internal, "feed row has no serial number of 1 to %d bytes", cert.MaxSerialOctets)
	case len(r.Issuer) == 0 || len(r.Issuer) > MaxIssuer:
		return fault.New(fault.Internal, "feed row %s has an issuer id of %d bytes", r.Serial, len(r.Issuer))
	case r.State != Good && r.State != Revoked:
		return fault.New(fault.Internal, "feed row %s has the state %d", r.Serial, r.State)
	case !r.Reason.Known() || r.State == Good && r.Reason != cert.Unspecified:
		return fault.New(fault.Internal, "feed row %s has the reason %d", r.Serial, r.Reason)
	case (r.State == Revoked) == r.RevokedAt.IsZero() || r.State == Good && !r.InvalidityAt.IsZero():
		return fault.New(fault.Internal, "feed row %s has times that do not fit its state", r.Serial)
	case r.Sequence > maxSequence:
		return fault.New(fault.Internal, "feed row %s has the sequence number %d", r.Serial, r.Sequence)
	}
	return nil
}

// Encode returns rows as an answer carries them. They must be in the order of their
// sequence numbers, each greater than the one before, and at most MaxRows. An error
// is Internal: whoever calls has made a mistake.
func Encode(rows []Row) ([]byte, error) {
	if len(rows) > MaxRows {
		return nil, fault.New(fault.Internal, "%d feed rows are more than %d", len(rows), MaxRows)
	}
	numbers := map[string]uint64{}
	var issuers []string
	for i := range rows {
		r := &rows[i]
		if err := r.check(); err != nil {
			return nil, err
		}
		if i > 0 && r.Sequence <= rows[i-1].Sequence {
			return nil, fault.New(fault.Internal, "feed row %s is out of order", r.Serial)
		}
		if _, known := numbers[r.Issuer]; !known {
			numbers[r.Issuer] = uint64(len(issuers))
			issuers = append(issuers, r.Issuer)
		}
	}
	if len(issuers) > maxIssuers {
		return nil, fault.New(fault.Internal, "feed rows of %d issuers are more than %d", len(issuers), maxIssuers)
	}
	b := make([]byte, 0, 16+len(issuers)*(MaxIssuer+1)+len(rows)*40)
	b = binary.AppendUvarint(append(b, version), uint64(len(issuers)))
	for _, issuer := range issuers {
		b = append(binary.AppendUvarint(b, uint64(len(issuer))), issuer...)
	}
	b = binary.AppendUvarint(b, uint64(len(rows)))
	var before uint64
	for i := range rows {
		b = rows[i].append(b, numbers[rows[i].Issuer], before)
		before = rows[i].Sequence
	}
	return b, nil
}

// append appends one row; issuer is its place in the list, before the sequence number
// of the last row.
func (r *Row) append(b []byte, issuer, before uint64) []byte {
	flags := byte(r.Reason)
	if r.State == Revoked {
		flags |= flagRevoked
	}
	b = append(b, flags, byte(len(r.Serial)))
	b = append(b, r.Serial...)
	b = binary.AppendUvarint(b, issuer)
	b = binary.AppendUvarint(b, r.Sequence-before)
	b = binary.AppendUvarint(b, seconds(r.NotAfter))
	if r.State == Revoked {
		b = binary.AppendUvarint(b, seconds(r.RevokedAt))
		b = binary.AppendUvarint(b, seconds(r.InvalidityAt))
	}
	return b
}

// Decode reads what Encode has made, and refuses everything else: Invalid. It
// allocates in proportion to the input. Serials are one copy of the input.
func Decode(raw []byte) ([]Row, error) {
	if len(raw) > MaxOctets {
		return nil, fault.New(fault.Invalid, "feed rows of %d bytes are more than %d", len(raw), MaxOctets)
	}
	d := decoder{rest: string(raw)}
	if v := d.octet(); d.err == nil && v != version {
		return nil, fault.New(fault.Invalid, "feed rows have version %d, this release reads %d", v, version)
	}
	issuers := make([]string, d.count(maxIssuers, 2))
	for i := range issuers {
		issuers[i] = d.text(MaxIssuer)
	}
	rows := make([]Row, d.count(MaxRows, minRow))
	var before uint64
	for i := range rows {
		rows[i] = d.row(issuers, before)
		if d.err == nil && i > 0 && rows[i].Sequence <= before {
			d.fail("row is out of order")
		}
		before = rows[i].Sequence
	}
	if d.err == nil && d.rest != "" {
		d.fail("%d octets are left over", len(d.rest))
	}
	if d.err != nil {
		return nil, fmt.Errorf("decoding feed rows: %w", d.err)
	}
	return rows, nil
}

func (d *decoder) row(issuers []string, before uint64) Row {
	r := Row{State: Good}
	flags := d.octet()
	r.Reason = cert.Reason(flags & reasonBits)
	if flags&^(reasonBits|flagRevoked) != 0 {
		d.fail("flags %#x are not known", flags)
	}
	r.Serial = cert.Serial(d.text(cert.MaxSerialOctets))
	if issuer := d.uvarint(); issuer < uint64(len(issuers)) {
		r.Issuer = issuers[issuer]
	} else {
		d.fail("issuer %d is not in the list", issuer)
	}
	r.Sequence = before + d.atMost(maxSequence-before)
	r.NotAfter = moment(d.atMost(maxSeconds))
	if flags&flagRevoked != 0 {
		r.State = Revoked
		r.RevokedAt, r.InvalidityAt = moment(d.atMost(maxSeconds)), moment(d.atMost(maxSeconds))
	}
	if d.err == nil {
		if err := r.check(); err != nil {
			d.fail("%s", err.Error())
		}
	}
	return r
}

// decoder reads front to back. After the first error every read returns zero.
type decoder struct {
	rest string
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fault.New(fault.Invalid, format, args...)
		d.rest = ""
	}
}

func (d *decoder) octet() byte {
	if text := d.take(1); text != "" {
		return text[0]
	}
	return 0
}

func (d *decoder) take(n int) string {
	if n > len(d.rest) {
		d.fail("octets are missing")
		return ""
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

// uvarint reads a number that is written as short as can be, so that there is one
// spelling of everything.
func (d *decoder) uvarint() uint64 {
	var value uint64
	for i := 0; i < len(d.rest) && i < 9; i++ {
		b := d.rest[i]
		value |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			if b == 0 && i > 0 {
				break
			}
			d.rest = d.rest[i+1:]
			return value
		}
	}
	d.fail("number is cut off, too large or too long")
	return 0
}

func (d *decoder) atMost(limit uint64) uint64 {
	value := d.uvarint()
	if value > limit {
		d.fail("number %d is above %d", value, limit)
		return 0
	}
	return value
}

// count reads how many elements of at least some octets follow.
func (d *decoder) count(limit, octets int) int {
	n := d.atMost(uint64(limit))
	if n > uint64(len(d.rest)/octets) {
		d.fail("elements are missing")
		return 0
	}
	return int(n)
}

func (d *decoder) text(limit int) string {
	n := d.atMost(uint64(limit))
	if n == 0 {
		d.fail("text is empty")
	}
	return d.take(int(n))
}

// Text returns rows as the JSON of an answer carries them: Encode in base64.
func Text(rows []Row) (string, error) {
	raw, err := Encode(rows)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

// ReadText reads what Text has made.
func ReadText(text string) ([]Row, error) {
	if len(text) > base64.StdEncoding.EncodedLen(MaxOctets) {
		return nil, fault.New(fault.Invalid, "feed rows of %d bytes of base64 are too many", len(text))
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "feed rows are not base64")
	}
	return Decode(raw)
}
