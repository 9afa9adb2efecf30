package role_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

func TestNames4_DeniedDomainsAreFoundInEverySpelling(t *testing.T) {
	const upn = "1.3.6.1.4.1.311.20.2.3;UTF8:"
	r := compile(t, func(c *role.Config) {
		c.AllowAnyName, c.RequireCN, c.EnforceHostnames = true, false, false
		c.CNValidations = []string{"disabled"}
		c.AllowedURISANs, c.AllowedOtherSANs = []string{"*"}, []string{"*"}
		c.DeniedDomains = []string{"evil.org", "bücher.example"}
	})
	for _, ask := range []role.Ask{
		{AltNames: []string{"EVIL.org."}},
		{AltNames: []string{"a.ｅｖｉｌ。org"}},
		{AltNames: []string{"a@BÜCHER.example"}},
		{URISANs: []string{"https://EVIL.org/"}},
		{URISANs: []string{"mailto:a@evil%2eorg"}},
		{URISANs: []string{"mailto:a@evil%252Eorg"}},
		{URISANs: []string{"sip:a@b%C3%BCcher.example"}},
		{URISANs: []string{"urn:x:XN--BCHER-KVA.example"}},
		{URISANs: []string{"mailto:a@%EF%BC%85evil.org"}},
		{OtherSANs: []string{upn + "a@evil.org"}},
		{OtherSANs: []string{upn + "a＠ｅｖｉｌ．ｏｒｇ"}},
		{OtherSANs: []string{upn + "a@bücher.example"}},
		{OtherSANs: []string{upn + "a@evil。org"}},
		{OtherSANs: []string{"1.2.3;UTF8:https%3A//evil%2Eorg"}},
		{CommonName: "visit ｅvil.org"},
		{CommonName: "a＠evil。org"},
		{CommonName: "jane bücher.example"},
	} {
		_, _, err := r.Names(ask, role.Identity{})
		require.True(t, fault.Is(err, fault.Invalid), "%+v: %v", ask, err)
		require.ErrorContains(t, err, "denied_domains", "%+v", ask)
	}
	for _, ask := range []role.Ask{
		{AltNames: []string{"notevil.org"}}, {URISANs: []string{"https://notevil.org/evil.org"}}, {OtherSANs: []string{upn + "a@good.org"}}, {CommonName: "Jane Doe"},
	} {
		_, _, err := r.Names(ask, role.Identity{})
		require.NoError(t, err, "%+v", ask)
	}
}

func TestNames4_ACommonNameThatReadsAsAnAddressIsRefused(t *testing.T) {
	r := compile(t, func(c *role.Config) {
		c.AllowAnyName, c.AllowIPSANs, c.EnforceHostnames = true, false, false
		c.CNValidations = []string{"disabled"}
	})
	for _, cn := range []string{"10.1", "0x7f.1", "0177.0.0.01", "127.0.0.1", "a.0x7f"} {
		refused(t, r, role.Ask{CommonName: cn}, role.Identity{}, "common_name")
		refused(t, r, role.Ask{CommonName: cn, ExcludeCNFromSANs: true}, role.Identity{}, "common_name")
	}
	for _, name := range []string{"10.1", "0x7f.1", "2130706433", "0177.0.0.01"} {
		refused(t, r, role.Ask{CommonName: "a.example.com", AltNames: []string{name}}, role.Identity{}, "alt_names")
	}
	subject, names := granted(t, r, role.Ask{CommonName: "4711"}, role.Identity{})
	require.Equal(t, "4711", subject.CommonName)
	require.Zero(t, names.Count(), "a number is text, and no name")
}
