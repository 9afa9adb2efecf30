package sign

import (
	"crypto/x509"
	"encoding/asn1"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// nameConstraints are the nameConstraints of one CA (RFC 5280 section 4.2.1.10).
// Where relying parties read a constraint differently, the narrower reading of what
// is permitted and the wider one of what is excluded holds.
type nameConstraints struct {
	present             bool
	permitted, excluded subtrees
}

// subtrees is one half of the constraints.
type subtrees struct {
	dns, email, uri []string // lower case; an e-mail constraint's local part as written
	ip              []*net.IPNet
	directory       []distinguishedName
	others          kinds // kinds that are constrained and not understood here
}

// kinds is a set of GeneralName tags.
type kinds uint16

func (k kinds) has(tag int) bool { return k&(1<<tag) != 0 }

const (
	kindOther     = 0
	kindDirectory = 4
	understood    = kinds(1<<1 | 1<<2 | 1<<4 | 1<<6 | 1<<7)
)

var (
	oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidSubjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidEmailAddress    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}

	generalNames = []string{
		"otherName", "rfc822Name", "dNSName", "x400Address", "directoryName",
		"ediPartyName", "uniformResourceIdentifier", "iPAddress", "registeredID",
	}
)

// readNameConstraints takes what crypto/x509 has read and reads the kinds that it
// skips.
func readNameConstraints(ca *x509.Certificate) (nameConstraints, error) {
	value := extensionValue(ca, oidNameConstraints)
	if value == nil {
		return nameConstraints{}, nil
	}
	constraints := nameConstraints{
		present: true,
		permitted: subtrees{
			dns: lower(ca.PermittedDNSDomains), email: lowerDomains(ca.PermittedEmailAddresses),
			uri: lower(ca.PermittedURIDomains), ip: ca.PermittedIPRanges,
		},
		excluded: subtrees{
			dns: lower(ca.ExcludedDNSDomains), email: lowerDomains(ca.ExcludedEmailAddresses),
			uri: lower(ca.ExcludedURIDomains), ip: ca.ExcludedIPRanges,
		},
	}
	input := cryptobyte.String(value)
	var sequence, permitted, excluded cryptobyte.String
	var has bool
	ok := input.ReadASN1(&sequence, cbasn1.SEQUENCE) && input.Empty() &&
		sequence.ReadOptionalASN1(&permitted, &has, cbasn1.Tag(0).ContextSpecific().Constructed()) &&
		sequence.ReadOptionalASN1(&excluded, &has, cbasn1.Tag(1).ContextSpecific().Constructed()) && sequence.Empty() &&
		constraints.permitted.readRest(permitted) && constraints.excluded.readRest(excluded)
	if !ok {
		return nameConstraints{}, fault.New(fault.Conflict, "CA %s has ill-formed nameConstraints", cert.SerialOf(ca.SerialNumber))
	}
	return constraints, nil
}

// CheckConstraints refuses a CA certificate whose critical nameConstraints speak about
// a kind of name that is not understood here: whoever cannot process a constraint must
// reject what is below it (RFC 5280 section 4.2.1.10).
func CheckConstraints(ca *x509.Certificate) error {
	constraints, err := readNameConstraints(ca)
	if err != nil {
		return err
	}
	critical := slices.ContainsFunc(ca.UnhandledCriticalExtensions, oidNameConstraints.Equal)
	for tag, kind := range generalNames {
		if critical && (constraints.permitted.others | constraints.excluded.others).has(tag) {
			return fault.New(fault.Invalid, "critical nameConstraints on %s are not understood: only those on dNSName, rfc822Name, iPAddress, uniformResourceIdentifier and directoryName are", kind)
		}
	}
	return nil
}

// readRest reads directoryName subtrees and notes the kinds that are not understood.
func (s *subtrees) readRest(list cryptobyte.String) bool {
	for !list.Empty() {
		var subtree, base cryptobyte.String
		var tag cbasn1.Tag
		// minimum and maximum, which follow the base, must not be used.
		if !list.ReadASN1(&subtree, cbasn1.SEQUENCE) || !subtree.ReadAnyASN1(&base, &tag) || !subtree.Empty() {
			return false
		}
		number := int(tag & 0x1f)
		switch {
		case number >= len(generalNames):
			return false
		case number == kindDirectory:
			name, err := cert.NameRDNs(base)
			if err != nil {
				return false
			}
			s.directory = append(s.directory, name)
		case !understood.has(number):
			s.others |= 1 << number
		}
	}
	return true
}

// names are all names of a draft that constraints speak about.
type names struct {
	dns, email []string
	uri        []string // hosts; empty for a URI without authority
	ip         []net.IP
	directory  []distinguishedName // the subject and directoryName SANs
	kinds      kinds               // of the subjectAltName
}

