package role_test

import (
	"crypto/x509/pkix"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

func exampleCom(c *role.Config) {
	c.AllowedDomains, c.AllowSubdomains, c.RequireCN = []string{"example.com"}, true, false
}

// refused asserts that names are refused with the field.
func refused(t *testing.T, r *role.Role, ask role.Ask, who role.Identity, field string) {
	t.Helper()
	_, names, err := r.Names(ask, who)
	require.Error(t, err, "granted: %+v", names)
	require.Contains(t, []fault.Kind{fault.Invalid, fault.TooLarge}, fault.KindOf(err), "%v", err)
	require.Equal(t, field, fault.FieldOfError(err), "%v", err)
}

func granted(t *testing.T, r *role.Role, ask role.Ask, who role.Identity) (pkix.Name, cert.Names) {
	t.Helper()
	subject, names, err := r.Names(ask, who)
	require.NoError(t, err)
	return subject, names
}

func TestNames1_OneGateForEverySourceAndType(t *testing.T) {
	r := compile(t, func(c *role.Config) {
		exampleCom(c)
		c.AllowedIPSANsCIDR = []string{"10.0.0.0/8"}
	})
	for name, names := range map[string]cert.Names{
		"dns":    {DNS: []string{"evil.org"}},
		"ip":     {IP: ips("192.0.2.1")},
		"mapped": {IP: ips("::ffff:192.0.2.1")},
		"email":  {Email: []string{"jane@evil.org"}},
		"uri":    {URI: uris("spiffe://example.com/a")},
		"other":  {Other: []cert.OtherName{{OID: "1.3.6.1.4.1.311.20.2.3", Value: "jane@example.com"}}},
	} {
		t.Run("csr "+name, func(t *testing.T) {
			_, _, err := r.Names(role.Ask{CSR: csr(pkix.Name{}, names)}, role.Identity{})
			require.True(t, fault.Is(err, fault.Invalid), "%v", err)
		})
	}
	for field, ask := range map[string]role.Ask{
		"alt_names":   {AltNames: []string{"a.example.com", "evil.org"}},
		"ip_sans":     {IPSANs: []string{"10.1.2.3", "192.0.2.1"}},
		"uri_sans":    {URISANs: []string{"https://a.example.com"}},
		"other_sans":  {OtherSANs: []string{"1.3.6.1.4.1.311.20.2.3;UTF8:jane@example.com"}},
		"common_name": {CommonName: "192.0.2.1"},
	} {
		t.Run("parameter "+field, func(t *testing.T) { refused(t, r, ask, role.Identity{}, field) })
	}
	refused(t, r, role.Ask{CSR: csr(pkix.Name{CommonName: "192.0.2.1"}, cert.Names{})}, role.Identity{}, "common_name")

	subject, names := granted(t, r, role.Ask{CommonName: "10.0.0.7", AltNames: []string{"a.example.com"}}, role.Identity{})
	require.Equal(t, "10.0.0.7", subject.CommonName)
	require.Equal(t, cert.Names{DNS: []string{"a.example.com"}, IP: ips("10.0.0.7")}, names)
	refused(t, compile(t, func(c *role.Config) { exampleCom(c); c.AllowIPSANs = false }), role.Ask{CommonName: "10.0.0.7"}, role.Identity{}, "common_name")
}

func TestNames2_TemplatesYieldDataOnly(t *testing.T) {
	r := compile(t, func(c *role.Config) {
		c.AllowedDomains = []string{"{{identity.entity.metadata.app}}.example.com", "{{identity.entity.metadata.app}}"}
		c.AllowedDomainsTemplate, c.AllowedURISANsTemplate = true, true
		c.AllowBareDomains, c.AllowSubdomains, c.AllowGlobDomains, c.RequireCN = true, true, true, false
		c.AllowedURISANs = []string{"spiffe://example.com/{{identity.entity.metadata.app}}", "https://{{identity.entity.metadata.app}}.example.com/*"}
	})
	for _, value := range []string{
		"*", "a,root", "..", ".", "", "a/b", "a\nb", "**", "*.org", "a b", "%2e%2e", "{{x}}", "a@b@c", "*@org",
		"a.", "\u3002", "a\u3002b", "-a", "*a", "a?b", "a#b", "a:b",
	} {
		who := entity(map[string]string{"app": value})
		for _, name := range []string{"evil.org", "root.example.com", "x.example.com", "example.com", "a.b.org", "*.example.com", "root", "org"} {
			if name == value {
				continue
			}
			_, names, err := r.Names(role.Ask{AltNames: []string{name}}, who)
			require.Error(t, err, "metadata %q grants %v", value, names)
		}
		for _, uri := range []string{"spiffe://example.com/root", "spiffe://example.com/a/b", "https://evil.org/x", "https://x.example.com/y"} {
			_, names, err := r.Names(role.Ask{URISANs: []string{uri}}, who)
			require.Error(t, err, "metadata %q grants %v", value, names)
		}
	}
	who := entity(map[string]string{"app": "Shop"})
	_, names := granted(t, r, role.Ask{
		AltNames: []string{"shop.example.com", "shop"}, URISANs: []string{"spiffe://example.com/Shop", "https://shop.example.com/a/b"},
	}, who)
	require.Equal(t, 4, names.Count())
	refused(t, r, role.Ask{AltNames: []string{"shop.example.com"}}, role.Identity{}, "alt_names")
	refused(t, r, role.Ask{AltNames: []string{"shop.example.com"}}, entity(nil), "alt_names")

	mail := compile(t, func(c *role.Config) {
		c.AllowedDomains, c.AllowedDomainsTemplate = []string{"{{identity.entity.metadata.mail}}"}, true
		c.AllowBareDomains, c.RequireCN = true, false
	})
	jane := entity(map[string]string{"mail": "jane@example.com"})
	granted(t, mail, role.Ask{AltNames: []string{"jane@example.com"}}, jane)
	refused(t, mail, role.Ask{AltNames: []string{"root@example.com"}}, jane, "alt_names")
	refused(t, mail, role.Ask{AltNames: []string{"example.com"}}, jane, "alt_names")
}

func TestNames3_WildcardIsOneWholeLeftMostLabel(t *testing.T) {
	open := compile(t, func(c *role.Config) { c.AllowAnyName, c.RequireCN, c.EnforceHostnames = true, false, false })
	for _, name := range []string{"*.*.e.com", "f*.e.com", "*f.e.com", "*", "*.com", "a.*.com", "**.e.com", "*.", "*..com"} {
		refused(t, open, role.Ask{AltNames: []string{name}}, role.Identity{}, "alt_names")
		refused(t, open, role.Ask{CommonName: name}, role.Identity{}, "common_name")
		_, _, err := open.Names(role.Ask{CSR: csr(pkix.Name{}, cert.Names{DNS: []string{name}})}, role.Identity{})
		require.Error(t, err, name)
	}
	granted(t, open, role.Ask{AltNames: []string{"*.e.com"}}, role.Identity{})

	for name, c := range map[string]struct {
		change func(*role.Config)
		name   string
		ok     bool
	}{
		"bare only":             {func(c *role.Config) { c.AllowBareDomains = true }, "*.e.com", false},
		"subdomains":            {func(c *role.Config) { c.AllowSubdomains = true }, "*.e.com", true},
		"deeper":                {func(c *role.Config) { c.AllowSubdomains = true }, "*.a.e.com", true},
		"above":                 {func(c *role.Config) { c.AllowedDomains, c.AllowSubdomains = []string{"a.e.com"}, true }, "*.e.com", false},
		"switched off":          {func(c *role.Config) { c.AllowSubdomains, c.AllowWildcardCertificates = true, false }, "*.e.com", false},
		"glob of a label":       {func(c *role.Config) { c.AllowedDomains, c.AllowGlobDomains = []string{"*.e.com"}, true }, "*.e.com", true},
		"glob of a part":        {func(c *role.Config) { c.AllowedDomains, c.AllowGlobDomains = []string{"web*.e.com"}, true }, "*.e.com", false},
		"listed in so many":     {func(c *role.Config) { c.AllowedDomains, c.AllowBareDomains = []string{"*.e.com"}, true }, "*.e.com", true},
		"listed, none below it": {func(c *role.Config) { c.AllowedDomains, c.AllowBareDomains = []string{"*.e.com"}, true }, "a.e.com", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := compile(t, func(config *role.Config) {
				config.AllowedDomains, config.RequireCN = []string{"e.com"}, false
				c.change(config)
			})
			_, _, err := r.Names(role.Ask{AltNames: []string{c.name}}, role.Identity{})
			require.Equal(t, c.ok, err == nil, "%v", err)
		})
	}
}

