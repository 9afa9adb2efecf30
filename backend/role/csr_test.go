package role_test

import (
	"crypto/x509/pkix"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

func TestCSRSubjectIsNotDroppedInSilence(t *testing.T) {
	base := preset(t, "tls-server")
	base.SubjectAllowed = []string{"common_name", "organization"}
	base.SubjectFixed = map[string]string{"country": "DE"}
	change := func(c *role.Config) { exampleCom(c); c.Organization = []string{"Example"} }
	names := cert.Names{DNS: []string{"a.example.com"}}
	for name, c := range map[string]struct {
		subject pkix.Name
		ok      bool
	}{
		"empty":    {pkix.Name{}, true},
		"the same": {pkix.Name{CommonName: "a.example.com", Organization: []string{"Example"}, Country: []string{"DE"}}, true},
		"other":    {pkix.Name{Organization: []string{"Evil"}}, false},
		"more":     {pkix.Name{Organization: []string{"Example", "Evil"}}, false},
		"unknown": {pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: []int{1, 2, 840, 113549, 1, 9, 1}, Value: "root@example.com"},
		}}, false},
		"no text": {pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 10}, Value: 7}}}, false},
		"two common names": {pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: []int{2, 5, 4, 3}, Value: "evil.org"}, {Type: []int{2, 5, 4, 3}, Value: "a.example.com"},
		}}, false},
		"the common name twice": {pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: []int{2, 5, 4, 3}, Value: "a.example.com"}, {Type: []int{2, 5, 4, 3}, Value: "a.example.com"},
		}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ask := role.Ask{CSR: csr(c.subject, names)}
			_, _, err := bind(t, base, change).Names(ask, role.Identity{})
			require.Equal(t, c.ok, err == nil, "%v", err)
			loose := base
			loose.CSRExtra = profile.CSRDrop
			dropping := bind(t, loose, change)
			subject, _, err := dropping.Names(ask, role.Identity{})
			require.NoError(t, err)
			require.Equal(t, []string{"Example"}, subject.Organization)
			require.Equal(t, c.ok, len(dropping.Extra(ask.CSR, &subject)) == 0, "what one refuses, the other tells")
		})
	}
}

func TestNames6_NamesThatARoleDoesNotTakeAreNotJudged(t *testing.T) {
	odd := csr(pkix.Name{}, cert.Names{})
	odd.NamesErr = fault.New(fault.Invalid, "names of type directoryName are not supported")
	ask := role.Ask{CommonName: "a.example.com", CSR: odd}
	_, names := granted(t, compile(t, func(c *role.Config) { exampleCom(c); c.UseCSRSANs = false }), ask, role.Identity{})
	require.Equal(t, []string{"a.example.com"}, names.DNS)
	_, _, err := compile(t, exampleCom).Names(ask, role.Identity{})
	require.Equal(t, "csr", fault.FieldOfError(err))
	require.ErrorContains(t, err, "directoryName")
	require.ErrorContains(t, err, "use_csr_sans=false")
}
