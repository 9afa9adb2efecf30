package role_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// label draws short labels over few letters, so that names often nearly match.
func label() *rapid.Generator[string] {
	return rapid.StringMatching(`[ab*.-]{0,3}[ab]`)
}

func domain() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(label(), 1, 4).Draw(t, "labels"), ".")
	})
}

// inside is the oracle: the name is the domain or lies below it, label by label.
func inside(name, domain string) bool {
	have, want := strings.Split(name, "."), strings.Split(domain, ".")
	if len(have) < len(want) {
		return false
	}
	for i := range want {
		if have[len(have)-len(want)+i] != want[i] {
			return false
		}
	}
	return true
}

func TestNames5_NoAcceptedNameLiesOutsideItsDomains(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := role.DefaultConfig()
		config.RequireCN, config.AllowLocalhost = false, false
		config.AllowedDomains = rapid.SliceOfN(rapid.StringMatching(`[ab]{1,2}(\.[ab]{1,2}){0,2}`), 1, 3).Draw(t, "domains")
		config.AllowBareDomains = rapid.Bool().Draw(t, "bare")
		config.AllowSubdomains = rapid.Bool().Draw(t, "sub")
		config.AllowGlobDomains = rapid.Bool().Draw(t, "glob")
		denied := rapid.SliceOfN(rapid.StringMatching(`[ab]{1,2}(\.[ab]{1,2}){0,2}`), 0, 2).Draw(t, "denied")
		config.DeniedDomains = denied
		r, err := role.New("web", config, nil, "")
		require.NoError(t, err)
		name := domain().Draw(t, "name")
		if rapid.Bool().Draw(t, "mailbox") {
			name = "jane@" + name
		}
		_, names, err := r.Names(role.Ask{AltNames: []string{name}}, role.Identity{})
		if err != nil {
			return
		}
		require.Equal(t, 1, names.Count())
		for _, got := range append(names.DNS, names.Email...) {
			host := got[strings.LastIndexByte(got, '@')+1:]
			bare, wildcard := strings.CutPrefix(host, "*.")
			within := false
			for _, allowed := range config.AllowedDomains {
				exact := bare == allowed
				within = within || inside(bare, allowed) && (!exact && config.AllowSubdomains ||
					exact && (config.AllowBareDomains && !wildcard || config.AllowSubdomains && wildcard))
			}
			require.True(t, within, "%q is outside %v", got, config.AllowedDomains)
			for _, domain := range denied {
				require.False(t, inside(bare, domain), "%q is in the denied %q", got, domain)
			}
		}
	})
}

func TestNames5_GlobsKeepTheNumberOfLabels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := strings.Join(rapid.SliceOfN(rapid.StringMatching(`[ab*]{1,3}`), 2, 4).Draw(t, "pattern"), ".")
		config := role.DefaultConfig()
		config.RequireCN, config.AllowLocalhost, config.AllowGlobDomains = false, false, true
		config.AllowedDomains = []string{pattern}
		r, err := role.New("web", config, nil, "")
		require.NoError(t, err)
		name := domain().Draw(t, "name")
		_, names, err := r.Names(role.Ask{AltNames: []string{name}}, role.Identity{})
		if err != nil {
			return
		}
		have, want := strings.Split(names.DNS[0], "."), strings.Split(pattern, ".")
		require.Len(t, have, len(want))
		for i := range want {
			head, _, glob := strings.Cut(want[i], "*")
			require.True(t, strings.HasPrefix(have[i], head) && (glob || have[i] == want[i]), "%q against %q", have, want)
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("example.com", "web.example.com", "jane@example.com", "10.0.0.1", "spiffe://example.com/a", "1.2.3;UTF8:x")
	f.Add("*.example.com", "EXAMPLE.com.", "a..b", "::ffff:10.0.0.1", "https://a@b/", "*")
	f.Add("", "ex\u0430mple.com", "\x00", "", "://", ";:")
	config := role.DefaultConfig()
	config.AllowedDomains, config.AllowSubdomains, config.AllowBareDomains = []string{"example.com"}, true, true
	config.RequireCN, config.AllowLocalhost = false, false
	config.AllowedIPSANsCIDR = []string{"10.0.0.0/8"}
	config.AllowedURISANs, config.AllowedOtherSANs = []string{"spiffe://example.com/*"}, []string{"1.2.3;UTF8:x*"}
	r := must(role.New("web", config, nil, ""))
	f.Fuzz(func(t *testing.T, cn, dns, email, ip, uri, other string) {
		ask := role.Ask{CommonName: cn, AltNames: []string{dns, email}}
		for text, list := range map[string]*[]string{ip: &ask.IPSANs, uri: &ask.URISANs, other: &ask.OtherSANs} {
			if text != "" {
				*list = []string{text}
			}
		}
		_, names, err := r.Names(ask, role.Identity{})
		if err != nil {
			return
		}
		for _, name := range append(names.DNS, names.Email...) {
			host := name[strings.LastIndexByte(name, '@')+1:]
			require.True(t, inside(strings.TrimPrefix(host, "*."), "example.com"), "%q", name)
			require.Equal(t, strings.ToLower(host), host)
		}
		for _, address := range names.IP {
			require.EqualValues(t, 10, address[0])
		}
		for _, uri := range names.URI {
			require.Equal(t, "example.com", uri.Host)
		}
		for _, other := range names.Other {
			require.True(t, other.OID == "1.2.3" && strings.HasPrefix(other.Value, "x"))
		}
	})
}
