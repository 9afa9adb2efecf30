package publish

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/config"
)

// The attributes of RFC 4523 section 4, for publishers that name none. Active
// Directory knows them without the option.
const (
	attributeCRL         = "certificateRevocationList;binary"
	attributeDelta       = "deltaRevocationList;binary"
	attributeCertificate = "cACertificate;binary"
)

// activeDirectory is what such a server says of itself ([MS-ADTS] section 3.1.1.3.4.3).
const activeDirectory = "1.2.840.113556.1.4.800"

// directory is an LDAP server, with one connection for a round.
type directory struct {
	publisher   feed.Publisher
	credentials map[string]config.Credential
	connection  *ldap.Conn
	stop        func() bool // ends the watch over the context
}

// open connects and binds. A password travels over TLS only.
func (d *directory) open(ctx context.Context) error {
	s, err := serverOf(d.publisher, d.credentials)
	if err != nil {
		return err
	}
	switch s.url.Scheme {
	case "ldaps":
	case "ldap":
		if s.secret() && !d.publisher.LDAP.StartTLS {
			return fault.Field("start_tls", "a password is sent over TLS only: set it, or use ldaps")
		}
	default:
		return fault.Field("url", "must begin with ldaps:// or ldap://")
	}
	if s.token != "" {
		return fault.Field("credential", "a directory takes a user and password, or a client certificate")
	}
	if d.connection, err = dial(ctx, s); err != nil {
		return fault.New(fault.Unavailable, "connecting: %w", err)
	}
	d.connection.SetTimeout(connecting)
	d.stop = context.AfterFunc(ctx, func() { _ = d.connection.Close() })
	return d.logIn(s)
}

// dial connects to the server of an LDAP URL. Only its name counts: the URL's DN is
// not where we write.
func dial(ctx context.Context, s *server) (*ldap.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connecting)
	defer cancel()
	port := cmp.Or(s.url.Port(), ldap.DefaultLdapPort)
	if s.url.Scheme == "ldaps" {
		port = cmp.Or(s.url.Port(), ldap.DefaultLdapsPort)
	}
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(s.url.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if s.url.Scheme == "ldaps" {
		encrypted := tls.Client(raw, s.tls)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		raw = encrypted
	}
	connection := ldap.NewConn(raw, s.url.Scheme == "ldaps")
	connection.Start()
	return connection, nil
}

// logIn encrypts the connection, unless it is already, and says who we are.
func (d *directory) logIn(s *server) error {
	if s.url.Scheme == "ldap" && d.publisher.LDAP.StartTLS {
		if err := d.connection.StartTLS(s.tls); err != nil {
			return fault.New(fault.Unavailable, "starting TLS: %w", err)
		}
	}
	_, encrypted := d.connection.TLSConnectionState()
	switch {
	case s.user != "":
		if err := d.connection.Bind(s.user, s.password); err != nil {
			return fault.New(fault.Unavailable, "binding: %w", err)
		}
	case len(s.tls.Certificates) > 0 && encrypted:
		if err := d.connection.ExternalBind(); err != nil {
			return fault.New(fault.Unavailable, "binding by the client certificate: %w", err)
		}
	}
	return nil
}

func (d *directory) close() {
	if d.connection != nil {
		d.stop()
		_ = d.connection.Close()
	}
}

// name returns the entry of an item.
func (d *directory) name(i item) (string, error) {
	name, err := expand(d.publisher.LDAP.BaseDN, "base_dn", i, func(value string) (string, error) { return ldap.EscapeDN(value), nil })
	if err != nil {
		return "", err
	}
	if parsed, err := ldap.ParseDN(name); err != nil || len(parsed.RDNs) == 0 {
		return "", fault.Field("base_dn", "%q is no distinguished name", name)
	}
	return name, nil
}

func (d *directory) attribute(i item) string {
	switch i.kind {
	case certificate:
		return cmp.Or(d.publisher.LDAP.CACertificate, attributeCertificate)
	case delta:
		return cmp.Or(d.publisher.LDAP.DeltaCRL, attributeDelta)
	}
	return cmp.Or(d.publisher.LDAP.CRL, attributeCRL)
}

func (d *directory) place(i item) (string, error) {
	name, err := d.name(i)
	return strings.ToLower(d.attribute(i) + " of " + name), err
}

func (d *directory) read(_ context.Context, i item) ([]byte, error) {
	name, err := d.name(i)
	if err != nil {
		return nil, err
	}
	attribute := d.attribute(i)
	found, err := d.connection.Search(ldap.NewSearchRequest(name, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false,
		"(objectClass=*)", []string{attribute}, nil))
	if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, "reading %s: %w", name, err)
	}
	if len(found.Entries) != 1 {
		return nil, nil
	}
	for _, a := range found.Entries[0].Attributes {
		if strings.EqualFold(bare(a.Name), bare(attribute)) && len(a.ByteValues) == 1 {
			return a.ByteValues[0], nil
		}
	}
	return nil, nil // none, or several, of which replacing leaves one
}

