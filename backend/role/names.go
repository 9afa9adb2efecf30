package role

import (
	"crypto/x509/pkix"
	"net"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// Ask is what a request says about names.
type Ask struct {
	CommonName        string
	AltNames          []string // DNS names and e-mail addresses
	IPSANs            []string
	URISANs           []string
	OtherSANs         []string // "oid;UTF8:value"
	UserIDs           []string
	SerialNumber      string // subject serialNumber attribute
	ExcludeCNFromSANs bool
	CSR               *cert.Request // nil when the engine makes the key
}

// Names returns the subject and the final, normalised set of names, or a refusal
// that names field and rule. Every name passes the one gate of its type on its way
// into the set, wherever it came from (names-1).
func (r *Role) Names(ask Ask, who Identity) (pkix.Name, cert.Names, error) {
	asked := len(ask.AltNames) + len(ask.IPSANs) + len(ask.URISANs) + len(ask.OtherSANs) + len(ask.UserIDs)
	if asked > cert.MaxSANs {
		return pkix.Name{}, cert.Names{}, fault.FieldOf(fault.TooLarge, "alt_names", "at most %d names are read, not %d", cert.MaxSANs, asked)
	}
	g := gate{role: r, who: who, seen: make(map[string]struct{}, asked+2)}
	cn, err := r.commonName(&g, &ask)
	if err != nil {
		return pkix.Name{}, cert.Names{}, err
	}
	if ask.CSR != nil && r.config.UseCSRSANs {
		if ask.CSR.NamesErr != nil {
			return pkix.Name{}, cert.Names{}, fault.Field("csr", "%w; with use_csr_sans=false the role takes names from the request alone", ask.CSR.NamesErr)
		}
		err = g.addAll(ask.CSR.Names)
	} else {
		err = g.readAll(&ask)
	}
	if err != nil {
		return pkix.Name{}, cert.Names{}, err
	}
	subject, err := r.subject(cn, &ask)
	if err != nil {
		return pkix.Name{}, cert.Names{}, err
	}
	return subject, g.names, nil
}

// commonName decides the common name, checks it, and adds it to the alternative
// names unless the request excludes it; excluded or not, the check is the same
// (names-6).
func (r *Role) commonName(g *gate, ask *Ask) (string, error) {
	cn := ask.CommonName
	if ask.CSR != nil && r.config.UseCSRCommonName && ask.CSR.Subject.CommonName != "" {
		cn = ask.CSR.Subject.CommonName
	}
	cn = strings.TrimSpace(cn)
	if cn == "" {
		if r.config.RequireCN {
			return "", fault.Field("common_name", "is required (require_cn)")
		}
		return "", nil
	}
	target := g
	if ask.ExcludeCNFromSANs {
		target = &gate{role: r, who: g.who, seen: make(map[string]struct{}, 1)}
	}
	const field = "common_name"
	switch kindOf(cn) {
	case kindEmail:
		if !r.allowsCN(cnEmail) {
			return "", fault.Field(field, "must not be an e-mail address (cn_validations)")
		}
		return target.addEmail(field, cn)
	case kindIP:
		if !r.allowsCN(cnHostname) {
			return "", fault.Field(field, "must be an e-mail address (cn_validations)")
		}
		return target.addIP(field, cn)
	case kindHost:
		if !r.allowsCN(cnHostname) {
			return "", fault.Field(field, "must be an e-mail address (cn_validations)")
		}
		return target.addDNS(field, cn)
	}
	return cn, g.checkText(cn)
}

func (r *Role) allowsCN(kind string) bool {
	return r.freeCN || slices.Contains(r.config.CNValidations, kind)
}

type nameKind uint8

const (
	kindText nameKind = iota
	kindHost
	kindEmail
	kindIP
)

// kindOf tells what a common name reads as. Text that only resembles a host name
// ("*.*.e.com", "a..b") counts as one, so that the gate refuses it.
func kindOf(cn string) nameKind {
	// The commonest first: NormaliseDNS refuses addresses of both other types.
	if _, err := cert.NormaliseDNS(cn); err == nil {
		return kindHost
	}
	if _, err := cert.ParseEmail(cn); err == nil {
		return kindEmail
	}
	if _, err := cert.ParseIP(cn); err == nil {
		return kindIP
	}
	if strings.Contains(cn, "*") || strings.Contains(cn, ".") && !strings.ContainsAny(cn, " @") && cert.EndsInNumber(cn) {
		return kindHost // 10.1 and 0x7f.1 are read as addresses
	}
	return kindText
}

// gate collects the final set of names and lets each in only by its rule.
type gate struct {
	role  *Role
	who   Identity
	names cert.Names
	seen  map[string]struct{}
}

// fresh reports whether a name of one type is new to the set, and remembers it.
func (g *gate) fresh(kind, name string) bool {
	key := kind + name
	if _, found := g.seen[key]; found {
		return false
	}
	g.seen[key] = struct{}{}
	return true
}

// readAll reads and adds the names of request parameters.
func (g *gate) readAll(ask *Ask) error {
	for _, name := range ask.AltNames {
		var err error
		switch name = strings.TrimSpace(name); {
		case name == "":
			continue
		case strings.Contains(name, "@"):
			_, err = g.addEmail("alt_names", name)
		default:
			_, err = g.addDNS("alt_names", name)
		}
		if err != nil {
			return err
		}
	}
	for _, text := range ask.IPSANs {
		if _, err := g.addIP("ip_sans", text); err != nil {
			return err
		}
	}
	for _, text := range ask.URISANs {
		uri, err := cert.ParseURI(strings.TrimSpace(text))
		if err != nil {
			return fault.Field("uri_sans", "%w", err)
		}
		if err := g.addURI(uri); err != nil {
			return err
		}
	}
	for _, text := range ask.OtherSANs {
		other, err := cert.ParseOtherName(text)
		if err != nil {
			return fault.Field("other_sans", "%w", err)
		}
		if err := g.addOther(other); err != nil {
			return err
		}
	}
	return nil
}

// addAll adds the names of a CSR. They are normalised again: the gate trusts
// nobody, and what is normal stays as it is.
func (g *gate) addAll(names cert.Names) error {
	for _, name := range names.DNS {
		if _, err := g.addDNS("csr", name); err != nil {
			return err
		}
	}
	for _, mailbox := range names.Email {
		if _, err := g.addEmail("csr", mailbox); err != nil {
			return err
		}
	}
	for _, address := range names.IP {
		if _, err := g.addIP("csr", address.String()); err != nil {
			return err
		}
	}
	for _, uri := range names.URI {
		parsed, err := cert.ParseURI(uri.String())
		if err != nil {
			return fault.Field("csr", "%w", err)
		}
		if err := g.addURI(parsed); err != nil {
			return err
		}
	}
	for _, other := range names.Other {
		parsed, err := cert.ParseOtherName(other.String())
		if err != nil {
			return fault.Field("csr", "%w", err)
		}
		if err := g.addOther(parsed); err != nil {
			return err
		}
	}
	return nil
}

func (g *gate) addDNS(field, text string) (string, error) {
	name, err := cert.NormaliseWildcard(text)
	if err != nil {
		return "", fault.Field(field, "%w", err)
	}
	if err := g.role.domains.check(field, hostSubject(name), g.who); err != nil {
		return "", err
	}
	if g.fresh("d", name) {
		g.names.DNS = append(g.names.DNS, name)
	}
	return name, nil
}

func (g *gate) addEmail(field, text string) (string, error) {
	mailbox, err := cert.ParseEmail(text)
	if err != nil {
		return "", fault.Field(field, "%w", err)
	}
	if err := g.role.domains.check(field, emailSubject(mailbox), g.who); err != nil {
		return "", err
	}
	if g.fresh("e", mailbox) {
		g.names.Email = append(g.names.Email, mailbox)
	}
	return mailbox, nil
}

func (g *gate) addIP(field, text string) (string, error) {
	address, err := cert.ParseIP(text)
	if err != nil {
		return "", fault.Field(field, "%w", err)
	}
	switch c := &g.role.config; {
	case !c.AllowIPSANs:
		return "", fault.Field(field, "%s: the role allows no IP addresses (allow_ip_sans)", address)
	case c.Profile != "" && len(g.role.networks) == 0:
		return "", fault.Field(field, "%s: a role with a profile grants IP addresses of the networks in allowed_ip_sans_cidr, which is empty", address)
	}
	inside := func(network *net.IPNet) bool { return network.Contains(address) }
	if len(g.role.networks) > 0 && !slices.ContainsFunc(g.role.networks, inside) {
		return "", fault.Field(field, "%s is in none of the role's networks (allowed_ip_sans_cidr)", address)
	}
	if g.fresh("i", string(address)) {
		g.names.IP = append(g.names.IP, address)
	}
	return address.String(), nil
}

func (g *gate) addURI(uri *url.URL) error {
	const field = "uri_sans"
	if domain, denied := g.role.domains.deniedBy(subject{host: uri.Hostname()}); denied {
		return fault.Field(field, "%q is within %s (denied_domains)", uri, domain)
	}
	if domain, denied := g.role.domains.deniedIn(uri.Opaque); denied { // mailto:, sip:, urn:
		return fault.Field(field, "%q holds %s (denied_domains)", uri, domain)
	}
	if !g.role.uris.grants(uri, g.who) {
		return fault.Field(field, "%q is not granted by the role (allowed_uri_sans)", uri)
	}
	if g.fresh("u", uri.String()) {
		g.names.URI = append(g.names.URI, uri)
	}
	return nil
}

func (g *gate) addOther(other cert.OtherName) error {
	const field = "other_sans"
	if domain, denied := g.role.domains.deniedIn(other.Value); denied {
		return fault.Field(field, "%q holds %s (denied_domains)", other, domain)
	}
	if !slices.ContainsFunc(g.role.others, func(p otherPattern) bool { return p.grants(other) }) {
		return fault.Field(field, "%q is not granted by the role (allowed_other_sans)", other)
	}
	if g.fresh("o", other.String()) {
		g.names.Other = append(g.names.Other, other)
	}
	return nil
}

// checkText judges a common name that is no name of any type, such as "Jane Doe".
func (g *gate) checkText(cn string) error {
	const field = "common_name"
	switch {
	case !utf8.ValidString(cn) || strings.ContainsFunc(cn, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fault.Field(field, "must be text without control characters")
	}
	if domain, denied := g.role.domains.deniedIn(cn); denied {
		return fault.Field(field, "%q holds %s (denied_domains)", cn, domain)
	}
	switch {
	case g.role.freeCN:
		return nil
	case g.role.config.EnforceHostnames:
		return fault.Field(field, "%q is not a host name or e-mail address (enforce_hostnames, cn_validations)", cn)
	case strings.Contains(cn, "@") && !g.role.allowsCN(cnEmail), !strings.Contains(cn, "@") && !g.role.allowsCN(cnHostname):
		return fault.Field(field, "%q is not allowed (cn_validations)", cn)
	}
	return g.role.domains.checkText(field, cn)
}

// subject builds the subject from the role's attributes and the requested ones that
// the role grants.
func (r *Role) subject(cn string, ask *Ask) (pkix.Name, error) {
	serial := strings.TrimSpace(ask.SerialNumber)
	if serial == "" && ask.CSR != nil && r.config.SerialNumberSource == sourceBoth {
		serial = ask.CSR.Subject.SerialNumber
	}
	if serial != "" && !matchesAny(r.config.AllowedSerialNumbers, serial) {
		return pkix.Name{}, fault.Field("serial_number", "%q is not granted by the role (allowed_serial_numbers)", serial)
	}
	subject := r.fixed
	subject.CommonName, subject.SerialNumber = cn, serial
	for _, id := range ask.UserIDs {
		id = strings.TrimSpace(id)
		if id == "" || slices.Contains(profile.UserIDs(&subject), id) {
			continue
		}
		if !matchesAny(r.config.AllowedUserIDs, id) {
			return pkix.Name{}, fault.Field("user_ids", "%q is not granted by the role (allowed_user_ids)", id)
		}
		profile.AddUserID(&subject, id)
	}
	if ask.CSR != nil && r.profile.CSRExtra() == profile.CSRRefuse {
		if extra := r.Extra(ask.CSR, &subject); len(extra) > 0 {
			return subject, fault.Field("csr", "asks for subject attributes that the role does not give: %s (csr_extra=refuse)", strings.Join(extra, ", "))
		}
	}
	return subject, nil
}

func matchesAny(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return p != "" && glob(p, text) })
}