// namesOf collects the names of a draft. Relying parties that find no DNS name or
// mailbox in the subjectAltName look into the subject, so those are constrained too.
func namesOf(drafted *x509.Certificate) (*names, error) {
	collected := &names{dns: drafted.DNSNames, email: drafted.EmailAddresses, ip: drafted.IPAddresses}
	for _, uri := range drafted.URIs {
		host := uri.Hostname()
		if net.ParseIP(host) != nil {
			host = "" // RFC 5280 section 4.2.1.10 treats it as no host
		}
		collected.uri = append(collected.uri, host)
	}
	commonName := drafted.Subject.CommonName
	if len(collected.dns) == 0 && !drafted.IsCA && strings.Contains(commonName, ".") {
		if name, err := cert.NormaliseWildcard(commonName); err == nil {
			collected.dns = []string{name}
		}
	}
	if len(collected.email) == 0 {
		for _, attribute := range drafted.Subject.Names {
			if text, ok := attribute.Value.(string); ok && attribute.Type.Equal(oidEmailAddress) {
				collected.email = append(collected.email, text)
			}
		}
	}
	subject, err := cert.NameRDNs(drafted.RawSubject)
	if err != nil {
		return nil, err
	}
	if len(subject) > 0 { // an empty subject is no name
		collected.directory = append(collected.directory, subject)
	}
	input := cryptobyte.String(extensionValue(drafted, oidSubjectAltName))
	var list cryptobyte.String
	for input.ReadASN1(&list, cbasn1.SEQUENCE); !list.Empty(); {
		var body cryptobyte.String
		var tag cbasn1.Tag
		if !list.ReadAnyASN1(&body, &tag) {
			return nil, fault.New(fault.Invalid, "drafted certificate has an ill-formed subjectAltName")
		}
		number := int(tag & 0x1f)
		collected.kinds |= 1 << number
		switch number {
		case kindDirectory:
			name, err := cert.NameRDNs(body)
			if err != nil {
				return nil, err
			}
			collected.directory = append(collected.directory, name)
		case kindOther:
			mailbox, err := smtpUTF8Mailbox(body)
			if err != nil {
				return nil, err
			}
			if mailbox != "" {
				collected.email = append(slices.Clip(collected.email), mailbox)
			}
		}
	}
	return collected, nil
}

// check refuses the first name that the constraints do not allow. With no permitted
// subtree of a kind, every name of that kind is permitted.
func (c *nameConstraints) check(names *names) error {
	for tag, kind := range generalNames {
		if (c.permitted.others | c.excluded.others).has(tag) && names.kinds.has(tag) {
			return fault.New(fault.Invalid, "names of type %s are constrained by the issuer's chain and cannot be judged", kind)
		}
	}
	for _, name := range names.dns {
		if err := judge("DNS name", name, c.permitted.dns, c.excluded.dns, permitsDNS, excludesDNS); err != nil {
			return err
		}
	}
	for _, mailbox := range names.email {
		if err := judge("e-mail address", mailbox, c.permitted.email, c.excluded.email, permitsEmail, excludesEmail); err != nil {
			return err
		}
	}
	for _, host := range names.uri {
		if host == "" && len(c.permitted.uri)+len(c.excluded.uri) > 0 {
			return fault.New(fault.Invalid, "a URI without a host name is not allowed by the issuer's name constraints")
		}
		if err := judge("URI host", host, c.permitted.uri, c.excluded.uri, permitsHost, excludesHost); err != nil {
			return err
		}
	}
	contains := func(network *net.IPNet, address net.IP) bool { return network.Contains(address) }
	for _, address := range names.ip {
		if err := judge("IP address", address, c.permitted.ip, c.excluded.ip, contains, contains); err != nil {
			return err
		}
	}
	prefix := func(base, name distinguishedName) bool { return name.under(base) }
	for _, name := range names.directory {
		if err := judge("distinguished name", name, c.permitted.directory, c.excluded.directory, prefix, prefix); err != nil {
			return err
		}
	}
	return nil
}

// judge applies one kind's subtrees to one name.
func judge[N, S any](kind string, name N, permitted, excluded []S, permits, excludes func(S, N) bool) error {
	allowed := len(permitted) == 0
	for _, subtree := range permitted {
		allowed = allowed || permits(subtree, name)
	}
	if !allowed {
		return fault.New(fault.Invalid, "%s %v is not permitted by the issuer's name constraints", kind, name)
	}
	for _, subtree := range excluded {
		if excludes(subtree, name) {
			return fault.New(fault.Invalid, "%s %v is excluded by the issuer's name constraints", kind, name)
		}
	}
	return nil
}

func extensionValue(c *x509.Certificate, oid asn1.ObjectIdentifier) []byte {
	i := slices.IndexFunc(c.Extensions, func(e extension) bool { return e.Id.Equal(oid) })
	if i < 0 {
		return nil
	}
	return c.Extensions[i].Value
}

func lower(texts []string) []string {
	lowered := make([]string, len(texts))
	for i, text := range texts {
		lowered[i] = strings.ToLower(text)
	}
	return lowered
}

func lowerDomains(mailboxes []string) []string {
	lowered := make([]string, len(mailboxes))
	for i, mailbox := range mailboxes {
		at := strings.LastIndexByte(mailbox, '@')
		lowered[i] = mailbox[:at+1] + strings.ToLower(mailbox[at+1:])
	}
	return lowered
}
