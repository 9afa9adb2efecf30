package role

import (
	"net"
	"net/url"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// uris are the compiled patterns of allowed_uri_sans.
type uris struct {
	literal   []string
	templates []template
}

func compileURIs(c *Config) (uris, error) {
	var u uris
	for _, entry := range c.AllowedURISANs {
		entry = strings.TrimSpace(entry)
		switch {
		case entry == "":
		case c.AllowedURISANsTemplate && isTemplate(entry):
			parsed, err := parseTemplate("allowed_uri_sans", entry)
			if err != nil {
				return u, err
			}
			u.templates = append(u.templates, parsed)
		default:
			u.literal = append(u.literal, entry)
		}
	}
	return u, nil
}

func (u *uris) grants(uri *url.URL, who Identity) bool {
	for _, pattern := range u.literal {
		if globURI(pattern, uri) {
			return true
		}
	}
	for _, t := range u.templates {
		if pattern, ok := t.renderURI(who); ok && globURI(pattern, uri) {
			return true
		}
	}
	return false
}

// globURI matches a URI part by part: scheme, then the authority label by label, so
// that "https://e.com*" does not grant https://e.com.evil.org, then the rest, where *
// also stands for slashes. "*" and "scheme://*" grant everything they seem to.
func globURI(pattern string, uri *url.URL) bool {
	if pattern == "*" {
		return true
	}
	scheme, rest, hierarchical := strings.Cut(pattern, "://")
	if !hierarchical || uri.Host == "" {
		return !hierarchical && uri.Host == "" && glob(pattern, uri.String())
	}
	if !glob(strings.ToLower(scheme), uri.Scheme) {
		return false
	}
	authority, path := rest, ""
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority, path = rest[:end], rest[end:]
	}
	if authority == "*" && path == "" {
		return true
	}
	// The URI was parsed by cert.ParseURI: no userinfo, the host normalised.
	_, tail, _ := strings.Cut(uri.String(), "://")
	return globLabels(strings.ToLower(authority), uri.Host) && glob(path, strings.TrimPrefix(tail, uri.Host))
}

// otherPattern is one entry of allowed_other_sans; an empty OID grants every name.
type otherPattern struct {
	oid   string
	value string
}

func compileOthers(entries []string) ([]otherPattern, error) {
	var patterns []otherPattern
	for _, entry := range entries {
		if entry = strings.TrimSpace(entry); entry == "*" {
			patterns = append(patterns, otherPattern{})
			continue
		}
		other, err := cert.ParseOtherName(entry)
		if err != nil {
			return nil, fault.Field("allowed_other_sans", "%q must be OID;UTF8:pattern or *", entry)
		}
		patterns = append(patterns, otherPattern{oid: other.OID, value: other.Value})
	}
	return patterns, nil
}

// grants matches user principal names like mailboxes, so that * in the domain stays
// within a label; other values freely.
func (p otherPattern) grants(name cert.OtherName) bool {
	switch {
	case p.oid == "":
		return true
	case p.oid != name.OID:
		return false
	case strings.Contains(p.value, "@"):
		return globMailbox(p.value, name.Value)
	}
	return glob(p.value, name.Value)
}

func parseNetworks(c *Config) ([]*net.IPNet, error) {
	if len(c.AllowedIPSANsCIDR) > 0 && !c.AllowIPSANs {
		return nil, fault.Field("allowed_ip_sans_cidr", "needs allow_ip_sans")
	}
	networks := make([]*net.IPNet, 0, len(c.AllowedIPSANsCIDR))
	for _, entry := range c.AllowedIPSANsCIDR {
		address, network, err := net.ParseCIDR(strings.TrimSpace(entry))
		if err != nil || !address.Equal(network.IP) {
			return nil, fault.Field("allowed_ip_sans_cidr", "%q is not a network such as 10.0.0.0/8", entry)
		}
		networks = append(networks, network)
	}
	return networks, nil
}