func TestNames4_NormalisedOnceBeforeAnyCheck(t *testing.T) {
	r := compile(t, func(c *role.Config) { exampleCom(c); c.AllowBareDomains, c.EnforceHostnames = true, false })
	for _, text := range []string{"EXAMPLE.com.", "Example.COM", "example\u3002com", "ｅxample.com"} {
		subject, names := granted(t, r, role.Ask{CommonName: text, AltNames: []string{text, "example.com"}}, role.Identity{})
		require.Equal(t, []string{"example.com"}, names.DNS, "%q", text)
		require.Equal(t, "example.com", subject.CommonName)
	}
	label := strings.Repeat("a", 64)
	long := strings.Repeat("a23456789.", 25) + "example.com"
	for _, text := range []string{
		"a\x00.example.com", "a..example.com", label + ".example.com", long, "ex\u0430mple.example.com", ".example.com",
		"a b.example.com", "-a.example.com", "a.example.com..", "example.com/", "a,b.example.com", "\u202eexample.com",
	} {
		refused(t, r, role.Ask{AltNames: []string{text}}, role.Identity{}, "alt_names")
		refused(t, r, role.Ask{CommonName: text}, role.Identity{}, "common_name")
	}
	upper := compile(t, func(c *role.Config) { exampleCom(c); c.AllowedDomains = []string{"Example.COM."} })
	granted(t, upper, role.Ask{AltNames: []string{"a.example.com"}}, role.Identity{})
}

