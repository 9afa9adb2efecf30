package role

import (
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// domains are the compiled rules on DNS names and the domains of mailboxes.
type domains struct {
	literal   []string   // normalised, with or without *
	templates []template // rendered for each caller
	denied    []string
	config    *Config
}

func compileDomains(c *Config) (domains, error) {
	d := domains{config: c}
	for _, entry := range c.AllowedDomains {
		entry = strings.TrimSpace(entry)
		switch {
		case entry == "":
		case c.AllowedDomainsTemplate && isTemplate(entry):
			parsed, err := parseTemplate("allowed_domains", entry)
			if err != nil {
				return d, err
			}
			d.templates = append(d.templates, parsed)
		default:
			d.literal = append(d.literal, canonical(entry))
		}
	}
	for _, entry := range c.DeniedDomains {
		normal, err := cert.NormaliseDNS(strings.TrimSpace(entry))
		if err != nil {
			return d, fault.Field("denied_domains", "%w", err)
		}
		d.denied = append(d.denied, normal)
	}
	return d, nil
}

// canonical brings an allowed domain into the form that names are compared in. What
// is neither a name nor a mailbox stays as text: it can only match such text.
func canonical(entry string) string {
	if normal, err := cert.NormaliseDNS(entry); err == nil {
		return normal
	}
	if normal, err := cert.ParseEmail(entry); err == nil {
		return normal
	}
	return strings.ToLower(strings.TrimSuffix(entry, "."))
}

// subject is one name on trial, taken apart once.
type subject struct {
	text     string // the whole normalised name
	host     string // without "*." or "local@"
	wildcard bool
	email    bool
}

func hostSubject(name string) subject {
	host, wildcard := strings.CutPrefix(name, "*.")
	return subject{text: name, host: host, wildcard: wildcard}
}

func emailSubject(mailbox string) subject {
	return subject{text: mailbox, host: mailbox[strings.LastIndexByte(mailbox, '@')+1:], email: true}
}

// check refuses the name unless the role grants it. Denied domains win over all.
func (d *domains) check(field string, s subject, who Identity) error {
	if s.wildcard && !d.config.AllowWildcardCertificates {
		return fault.Field(field, "%q: the role allows no wildcards (allow_wildcard_certificates)", s.text)
	}
	if d.config.EnforceHostnames && !cert.IsHostname(s.host) {
		return fault.Field(field, "%q is not a host name (enforce_hostnames)", s.text)
	}
	if domain, ok := d.deniedBy(s); ok {
		return fault.Field(field, "%q is within %s (denied_domains)", s.text, domain)
	}
	if d.config.AllowAnyName || d.localhost(s) {
		return nil
	}
	for _, domain := range d.literal {
		if d.covers(domain, s) {
			return nil
		}
	}
	for _, t := range d.templates {
		if domain, ok := t.renderDomain(who); ok && d.covers(domain, s) {
			return nil
		}
	}
	return fault.Field(field, "%q is not granted by the role (allowed_domains)", s.text)
}

// checkText is check for a common name that is no host name: only allow_any_name or
// an allowed domain of the very same text grants it. Suffixes and globs have no
// meaning in free text.
func (d *domains) checkText(field, text string) error {
	if d.config.AllowAnyName || d.config.AllowBareDomains && slices.Contains(d.literal, canonical(text)) {
		return nil
	}
	return fault.Field(field, "%q is not granted by the role (allowed_domains)", text)
}

func (d *domains) localhost(s subject) bool {
	return d.config.AllowLocalhost && !s.wildcard && (s.host == "localhost" || s.host == "localdomain")
}

// covers reports whether one allowed domain grants the name.
func (d *domains) covers(domain string, s subject) bool {
	c := d.config
	switch {
	case c.AllowBareDomains && (s.text == domain || s.email && s.host == domain):
		return true
	case c.AllowSubdomains && (under(s.host, domain) || s.wildcard && s.host == domain):
		return true
	case !c.AllowGlobDomains || !strings.Contains(domain, "*"):
		return false
	case s.email && strings.Contains(domain, "@"):
		return globMailbox(domain, s.text)
	case s.email:
		return globLabels(domain, s.host)
	}
	return globLabels(domain, s.text)
}

// deniedIn returns the denied domain that a free text holds, in whatever spelling:
// "evil.org.." is no host name, and careless readers take it for one.
func (d *domains) deniedIn(text string) (string, bool) {
	if len(d.denied) == 0 {
		return "", false
	}
	plain, form := strings.ToLower(text), cert.ComparisonForm(text)
	for _, domain := range d.denied {
		if strings.Contains(plain, domain) || strings.Contains(form, domain) {
			return domain, true
		}
	}
	return "", false
}

// deniedBy returns the denied domain that the name is in, or that a wildcard would
// also stand for.
func (d *domains) deniedBy(s subject) (string, bool) {
	for _, domain := range d.denied {
		if s.host == domain || under(s.host, domain) {
			return domain, true
		}
		if _, parent, _ := strings.Cut(domain, "."); s.wildcard && parent == s.host {
			return domain, true
		}
	}
	return "", false
}