// bare returns an attribute's name without options.
func bare(attribute string) string {
	name, _, _ := strings.Cut(attribute, ";")
	return name
}

// write replaces the attribute, and makes the entry when there is none. Each of the
// requests is atomic (RFC 4511 section 4.6), and so is what a reader sees.
func (d *directory) write(_ context.Context, i item, content []byte) error {
	name, err := d.name(i)
	if err != nil {
		return err
	}
	attribute := d.attribute(i)
	modify := ldap.NewModifyRequest(name, nil)
	modify.Replace(attribute, []string{string(content)})
	err = d.connection.Modify(modify)
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return d.create(name, attribute, i, content)
	case ldap.IsErrorWithCode(err, ldap.LDAPResultObjectClassViolation):
		return d.widen(modify, i)
	case err != nil:
		return fault.New(fault.Unavailable, "writing %s: %w", name, err)
	}
	return nil
}

// widen lets an entry that is something else, such as an organizational unit, be a
// CA as well: pkiCA and deltaCRL are auxiliary (RFC 4523 section 3).
func (d *directory) widen(modify *ldap.ModifyRequest, i item) error {
	class := "pkiCA"
	if i.kind == delta {
		class = "deltaCRL"
	}
	modify.Add("objectClass", []string{class})
	if err := d.connection.Modify(modify); err != nil {
		return fault.New(fault.Unavailable, "writing %s as %s: %w", modify.DN, class, err)
	}
	return nil
}

// create makes the entry with the attribute in it. The entry above must be there.
func (d *directory) create(name, attribute string, i item, content []byte) error {
	values, err := d.entry(name, i)
	if err != nil {
		return err
	}
	values[attribute] = []string{string(content)}
	add := ldap.NewAddRequest(name, nil)
	for attribute, value := range values {
		add.Attribute(attribute, value)
	}
	if err := d.connection.Add(add); err != nil {
		var refused *ldap.Error
		if errors.As(err, &refused) && refused.ResultCode == ldap.LDAPResultNoSuchObject {
			return fault.New(fault.Unavailable, "creating %s: the entry above it does not exist", name)
		}
		return fault.New(fault.Unavailable, "creating %s: %w", name, err)
	}
	return nil
}

// entry returns what a new entry has beside the attribute: a structural class that
// its name fits, and what that demands.
func (d *directory) entry(name string, i item) (map[string][]string, error) {
	parsed, err := ldap.ParseDN(name)
	if err != nil {
		return nil, fault.Field("base_dn", "%q is no distinguished name", name)
	}
	naming := parsed.RDNs[0].Attributes[0]
	values := map[string][]string{naming.Type: {naming.Value}}
	common := strings.EqualFold(naming.Type, "cn")
	switch {
	case common && i.kind != certificate:
		values["objectClass"] = []string{"top", "cRLDistributionPoint"}
		if i.kind == delta && d.isActiveDirectory() { // which demands a complete list as well
			values[bare(cmp.Or(d.publisher.LDAP.CRL, attributeCRL))] = []string{"\x00"}
		}
	case common && d.isActiveDirectory():
		// Its own class, which demands lists as well; certutil writes a zero octet there.
		values["objectClass"] = []string{"top", "certificationAuthority"}
		values["authorityRevocationList"] = []string{"\x00"}
		values["certificateRevocationList"] = []string{"\x00"}
	case common:
		values["objectClass"] = []string{"top", "applicationProcess", "pkiCA"}
	case strings.EqualFold(naming.Type, "ou"):
		values["objectClass"] = []string{"top", "organizationalUnit", "pkiCA", "deltaCRL"}
	case strings.EqualFold(naming.Type, "o"):
		values["objectClass"] = []string{"top", "organization", "pkiCA", "deltaCRL"}
	default:
		return nil, fault.Field("base_dn", "%s does not exist, and only entries named by cn, ou or o are made", name)
	}
	return values, nil
}

// isActiveDirectory asks the server what it can do (RFC 4512 section 5.1). One that
// does not say is none.
func (d *directory) isActiveDirectory() bool {
	found, err := d.connection.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false,
		"(objectClass=*)", []string{"supportedCapabilities"}, nil))
	if err != nil || len(found.Entries) != 1 {
		return false
	}
	return slices.Contains(found.Entries[0].GetAttributeValues("supportedCapabilities"), activeDirectory)
}