func TestNames5_GlobsStayInTheirLabelAndSuffixesBindAtADot(t *testing.T) {
	globs := func(domain string) *role.Role {
		return compile(t, func(c *role.Config) {
			c.AllowedDomains, c.AllowGlobDomains, c.RequireCN = []string{domain}, true, false
		})
	}
	for _, c := range []struct {
		pattern, name string
		ok            bool
	}{
		{"e.com*", "e.com.evil.org", false},
		{"e.com*", "e.company", true},
		{"*e.com", "evile.com", true},
		{"*e.com", "evil.e.com", false},
		{"*.e.com", "a.b.e.com", false},
		{"*.e.com", "a.e.com", true},
		{"*.*.e.com", "a.b.e.com", true},
		{"a*b.e.com", "a.b.e.com", false},
		{"*", "e.com", false},
		{"web-*.e.com", "web-1.e.com", true},
		{"web-*.e.com", "web-1.evil.org#.e.com", false},
		{"*@e.com", "jane@e.com", true},
		{"*@e.com", "jane@a.e.com", false},
		{"*@*.com", "jane@evil.e.com", false},
		{"*.e.com", "jane@a.e.com", true},
		{"*.e.com", "jane@a.b.e.com", false},
	} {
		_, _, err := globs(c.pattern).Names(role.Ask{AltNames: []string{c.name}}, role.Identity{})
		require.Equal(t, c.ok, err == nil, "%s against %s: %v", c.pattern, c.name, err)
	}
	r := compile(t, func(c *role.Config) { exampleCom(c); c.AllowBareDomains = true })
	for _, name := range []string{"notexample.com", "example.com.evil.org", "example.comx", "com", "jane@notexample.com"} {
		refused(t, r, role.Ask{AltNames: []string{name}}, role.Identity{}, "alt_names")
	}
}

