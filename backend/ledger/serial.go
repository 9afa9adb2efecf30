package ledger

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// A serial number made here has 20 octets, the most that RFC 5280 section 4.1.2.2
// allows:
//
//	1 format, 01 to 7f so that the integer is positive and always 20 octets long
//	3 hour since 1970
//	8 page, random
//	8 random, fresh for each certificate
//
// The first twelve name the page on which the certificate is recorded.
const (
	serialFormat = 0x01
	pageIDLength = 12
	tailLength   = 8
	maxHour      = 1<<24 - 1
)

// hour counts hours since 1970.
type hour uint32

// hourOf returns the hour of a time, at least 1.
func hourOf(t time.Time) hour {
	return hour(min(max(t.Unix()/3600, 1), maxHour))
}

// pageID is the part of a serial number that names its page.
type pageID [pageIDLength]byte

func (p pageID) hour() hour { return hour(binary.BigEndian.Uint32(p[0:4]) & maxHour) }

func (p pageID) leaf() string {
	return layout.Page + hex.EncodeToString(p[1:4]) + "/"
}

func (p pageID) key() string { return p.leaf() + hex.EncodeToString(p[4:]) }

func (p pageID) holds(serial cert.Serial) bool {
	return len(serial) == pageIDLength+tailLength && string(serial[:pageIDLength]) == string(p[:])
}

// leaf returns the storage prefix of the pages of an hour.
func (h hour) leaf() string {
	return layout.Page + hex.EncodeToString([]byte{byte(h >> 16), byte(h >> 8), byte(h)}) + "/"
}

// pageIDOf returns the page that a serial number names; false when the serial
// number was not made here.
func pageIDOf(serial cert.Serial) (pageID, bool) {
	if len(serial) != pageIDLength+tailLength || serial[0] != serialFormat {
		return pageID{}, false
	}
	return pageID([]byte(serial[:pageIDLength])), true
}

// parsePageKey is the reverse of pageID.key.
func parsePageKey(key string) (pageID, bool) {
	id := pageID{serialFormat}
	digits, ok := strings.CutPrefix(key, layout.Page)
	if !ok || len(digits) != 6+1+16 || digits[6] != '/' {
		return pageID{}, false
	}
	if _, err := hex.Decode(id[1:4], []byte(digits[:6])); err != nil {
		return pageID{}, false
	}
	if _, err := hex.Decode(id[4:], []byte(digits[7:])); err != nil {
		return pageID{}, false
	}
	return id, id.key() == key
}

// PageKey returns the storage key of the page that records a serial number, and
// whether the serial number was made here.
func PageKey(serial cert.Serial) (string, bool) {
	id, ok := pageIDOf(serial)
	if !ok {
		return "", false
	}
	return id.key(), true
}

// Hour returns the hour since 1970 in which a serial number was made here.
func Hour(serial cert.Serial) (uint32, bool) {
	id, ok := pageIDOf(serial)
	return uint32(id.hour()), ok
}

// DirtyKey returns the storage key of the marker that names a serial number.
func DirtyKey(serial cert.Serial) string {
	return layout.Dirty + hex.EncodeToString([]byte(serial))
}

// ParseDirtyKey is the reverse of DirtyKey.
func ParseDirtyKey(key string) (cert.Serial, bool) {
	digits, ok := strings.CutPrefix(key, layout.Dirty)
	raw, err := hex.DecodeString(digits)
	serial := cert.Serial(raw)
	if _, ours := pageIDOf(serial); !ok || err != nil || !ours || DirtyKey(serial) != key {
		return "", false
	}
	return serial, true
}

func notFound(serial cert.Serial) error {
	return fault.New(fault.NotFound, "certificate %s is not recorded here", serial)
}

// SamePage reports whether two serial numbers made here name the same page.
func SamePage(a, b cert.Serial) bool {
	id, ours := pageIDOf(a)
	return ours && id.holds(b)
}
