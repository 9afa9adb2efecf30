package cert

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Caps on single names, in octets.
const (
	MaxDNSName   = 253 // RFC 1035 section 2.3.4, without the root label
	MaxDNSLabel  = 63
	MaxEmail     = 254 // RFC 5321 section 4.5.3.1.3, without the angle brackets
	MaxURI       = 2048
	MaxOtherName = 1024

	maxLocalPart = 64 // RFC 5321 section 4.5.3.1.1
)

// OtherName is a GeneralName of type otherName: an OID in dotted form and a
// UTF8String value, which is what the built-in engine's other_sans carries.
type OtherName struct {
	OID   string
	Value string
}

// String returns the name as ParseOtherName reads it.
func (o OtherName) String() string { return o.OID + ";UTF8:" + o.Value }

// Names is the set of subject alternative names of one certificate, already
// normalised: DNS names lower case, in A-label form, without a trailing dot.
type Names struct {
	DNS   []string
	IP    []net.IP
	Email []string
	URI   []*url.URL
	Other []OtherName
}

// Count returns how many names the set holds.
func (n Names) Count() int {
	return len(n.DNS) + len(n.IP) + len(n.Email) + len(n.URI) + len(n.Other)
}

// ParseIP reads an IPv4 or IPv6 address and returns its 4 or 16 octets; an IPv4
// address mapped into IPv6 becomes IPv4, so that it cannot dodge a rule.
func ParseIP(text string) (net.IP, error) {
	address, err := netip.ParseAddr(strings.TrimSpace(text))
	if err != nil {
		return nil, fault.New(fault.Invalid, "IP address %q must be IPv4 or IPv6", text)
	}
	if address.Zone() != "" {
		return nil, fault.New(fault.Invalid, "IP address %q must have no zone", text)
	}
	return address.Unmap().AsSlice(), nil
}

// ParseEmail reads a bare mailbox (RFC 5321 section 4.1.2, RFC 5280 section
// 4.2.1.6): an ASCII dot-string, "@" and a domain, which is normalised. Quoted local
// parts, display names and address literals are refused.
func ParseEmail(text string) (string, error) {
	at := strings.LastIndexByte(text, '@')
	if at <= 0 || len(text) > MaxEmail || at > maxLocalPart {
		return "", fault.New(fault.Invalid, "e-mail address %q must be local-part@domain of at most %d bytes", text, MaxEmail)
	}
	local := text[:at]
	for i := range len(local) {
		if !isAtext(local[i]) && (local[i] != '.' || i == 0 || i == len(local)-1 || local[i-1] == '.') {
			return "", fault.New(fault.Invalid, "e-mail address %q must have an unquoted ASCII local part", text)
		}
	}
	domain, err := NormaliseDNS(text[at+1:])
	if err != nil {
		return "", fault.New(fault.Invalid, "e-mail address %q: %w", text, err)
	}
	return local + "@" + domain, nil
}

// isAtext reports whether RFC 5322 section 3.2.3 allows the character in an atom.
func isAtext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// ParseURI reads an absolute URI (RFC 5280 section 4.2.1.6). A URI with an authority
// names a host, which is normalised, and neither userinfo nor dot segments, which
// would let a text pass a pattern that its meaning does not. A URI without an
// authority (urn:, tag:) keeps its scheme-specific part. SPIFFE ids obey the SPIFFE
// ID specification.
func ParseURI(text string) (*url.URL, error) {
	if len(text) > MaxURI {
		return nil, fault.New(fault.Invalid, "URI must be at most %d bytes", MaxURI)
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] >= 0x7f {
			return nil, fault.New(fault.Invalid, "URI %q must be printable ASCII without spaces", text)
		}
	}
	uri, err := url.Parse(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "URI %q cannot be read", text)
	}
	if uri.Scheme == "" {
		return nil, fault.New(fault.Invalid, "URI %q must be absolute", text)
	}
	if uri.Host == "" {
		if uri.Opaque == "" || uri.User != nil || slices.Contains(authoritySchemes, uri.Scheme) {
			return nil, fault.New(fault.Invalid, "URI %q must name a host", text)
		}
		return uri, nil
	}
	if err := normaliseAuthority(uri); err != nil {
		return nil, fault.New(fault.Invalid, "URI %q %w", text, err)
	}
	if uri.Scheme == "spiffe" {
		return uri, checkSPIFFE(uri)
	}
	return uri, nil
}

// authoritySchemes are those that mean nothing without a host.
var authoritySchemes = []string{"http", "https", "ldap", "ldaps", "ftp", "spiffe", "ws", "wss"}

func normaliseAuthority(uri *url.URL) error {
	if uri.User != nil {
		return fault.New(fault.Invalid, "must not hold userinfo")
	}
	for segment := range strings.SplitSeq(uri.Path, "/") {
		if segment == "." || segment == ".." {
			return fault.New(fault.Invalid, "must not hold dot segments")
		}
	}
	host, port := uri.Hostname(), uri.Port()
	if address, err := netip.ParseAddr(host); err == nil && address.Zone() == "" {
		host = address.String()
		if address.Is6() {
			host = "[" + host + "]"
		}
	} else if host, err = NormaliseDNS(host); err != nil {
		return err
	}
	if port != "" {
		host += ":" + port
	}
	uri.Host = host
	return nil
}

// checkSPIFFE holds the SPIFFE ID specification section 2: a trust domain and a
// path of plain segments, nothing else.
func checkSPIFFE(uri *url.URL) error {
	plain := uri.Port() == "" && uri.RawQuery == "" && !uri.ForceQuery && uri.Fragment == "" && uri.RawPath == ""
	for i, segment := range strings.Split(uri.Path, "/") {
		plain = plain && (i == 0 || segment != "") && strings.Trim(segment, spiffeSegment) == ""
	}
	if !plain {
		return fault.New(fault.Invalid, "URI %q must be a SPIFFE ID: spiffe://trust-domain/segments", uri)
	}
	return nil
}

const spiffeSegment = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

// ParseOtherName reads "oid;UTF8:value" as other_sans carries it; the type may also
// be written UTF-8, in any case.
func ParseOtherName(text string) (OtherName, error) {
	oid, typed, found := strings.Cut(text, ";")
	kind, value, typedFound := strings.Cut(typed, ":")
	if !found || !typedFound || !strings.EqualFold(kind, "UTF8") && !strings.EqualFold(kind, "UTF-8") {
		return OtherName{}, fault.New(fault.Invalid, "other name must be oid;UTF8:value")
	}
	name := OtherName{OID: strings.TrimSpace(oid), Value: value}
	return name, name.check()
}

func (o OtherName) check() error {
	if _, err := ParseOID(o.OID); err != nil {
		return fault.New(fault.Invalid, "other name: %w", err)
	}
	if o.Value == "" || len(o.Value) > MaxOtherName || !utf8.ValidString(o.Value) || strings.ContainsFunc(o.Value, Unseen) {
		return fault.New(fault.Invalid, "other name of type %s must be 1 to %d bytes of UTF-8 without control, formatting and other unseen characters", o.OID, MaxOtherName)
	}
	return nil
}