func TestNames5_URIPatternsBindPartByPart(t *testing.T) {
	for _, c := range []struct {
		pattern, uri string
		ok           bool
	}{
		{"https://e.com*", "https://e.com.evil.org", false},
		{"https://e.com*", "https://e.com.evil.org/", false},
		{"https://e.com/*", "https://e.com/a/b?c=d", true},
		{"https://*.e.com/*", "https://a.e.com/x", true},
		{"https://*.e.com/*", "https://evil.org/a.e.com/x", false},
		{"https://*.e.com/*", "https://a.b.e.com/x", false},
		{"https://*/x", "https://localhost/x", true},
		{"https://*/x", "https://evil.org/x", false},
		{"*://e.com/", "spiffe://e.com/", false}, // no SPIFFE ID
		{"*://e.com/", "https://e.com/", true},
		{"*", "urn:uuid:1", true},
		{"urn:uuid:*", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", true},
		{"urn:*", "https://e.com/urn:", false},
		{"https*", "https://e.com/", false},
		{"spiffe://*", "spiffe://any.example/ns/a", true},
		{"spiffe://e.com/ns/*/sa/web", "spiffe://e.com/ns/a/sa/web", true},
		{"spiffe://e.com/ns/a", "spiffe://E.com/ns/a", true},
		{"https://e.com/", "https://e.com@evil.org/", false},
		{"https://e.com/a/*", "https://e.com/a/../b", false},
		{"https://e.com/a/*", "https://e.com/a/%2e%2e/b", false},
	} {
		r := compile(t, func(config *role.Config) { config.AllowedURISANs, config.RequireCN = []string{c.pattern}, false })
		_, _, err := r.Names(role.Ask{URISANs: []string{c.uri}}, role.Identity{})
		require.Equal(t, c.ok, err == nil, "%s against %s: %v", c.pattern, c.uri, err)
	}
}

func TestNames6_SourcesAreChosenAndStillValidated(t *testing.T) {
	ignoring := compile(t, func(c *role.Config) {
		exampleCom(c)
		c.UseCSRCommonName, c.UseCSRSANs = false, false
	})
	evil := csr(pkix.Name{CommonName: "evil.org"}, cert.Names{DNS: []string{"evil.org"}, IP: ips("192.0.2.1")})
	subject, names := granted(t, ignoring, role.Ask{CommonName: "a.example.com", CSR: evil}, role.Identity{})
	require.Equal(t, "a.example.com", subject.CommonName)
	require.Equal(t, cert.Names{DNS: []string{"a.example.com"}}, names)
	refused(t, ignoring, role.Ask{CommonName: "evil.org", CSR: evil}, role.Identity{}, "common_name")
	refused(t, ignoring, role.Ask{AltNames: []string{"evil.org"}, CSR: evil}, role.Identity{}, "alt_names")

	using := compile(t, exampleCom)
	refused(t, using, role.Ask{CommonName: "a.example.com", CSR: evil}, role.Identity{}, "common_name")
	good := csr(pkix.Name{CommonName: "b.example.com"}, cert.Names{DNS: []string{"c.example.com"}})
	subject, names = granted(t, using, role.Ask{CommonName: "a.example.com", AltNames: []string{"d.example.com"}, CSR: good}, role.Identity{})
	require.Equal(t, "b.example.com", subject.CommonName)
	require.Equal(t, []string{"b.example.com", "c.example.com"}, names.DNS)

	refused(t, using, role.Ask{CommonName: "evil.org", ExcludeCNFromSANs: true}, role.Identity{}, "common_name")
	subject, names = granted(t, using, role.Ask{CommonName: "a.example.com", AltNames: []string{"b.example.com"}, ExcludeCNFromSANs: true}, role.Identity{})
	require.Equal(t, "a.example.com", subject.CommonName)
	require.Equal(t, []string{"b.example.com"}, names.DNS)
}

func TestDeniedDomainsWinOverAll(t *testing.T) {
	r := compile(t, func(c *role.Config) {
		c.AllowAnyName, c.RequireCN, c.DeniedDomains = true, false, []string{"Secret.example.com.", "bank.org"}
		c.AllowedURISANs, c.AllowedOtherSANs, c.CNValidations = []string{"*"}, []string{"*"}, []string{"disabled"}
	})
	for _, ask := range []role.Ask{
		{AltNames: []string{"secret.example.com"}},
		{AltNames: []string{"a.secret.example.com"}},
		{AltNames: []string{"SECRET.example.com."}},
		{AltNames: []string{"*.secret.example.com"}},
		{AltNames: []string{"*.example.com"}}, // would stand for secret.example.com
		{AltNames: []string{"jane@secret.example.com"}},
		{CommonName: "secret.example.com", ExcludeCNFromSANs: true},
		{URISANs: []string{"https://a.bank.org:8443/x"}},
		{OtherSANs: []string{"1.3.6.1.4.1.311.20.2.3;UTF8:jane@Bank.org."}},
	} {
		_, names, err := r.Names(ask, role.Identity{})
		require.ErrorContains(t, err, "denied_domains", "%+v grants %+v", ask, names)
	}
	granted(t, r, role.Ask{AltNames: []string{"notsecret.example.com", "example.com", "*.org.example.com"}}, role.Identity{})
}

func TestCommonNameValidations(t *testing.T) {
	for _, c := range []struct {
		validations []string
		enforce     bool
		cn          string
		ok          bool
	}{
		{nil, true, "a.example.com", true},
		{nil, true, "jane@a.example.com", true},
		{nil, true, "Jane Doe", false},
		{nil, false, "Jane Doe", false},
		{nil, false, "Jane.example.com x", false},
		{nil, false, "under_score.example.com", true},
		{nil, true, "under_score.example.com", false},
		{[]string{"email"}, true, "a.example.com", false},
		{[]string{"email"}, true, "jane@a.example.com", true},
		{[]string{"email"}, true, "10.0.0.1", false},
		{[]string{"hostname"}, true, "jane@a.example.com", false},
		{[]string{"hostname"}, true, "10.0.0.1", true},
		{[]string{"disabled"}, true, "Jane Doe", true},
		{[]string{"disabled"}, true, "system:node:a", true},
		{[]string{"disabled"}, true, "evil.org", false},
		{[]string{"disabled"}, true, "root@evil.org", false},
		{[]string{"disabled"}, true, "a\nb", false},
		{[]string{"disabled"}, true, "\xff", false},
	} {
		r := compile(t, func(config *role.Config) {
			exampleCom(config)
			config.CNValidations, config.EnforceHostnames = c.validations, c.enforce
		})
		_, _, err := r.Names(role.Ask{CommonName: c.cn, ExcludeCNFromSANs: true}, role.Identity{})
		require.Equal(t, c.ok, err == nil, "%v %q: %v", c.validations, c.cn, err)
	}
	refused(t, compile(t, func(*role.Config) {}), role.Ask{AltNames: []string{"localhost"}}, role.Identity{}, "common_name")
	open := compile(t, func(c *role.Config) { c.AllowAnyName, c.EnforceHostnames = true, false })
	subject, names := granted(t, open, role.Ask{CommonName: "Jane Doe"}, role.Identity{})
	require.Equal(t, "Jane Doe", subject.CommonName)
	require.Zero(t, names.Count(), "free text is no alternative name")
}

func TestDos1_NamesAreCountedBeforeTheyAreRead(t *testing.T) {
	r := compile(t, func(c *role.Config) { c.AllowAnyName = true })
	_, _, err := r.Names(role.Ask{CommonName: "a.example.com", AltNames: make([]string, cert.MaxSANs+1)}, role.Identity{})
	require.True(t, fault.Is(err, fault.TooLarge), "%v", err)
}

func TestAuthz3_CallersNotListedAreDenied(t *testing.T) {
	for name, c := range map[string]struct {
		groups, entities []string
		who              role.Identity
		ok               bool
	}{
		"open to all":        {nil, nil, role.Identity{}, true},
		"listed entity":      {nil, []string{"e-1"}, role.Identity{EntityID: "e-1"}, true},
		"other entity":       {nil, []string{"e-1"}, role.Identity{EntityID: "e-2", Groups: []string{"e-1"}}, false},
		"root token":         {nil, []string{"e-1"}, role.Identity{}, false},
		"group by name":      {[]string{"web team"}, nil, role.Identity{EntityID: "e-2", Groups: []string{"g-1", "web team"}}, true},
		"other group":        {[]string{"g-2"}, nil, role.Identity{EntityID: "e-2", Groups: []string{"g-1", ""}}, false},
		"group without name": {[]string{"g-2"}, nil, role.Identity{Groups: []string{"g-2"}}, false},
		"either is enough":   {[]string{"g-2"}, []string{"e-2"}, role.Identity{EntityID: "e-2"}, true},
		"case matters":       {nil, []string{"E-1"}, role.Identity{EntityID: "e-1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := compile(t, func(config *role.Config) { config.AllowedGroups, config.AllowedEntities = c.groups, c.entities })
			err := r.Authorize(c.who)
			require.Equal(t, c.ok, err == nil, "%v", err)
			require.True(t, c.ok || fault.Is(err, fault.Denied))
		})
	}
	for _, entry := range []string{"", " ", "*"} {
		config := role.DefaultConfig()
		config.AllowedGroups = []string{entry}
		_, err := role.New("web", config, nil, "")
		require.Equal(t, "allowed_groups", fault.FieldOfError(err))
	}
}
