package cert

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// lookup is the IDNA profile of RFC 5891 section 5 with the mapping of UTS 46, as
// browsers look names up; dots such as U+3002 become ".". Characters outside
// letters, digits and hyphens are checked by checkLabel, which lets underscores
// live.
var lookup = idna.New(
	idna.MapForLookup(),
	idna.BidiRule(),
	idna.CheckJoiners(true),
	idna.ValidateLabels(true),
	idna.CheckHyphens(false),
	idna.StrictDomainName(false),
	idna.Transitional(false),
	idna.VerifyDNSLength(true),
)

// NormaliseDNS returns the one form in which a DNS name is compared, stored and
// certified: lower case, A-labels, no trailing dot. It refuses empty labels, labels
// beyond 63 and names beyond 253 octets, characters other than letters, digits,
// hyphen and underscore, labels that start or end with a hyphen, U-labels that IDNA
// does not allow or that mix scripts, names that end in a number, and wildcards. A name
// with underscores is a DNS name but no host name: see IsHostname.
func NormaliseDNS(name string) (string, error) {
	// The longest U-label form of a 253 octet name stays well below this.
	if len(name) > 4*MaxDNSName {
		return "", refuseDNS(name[:MaxDNSLabel]+"...", "must be at most 253 octets")
	}
	normal := name
	if !isPlainASCII(name) {
		var err error
		if normal, err = toASCII(name); err != nil {
			return "", err
		}
	}
	normal = strings.TrimSuffix(normal, ".")
	if len(normal) > MaxDNSName {
		return "", refuseDNS(normal, "must be at most 253 octets")
	}
	for label := range strings.SplitSeq(normal, ".") {
		if err := checkLabel(name, label); err != nil {
			return "", err
		}
	}
	if _, err := netip.ParseAddr(normal); err == nil {
		return "", refuseDNS(name, "must not be an IP address: those are asked for as such (ip_sans)")
	}
	if EndsInNumber(normal) {
		return "", refuseDNS(name, "must not end in a number: it would be read as an IP address")
	}
	return strings.ToLower(normal), nil
}

// EndsInNumber reports whether the last label of a name is a number, decimal or
// hexadecimal with 0x. No top-level domain is one (RFC 3696 section 2), and readers take
// such names for IPv4 addresses: 10.1 for 10.0.0.1, 2130706433 for 127.0.0.1 (the URL
// standard of WHATWG, "ends in a number"; RFC 1123 section 2.1).
func EndsInNumber(name string) bool {
	name = strings.TrimSuffix(name, ".")
	last := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
	if hex, found := strings.CutPrefix(last, "0x"); found {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// NormaliseWildcard is NormaliseDNS for a name that may be a wildcard: "*" as the
// whole left-most label (RFC 9525 section 6.3) over at least two more labels.
func NormaliseWildcard(name string) (string, error) {
	rest, wildcard := strings.CutPrefix(name, "*.")
	normal, err := NormaliseDNS(rest)
	if err != nil || !wildcard {
		return normal, err
	}
	if !strings.Contains(normal, ".") {
		return "", refuseDNS(name, "must have two labels after the wildcard")
	}
	if len(normal)+2 > MaxDNSName {
		return "", refuseDNS(name, "must be at most 253 octets")
	}
	return "*." + normal, nil
}

// IsHostname reports whether a normalised DNS name is a host name by RFC 952 and
// RFC 1123: no underscore. The other rules already hold.
func IsHostname(normal string) bool { return !strings.Contains(normal, "_") }

func refuseDNS(name, rule string) error {
	return fault.New(fault.Invalid, "DNS name %q %s", name, rule)
}

// isPlainASCII reports whether IDNA has nothing to say about the name.
func isPlainASCII(name string) bool {
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return false
		}
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) >= 4 && strings.EqualFold(label[:4], "xn--") {
			return false
		}
	}
	return true
}

func checkLabel(name, label string) error {
	switch {
	case label == "":
		return refuseDNS(name, "must not have empty labels")
	case len(label) > MaxDNSLabel:
		return refuseDNS(name, "must have labels of at most 63 octets")
	case label[0] == '-' || label[len(label)-1] == '-':
		return refuseDNS(name, "must not have a label that starts or ends with a hyphen")
	}
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return refuseDNS(name, "must consist of letters, digits, hyphens and underscores")
		}
	}
	return nil
}

func toASCII(name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", refuseDNS(name, "must be UTF-8")
	}
	normal, err := lookup.ToASCII(name)
	if err != nil {
		return "", refuseDNS(name, "must be allowed by IDNA")
	}
	display, err := lookup.ToUnicode(normal)
	if err != nil {
		return "", refuseDNS(name, "must be allowed by IDNA")
	}
	for label := range strings.SplitSeq(display, ".") {
		if !oneScript(label) {
			return "", refuseDNS(name, "must not mix scripts in one label")
		}
	}
	return normal, nil
}

// scriptSets are the combinations that UTS 39 section 5.2 calls highly restrictive.
var scriptSets = [][]*unicode.RangeTable{
	{unicode.Latin, unicode.Han, unicode.Hiragana, unicode.Katakana},
	{unicode.Latin, unicode.Han, unicode.Bopomofo},
	{unicode.Latin, unicode.Han, unicode.Hangul},
}

// oneScript reports whether the letters of a label belong to one script, or to one
// of scriptSets; so "аpple" with a Cyrillic first letter is refused.
func oneScript(label string) bool {
	var first *unicode.RangeTable
	single := true
	sets := len(scriptSets)
	fits := make([]bool, sets)
	for i := range fits {
		fits[i] = true
	}
	for _, r := range label {
		if unicode.In(r, unicode.Common, unicode.Inherited) {
			continue
		}
		if first == nil {
			first = scriptOf(r)
		}
		single = single && first != nil && unicode.Is(first, r)
		for i, set := range scriptSets {
			fits[i] = fits[i] && unicode.In(r, set...)
		}
	}
	for _, fit := range fits {
		single = single || fit
	}
	return single
}

func scriptOf(r rune) *unicode.RangeTable {
	for _, table := range unicode.Scripts {
		if unicode.Is(table, r) {
			return table
		}
	}
	return nil
}
