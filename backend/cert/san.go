package cert

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Tags of the GeneralName choice (RFC 5280 section 4.2.1.6) that are understood.
const (
	tagOtherName = 0
	tagEmail     = 1
	tagDNS       = 2
	tagURI       = 6
	tagIP        = 7
)

var (
	oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

	// generalNameTypes names the choice in messages; those that are not parsed are
	// refused, so that no name reaches a certificate unvalidated (names-1).
	generalNameTypes = []string{
		"otherName", "rfc822Name", "dNSName", "x400Address", "directoryName",
		"ediPartyName", "uniformResourceIdentifier", "iPAddress", "registeredID",
	}
)

// ParseOID reads an object identifier in dotted form: at most 32 arcs, each below
// 2^31.
func ParseOID(text string) (asn1.ObjectIdentifier, error) {
	refuse := fault.New(fault.Invalid, "%q must be an object identifier such as 1.3.6.1.4.1.311.20.2.3", text)
	parts := strings.Split(text, ".")
	if len(text) > 256 || len(parts) < 2 || len(parts) > 32 {
		return nil, refuse
	}
	oid := make(asn1.ObjectIdentifier, len(parts))
	for i, part := range parts {
		arc, err := strconv.ParseUint(part, 10, 31)
		if err != nil || len(part) > 1 && part[0] == '0' || arc > math.MaxInt32-80 {
			return nil, refuse
		}
		oid[i] = int(arc)
	}
	if oid[0] > 2 || oid[0] < 2 && oid[1] > 39 {
		return nil, refuse
	}
	return oid, nil
}

// ParseSAN reads the value of a subjectAltName extension and normalises every name.
// DNS names may be wildcards. It refuses more than MaxSANs names before it looks at
// any of them, name types that are not understood, and an empty list.
func ParseSAN(value []byte) (Names, error) {
	outer := cryptobyte.String(value)
	var list cryptobyte.String
	if !outer.ReadASN1(&list, cbasn1.SEQUENCE) || !outer.Empty() || list.Empty() {
		return Names{}, fault.Field("subjectAltName", "must be a list of names in DER")
	}
	count := 0
	for rest := list; !rest.Empty(); count++ {
		var element cryptobyte.String
		var tag cbasn1.Tag
		if !rest.ReadAnyASN1Element(&element, &tag) {
			return Names{}, fault.Field("subjectAltName", "must be a list of names in DER")
		}
	}
	if count > MaxSANs {
		return Names{}, fault.FieldOf(fault.TooLarge, "subjectAltName", "must hold at most %d names, not %d", MaxSANs, count)
	}
	var names Names
	seen := make(map[string]struct{}, count)
	for !list.Empty() {
		var body cryptobyte.String
		var tag cbasn1.Tag
		list.ReadAnyASN1(&body, &tag)
		if err := names.add(tag, body, seen); err != nil {
			return Names{}, fault.Field("subjectAltName", "%w", err)
		}
	}
	return names, nil
}

// add appends one GeneralName unless seen already holds it.
func (n *Names) add(tag cbasn1.Tag, body cryptobyte.String, seen map[string]struct{}) error {
	text := string(body)
	switch tag {
	case contextTag(tagDNS):
		name, err := NormaliseWildcard(text)
		if err == nil && fresh(seen, "d", name) {
			n.DNS = append(n.DNS, name)
		}
		return err
	case contextTag(tagEmail):
		mailbox, err := ParseEmail(text)
		if err == nil && fresh(seen, "e", mailbox) {
			n.Email = append(n.Email, mailbox)
		}
		return err
	case contextTag(tagURI):
		uri, err := ParseURI(text)
		if err == nil && fresh(seen, "u", uri.String()) {
			n.URI = append(n.URI, uri)
		}
		return err
	case contextTag(tagIP):
		if len(body) != net.IPv4len && len(body) != net.IPv6len {
			return fault.New(fault.Invalid, "iPAddress must be 4 or 16 octets, not %d", len(body))
		}
		address := net.IP(slices.Clone(body))
		if four := address.To4(); four != nil {
			address = four
		}
		if fresh(seen, "i", string(address)) {
			n.IP = append(n.IP, address)
		}
		return nil
	case contextTag(tagOtherName).Constructed():
		other, err := readOtherName(body)
		if err == nil && fresh(seen, "o", other.String()) {
			n.Other = append(n.Other, other)
		}
		return err
	}
	if number := int(tag & 0x1f); tag&0xc0 == 0x80 && number < len(generalNameTypes) {
		return fault.New(fault.Invalid, "names of type %s are not supported", generalNameTypes[number])
	}
	return fault.New(fault.Invalid, "must hold GeneralNames only")
}

