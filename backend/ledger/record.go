package ledger

import (
	"encoding/binary"
	"maps"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// Caps on texts in a record, in octets. They keep every page of rows far below
// kv.MaxValue, and a page large enough for all of its certificates to be revoked.
const (
	MaxText    = 255 // issuer, role, profile, requester, owner
	MaxComment = 255 // of a revocation
)

// maxRevocation is what revoking adds to a record at most: time, reason,
// invalidity date, comment, and the growth of the record's length.
const maxRevocation = 6 + 1 + 6 + 2 + MaxComment + 2

const (
	pageVersion  = 2 // 1 had no flagResumed
	flagRevoked  = 1
	flagResumed  = 2 // never with flagRevoked, so that revoking adds the most
	recordFlags  = flagRevoked | flagResumed
	maxKnownHash = len(cert.Fingerprint{})
)

// check refuses texts above their cap.
func (r *Record) check() error {
	texts := []struct{ field, text string }{
		{"issuer", r.Issuer}, {"role", r.Role}, {"profile", r.Profile}, {"requester", r.Requester}, {"owner", r.Owner},
	}
	for _, t := range texts {
		if len(t.text) > MaxText {
			return fault.Field(t.field, "must be at most %d bytes, not %d", MaxText, len(t.text))
		}
	}
	if len(r.Replaces) > cert.MaxSerialOctets {
		return fault.Field("replaces", "must be at most %d bytes", cert.MaxSerialOctets)
	}
	if r.Revocation != nil && !r.Resumed.IsZero() {
		return fault.New(fault.Internal, "certificate %s is both revoked and resumed", r.Serial)
	}
	return r.Revocation.check()
}

func (r *Revocation) check() error {
	switch {
	case r == nil:
		return nil
	case !r.Reason.Known():
		return fault.Field("reason", "%d is not a reason of RFC 5280 section 5.3.1", r.Reason)
	case len(r.Comment) > MaxComment:
		return fault.Field("comment", "must be at most %d bytes, not %d", MaxComment, len(r.Comment))
	case r.At.IsZero():
		return fault.New(fault.Internal, "revocation without a time")
	case seconds(r.At) > maxSeconds || seconds(r.InvalidityAt) > maxSeconds:
		return fault.Field("invalidity_date", "must not be after the year 9999")
	}
	return nil
}

// encodeRecord returns the record without its length. The first twelve octets of
// its serial are the page's and not repeated.
func encodeRecord(r *Record) []byte {
	size := 160 + len(r.DER) + len(r.Issuer) + len(r.Role) + len(r.Profile) + len(r.Requester) + len(r.Owner)
	b := make([]byte, 0, size)
	b = append(b, r.Serial[pageIDLength:]...)
	var flags byte
	if r.Revocation != nil {
		flags |= flagRevoked
	}
	if !r.Resumed.IsZero() {
		flags |= flagResumed
	}
	b = append(b, flags)
	b = append(binary.AppendUvarint(b, uint64(len(r.DER))), r.DER...)
	for _, text := range []string{r.Issuer, r.Role, r.Profile, r.Requester, r.Owner, string(r.Replaces)} {
		b = appendText(b, text)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Contacts)))
	for _, contact := range r.Contacts {
		b = appendText(b, contact)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Metadata)))
	for _, name := range slices.Sorted(maps.Keys(r.Metadata)) {
		b = appendText(appendText(b, name), r.Metadata[name])
	}
	b = appendSeconds(b, r.IssuedAt)
	b = append(b, r.KeyHash[:]...)
	if v := r.Revocation; v != nil {
		b = appendSeconds(b, v.At)
		b = append(b, byte(v.Reason))
		b = appendSeconds(b, v.InvalidityAt)
		b = appendText(b, v.Comment)
	}
	if !r.Resumed.IsZero() {
		b = appendSeconds(b, r.Resumed)
	}
	return b
}

