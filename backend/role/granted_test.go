package role_test

import (
	"crypto/x509/pkix"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// TestNames1_WhatIsGrantedIsInTheSet asks for a name of each type, alone and beside the
// others, by parameters and by a CSR.
func TestNames1_WhatIsGrantedIsInTheSet(t *testing.T) {
	r := compile(t, func(c *role.Config) {
		c.AllowAnyName, c.RequireCN = true, false
		c.AllowedURISANs, c.AllowedOtherSANs = []string{"*"}, []string{"*"}
	})
	const upn = "1.3.6.1.4.1.311.20.2.3"
	types := []struct {
		name cert.Names
		ask  role.Ask
	}{
		{cert.Names{DNS: []string{"a.example.com"}}, role.Ask{AltNames: []string{"a.example.com"}}},
		{cert.Names{Email: []string{"a@example.com"}}, role.Ask{AltNames: []string{"a@example.com"}}},
		{cert.Names{IP: ips("192.0.2.1")}, role.Ask{IPSANs: []string{"192.0.2.1"}}},
		{cert.Names{URI: uris("https://example.com/a")}, role.Ask{URISANs: []string{"https://example.com/a"}}},
		{cert.Names{Other: []cert.OtherName{{OID: upn, Value: "a@example.com"}}}, role.Ask{OtherSANs: []string{upn + ";UTF8:a@example.com"}}},
	}
	for set := 1; set < 1<<len(types); set++ {
		var want cert.Names
		var ask role.Ask
		for i, n := range types {
			if set&(1<<i) == 0 {
				continue
			}
			want.DNS, want.Email = append(want.DNS, n.name.DNS...), append(want.Email, n.name.Email...)
			want.IP, want.URI, want.Other = append(want.IP, n.name.IP...), append(want.URI, n.name.URI...), append(want.Other, n.name.Other...)
			// Twice: a name is in the set once.
			for range 2 {
				ask.AltNames, ask.IPSANs = append(ask.AltNames, n.ask.AltNames...), append(ask.IPSANs, n.ask.IPSANs...)
				ask.URISANs, ask.OtherSANs = append(ask.URISANs, n.ask.URISANs...), append(ask.OtherSANs, n.ask.OtherSANs...)
			}
		}
		_, names := granted(t, r, ask, role.Identity{})
		require.Equal(t, want, names, "parameters, set %b", set)
		_, names = granted(t, r, role.Ask{CSR: csr(pkix.Name{}, want)}, role.Identity{})
		require.Equal(t, want, names, "CSR, set %b", set)
	}
}

func TestNames2_ATemplateThatCannotBeExpandedGrantsNothing(t *testing.T) {
	r := compile(t, func(c *role.Config) {
		c.AllowBareDomains, c.AllowSubdomains, c.RequireCN = true, true, false
		c.AllowedDomains, c.AllowedDomainsTemplate = []string{"{{identity.entity.name}}", "a{{identity.entity.name}}.example.com"}, true
		c.AllowedURISANs, c.AllowedURISANsTemplate = []string{"https://example.com/{{identity.entity.name}}"}, true
	})
	for _, value := range []string{"", "example.com", "a"} {
		who := role.Identity{EntityID: "e", Expand: func(string) (string, error) { return value, errors.New("no such entity") }}
		for _, ask := range []role.Ask{
			{AltNames: []string{"example.com"}},
			{AltNames: []string{"x.example.com"}},
			{AltNames: []string{"a.example.com"}},
			{AltNames: []string{"aa.example.com"}},
			{AltNames: []string{"a@example.com"}},
			{URISANs: []string{"https://example.com/"}},
			{URISANs: []string{"https://example.com/a"}},
		} {
			_, _, err := r.Names(ask, who)
			require.True(t, fault.Is(err, fault.Invalid), "%+v with %q: %v", ask, value, err)
		}
	}
}

func TestNames5_AnOtherNameWithoutAnAtIsNoMailbox(t *testing.T) {
	const upn = "1.3.6.1.4.1.311.20.2.3;UTF8:"
	mailboxes := compile(t, func(c *role.Config) {
		c.RequireCN, c.AllowedOtherSANs = false, []string{upn + "*@example.com", upn + "@example.net", "1.2.3;UTF8:v*"}
	})
	for name, ok := range map[string]bool{
		upn + "@example.com": true, upn + "@example.net": true, upn + "a@example.net": false, upn + "a@example.com": true, upn + "a@EXAMPLE.com": true, upn + "example.com": false, upn + "a": false, upn + "a@b.example.com": false,
		"1.2.3;UTF8:v": true, "1.2.3;UTF8:v@evil.org": true, "1.2.3;UTF8:w": false, "1.2.4;UTF8:v": false,
	} {
		_, names, err := mailboxes.Names(role.Ask{OtherSANs: []string{name}}, role.Identity{})
		require.Equal(t, ok, err == nil, "%s: %v", name, err)
		require.Equal(t, ok, len(names.Other) == 1, name)
	}
}
