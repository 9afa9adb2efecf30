package profile

import (
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// nameTypes is the vocabulary of subject alternative names: the profile's word, the
// request field that a refusal names, and how many of them a set holds.
var nameTypes = []struct {
	name  string
	field string
	count func(*cert.Names) int
}{
	{SANDNS, "alt_names", func(n *cert.Names) int { return len(n.DNS) }},
	{SANIP, "ip_sans", func(n *cert.Names) int { return len(n.IP) }},
	{SANURI, "uri_sans", func(n *cert.Names) int { return len(n.URI) }},
	{SANEmail, "alt_names", func(n *cert.Names) int { return len(n.Email) }},
	{SANOther, "other_sans", func(n *cert.Names) int { return len(n.Other) }},
}

// checkNames applies the profile's rules on subject alternative names. The names
// are normalised; who may have them was the role's question.
func (p *Profile) checkNames(names cert.Names) error {
	for _, t := range nameTypes {
		count := t.count(&names)
		if count > 0 && !slices.Contains(p.config.SANTypes, t.name) {
			return fault.Field(t.field, "the profile allows no %s names (san_types)", t.name)
		}
		if count == 0 && slices.Contains(p.config.SANRequiredTypes, t.name) {
			return fault.Field(t.field, "the profile requires a %s name (san_required_types)", t.name)
		}
	}
	switch count := names.Count(); {
	case count < p.config.SANMin:
		return fault.Field("alt_names", "the profile requires at least %d names (san_min)", p.config.SANMin)
	case count > p.config.SANMax:
		return fault.Field("alt_names", "the profile allows at most %d names (san_max)", p.config.SANMax)
	case len(names.URI) > p.config.SANURIMax:
		return fault.Field("uri_sans", "the profile allows at most %d URIs (san_uri_max)", p.config.SANURIMax)
	}
	for _, name := range names.DNS {
		if err := p.checkWildcard(name); err != nil {
			return err
		}
	}
	for _, uri := range names.URI {
		if len(p.config.URISchemes) > 0 && !containsFold(p.config.URISchemes, uri.Scheme) {
			return fault.Field("uri_sans", "scheme %q is not one of the profile's (uri_schemes)", uri.Scheme)
		}
	}
	return nil
}

// checkWildcard holds RFC 6125 section 6.4.3 and names-3 for every certificate,
// whatever the role said: one wildcard, the whole left-most label, with at least
// two labels below it.
func (p *Profile) checkWildcard(name string) error {
	if !strings.Contains(name, "*") {
		return nil
	}
	rest, ok := strings.CutPrefix(name, "*.")
	switch {
	case !ok || strings.Contains(rest, "*") || !strings.Contains(rest, "."):
		return fault.Field("alt_names", "%q: a wildcard must be the whole left-most label above at least two others", name)
	case !p.config.AllowWildcards:
		return fault.Field("alt_names", "%q: the profile allows no wildcards (allow_wildcards)", name)
	}
	return nil
}

func containsFold(list []string, text string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, text) })
}