// decodeRecord is the reverse of encodeRecord for a record of the page.
func decodeRecord(page pageID, raw string) (Record, error) {
	d := decoder{rest: raw}
	var r Record
	r.Serial = cert.Serial(string(page[:]) + d.take(tailLength))
	flags := d.octet()
	if flags&^recordFlags != 0 {
		d.fail("record flags %#x are not known", flags)
	}
	r.DER = octets(d.text())
	r.Issuer, r.Role, r.Profile, r.Requester, r.Owner = d.text(), d.text(), d.text(), d.text(), d.text()
	r.Replaces = cert.Serial(d.text())
	// A text takes at least its length octet, which bounds both counts.
	for n := d.atMost(uint64(len(d.rest))); n > 0 && d.err == nil; n-- {
		r.Contacts = append(r.Contacts, d.text())
	}
	if n := d.atMost(uint64(len(d.rest) / 2)); n > 0 {
		r.Metadata = make(map[string]string, n)
		for ; n > 0 && d.err == nil; n-- {
			name := d.text()
			r.Metadata[name] = d.text()
		}
	}
	r.IssuedAt = d.moment()
	copy(r.KeyHash[:], d.take(maxKnownHash))
	if flags&flagRevoked != 0 {
		r.Revocation = &Revocation{At: d.moment(), Reason: cert.Reason(d.octet()), InvalidityAt: d.moment(), Comment: d.text()}
		if d.err == nil && r.Revocation.At.IsZero() {
			d.fail("revocation without a time")
		}
	}
	if flags&flagResumed != 0 {
		if r.Resumed = d.moment(); d.err == nil && r.Resumed.IsZero() {
			d.fail("resumption without a time")
		}
	}
	if err := d.end(); err != nil {
		return Record{}, err
	}
	return r, r.check()
}

func octets(text string) []byte {
	if text == "" {
		return nil
	}
	return []byte(text)
}

// sheet is a decoded page whose records are still encoded: finding or replacing
// one does not decode the others.
type sheet struct {
	id      pageID
	records []string
}

func encodeSheet(s sheet) []byte {
	size := 1 + pageIDLength + binary.MaxVarintLen64
	for _, record := range s.records {
		size += len(record) + 3
	}
	b := make([]byte, 0, size)
	b = append(b, pageVersion)
	b = append(b, s.id[:]...)
	b = binary.AppendUvarint(b, uint64(len(s.records)))
	for _, record := range s.records {
		b = appendText(b, record)
	}
	return b
}

func decodeSheet(raw []byte) (sheet, error) {
	d := decoder{rest: string(raw)}
	d.version(layout.Page, pageVersion)
	var s sheet
	copy(s.id[:], d.take(pageIDLength))
	n := d.atMost(MaxPage)
	s.records = make([]string, 0, n)
	for ; n > 0 && d.err == nil; n-- {
		record := d.text()
		if d.err == nil && len(record) < tailLength {
			d.fail("record of %d octets", len(record))
		}
		s.records = append(s.records, record)
	}
	if err := d.end(); err != nil {
		return sheet{}, err
	}
	return s, nil
}

// index returns the place of a serial on the page, -1 when it is not there.
func (s *sheet) index(serial cert.Serial) int {
	if !s.id.holds(serial) {
		return -1
	}
	return slices.IndexFunc(s.records, func(record string) bool {
		return record[:tailLength] == string(serial[pageIDLength:])
	})
}

// all decodes every record.
func (s *sheet) all() ([]Record, error) {
	records := make([]Record, 0, len(s.records))
	for _, raw := range s.records {
		record, err := decodeRecord(s.id, raw)
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	return records, nil
}

// DecodePage decodes a stored page and checks that it belongs under its key.
// Intents are among the records, see Record.DER.
func DecodePage(key string, raw []byte) ([]Record, error) {
	s, err := decodeSheet(raw)
	if err != nil {
		return nil, err
	}
	if id, ok := parsePageKey(key); !ok || id != s.id {
		return nil, fault.New(fault.Internal, "page %s is stored under %s", s.id.key(), key)
	}
	return s.all()
}
