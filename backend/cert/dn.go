package cert

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// NameKey returns the form of a distinguished name, given in DER, under which names
// that RFC 5280 section 7.1 calls equal are the same text: the type of the string,
// case and surplus white space make no difference. An ill-formed name equals only
// itself. The result is for comparisons: it may change with a version of Unicode.
func NameKey(raw []byte) string {
	rdns, err := NameRDNs(raw)
	if err != nil {
		return "ill-formed:" + string(raw)
	}
	return strings.Join(rdns, ",")
}

// SameName reports whether two distinguished names in DER are equal by RFC 5280
// section 7.1.
func SameName(a, b []byte) bool { return bytes.Equal(a, b) || NameKey(a) == NameKey(b) }

// SelfIssued reports whether issuer and subject of a certificate are the same name.
func SelfIssued(c *x509.Certificate) bool { return SameName(c.RawSubject, c.RawIssuer) }

// NameRDNs returns the relative distinguished names of a Name in DER, each in the
// form that NameKey compares. Invalid for an ill-formed name.
func NameRDNs(raw []byte) ([]string, error) {
	input := cryptobyte.String(raw)
	var sequence cryptobyte.String
	if !input.ReadASN1(&sequence, cbasn1.SEQUENCE) || !input.Empty() {
		return nil, illFormedName()
	}
	rdns := []string{}
	for !sequence.Empty() {
		var set cryptobyte.String
		if !sequence.ReadASN1(&set, cbasn1.SET) || set.Empty() {
			return nil, illFormedName()
		}
		var attributes []string
		for !set.Empty() {
			attribute, ok := attributeKey(&set)
			if !ok {
				return nil, illFormedName()
			}
			attributes = append(attributes, attribute)
		}
		slices.Sort(attributes) // a SET has no order
		rdns = append(rdns, strings.Join(attributes, "+"))
	}
	return rdns, nil
}

func illFormedName() error { return fault.New(fault.Invalid, "distinguished name is ill-formed") }

// attributeKey reads one AttributeTypeAndValue. Quotes keep a value from looking like
// the next attribute.
func attributeKey(set *cryptobyte.String) (string, bool) {
	var pair, value cryptobyte.String
	var oid asn1.ObjectIdentifier
	var tag cbasn1.Tag
	if !set.ReadASN1(&pair, cbasn1.SEQUENCE) || !pair.ReadASN1ObjectIdentifier(&oid) ||
		!pair.ReadAnyASN1(&value, &tag) || !pair.Empty() {
		return "", false
	}
	text, ok := directoryText(tag, value)
	if !ok { // no text: its octets are compared
		return oid.String() + "=#" + strconv.Itoa(int(tag)) + ":" + hex.EncodeToString(value), true
	}
	return oid.String() + "=" + strconv.Quote(foldText(text)), true
}

// Tags of the strings of X.680 that cryptobyte does not name.
const (
	numericString   = cbasn1.Tag(18)
	visibleString   = cbasn1.Tag(26)
	universalString = cbasn1.Tag(28)
	bmpString       = cbasn1.Tag(30)
)

// directoryText decodes the strings that a name may be written in (DirectoryString
// and IA5String of RFC 5280 appendix A.1). TeletexString is read as ISO 8859-1, as
// all who still write it do.
func directoryText(tag cbasn1.Tag, value []byte) (string, bool) {
	switch tag {
	case cbasn1.UTF8String, cbasn1.PrintableString, cbasn1.IA5String, numericString, visibleString:
		return string(value), utf8.Valid(value)
	case cbasn1.T61String:
		runes := make([]rune, len(value))
		for i, b := range value {
			runes[i] = rune(b)
		}
		return string(runes), true
	case bmpString:
		units := make([]uint16, 0, len(value)/2)
		for ; len(value) >= 2; value = value[2:] {
			units = append(units, uint16(value[0])<<8|uint16(value[1]))
		}
		return string(utf16.Decode(units)), len(value) == 0
	case universalString:
		var runes []rune
		for ; len(value) >= 4; value = value[4:] {
			runes = append(runes, rune(value[0])<<24|rune(value[1])<<16|rune(value[2])<<8|rune(value[3]))
		}
		return string(runes), len(value) == 0
	}
	return "", false
}

// foldText prepares a text for comparison (RFC 4518 section 2): characters that
// nobody sees are dropped, case is folded, the text is normalised with NFKC, and white
// space counts once.
func foldText(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf) || r == 0x034f || r >= 0xfe00 && r <= 0xfe0f || r == 0xfffc:
			return -1 // RFC 4518 section 2.2
		}
		return r
	}, text)
	folded := norm.NFKC.String(cases.Fold().String(norm.NFKC.String(text)))
	return strings.Join(strings.Fields(folded), " ")
}