func contextTag(number uint8) cbasn1.Tag { return cbasn1.Tag(number).ContextSpecific() }

func fresh(seen map[string]struct{}, kind, name string) bool {
	if _, found := seen[kind+name]; found {
		return false
	}
	seen[kind+name] = struct{}{}
	return true
}

// readOtherName reads OtherName ::= SEQUENCE { type-id OID, value [0] EXPLICIT ANY }
// whose value is a UTF8String.
func readOtherName(body cryptobyte.String) (OtherName, error) {
	var oid asn1.ObjectIdentifier
	var explicit, value cryptobyte.String
	if !body.ReadASN1ObjectIdentifier(&oid) || !body.ReadASN1(&explicit, contextTag(0).Constructed()) || !body.Empty() {
		return OtherName{}, fault.New(fault.Invalid, "otherName is ill-formed")
	}
	if !explicit.ReadASN1(&value, cbasn1.UTF8String) || !explicit.Empty() {
		return OtherName{}, fault.New(fault.Invalid, "otherName of type %s must hold one UTF8String", oid)
	}
	other := OtherName{OID: oid.String(), Value: string(value)}
	return other, other.check()
}

// MarshalSAN returns the subjectAltName extension for the names, which are taken as
// they are: DNS, e-mail, IP, URI and then other names, each in the order given. It
// is critical where the subject is empty (RFC 5280 section 4.2.1.6). The standard
// library cannot encode otherName, therefore this.
func MarshalSAN(n Names, critical bool) (pkix.Extension, error) {
	if n.Count() == 0 || n.Count() > MaxSANs {
		return pkix.Extension{}, fault.Field("subjectAltName", "must hold 1 to %d names, not %d", MaxSANs, n.Count())
	}
	others := make([]asn1.ObjectIdentifier, len(n.Other))
	for i, other := range n.Other {
		var err error
		if others[i], err = ParseOID(other.OID); err != nil {
			return pkix.Extension{}, err
		}
		if !utf8.ValidString(other.Value) {
			return pkix.Extension{}, fault.New(fault.Invalid, "other name of type %s must be UTF-8", other.OID)
		}
	}
	builder := cryptobyte.NewBuilder(make([]byte, 0, 64+32*n.Count()))
	builder.AddASN1(cbasn1.SEQUENCE, func(list *cryptobyte.Builder) {
		for _, name := range n.DNS {
			addGeneralName(list, tagDNS, []byte(name))
		}
		for _, mailbox := range n.Email {
			addGeneralName(list, tagEmail, []byte(mailbox))
		}
		for _, address := range n.IP {
			if four := address.To4(); four != nil {
				address = four
			}
			addGeneralName(list, tagIP, address)
		}
		for _, uri := range n.URI {
			addGeneralName(list, tagURI, []byte(uri.String()))
		}
		for i, other := range n.Other {
			addOtherName(list, others[i], other.Value)
		}
	})
	value, err := builder.Bytes()
	if err != nil {
		return pkix.Extension{}, fault.New(fault.Internal, "encoding subjectAltName: %w", err)
	}
	if err := checkIA5(n.DNS, n.Email, n.URI); err != nil {
		return pkix.Extension{}, err
	}
	return pkix.Extension{Id: oidSAN, Critical: critical, Value: value}, nil
}

func addGeneralName(list *cryptobyte.Builder, number uint8, octets []byte) {
	list.AddASN1(contextTag(number), func(b *cryptobyte.Builder) { b.AddBytes(octets) })
}

func addOtherName(list *cryptobyte.Builder, oid asn1.ObjectIdentifier, value string) {
	list.AddASN1(contextTag(tagOtherName).Constructed(), func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1(contextTag(0).Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
		})
	})
}

// checkIA5 refuses names that an IA5String cannot hold: they were not normalised.
func checkIA5(dns, email []string, uris []*url.URL) error {
	texts := slices.Concat(dns, email)
	for _, uri := range uris {
		texts = append(texts, uri.String())
	}
	for _, text := range texts {
		if strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
			return fault.New(fault.Invalid, "name %q must be ASCII", text)
		}
	}
	return nil
}
