package role_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

func TestGrantsThatGrantNothingAreTold(t *testing.T) {
	for _, test := range []struct {
		change func(*role.Config)
		told   []string
	}{
		{func(*role.Config) {}, nil},
		{func(c *role.Config) { c.AllowedDomains, c.AllowSubdomains = []string{"example.com"}, true }, nil},
		{func(c *role.Config) { c.AllowedDomains, c.AllowBareDomains = []string{"example.com"}, true }, nil},
		{func(c *role.Config) { c.AllowedDomains, c.AllowGlobDomains = []string{"*.example.com"}, true }, nil},
		{func(c *role.Config) { c.AllowedDomains, c.AllowAnyName = []string{"*.example.com"}, true }, nil},
		{func(c *role.Config) { c.AllowedDomains = []string{"example.com"} }, []string{"grants no name"}},
		{func(c *role.Config) { c.AllowedDomains, c.AllowSubdomains = []string{"*.example.com"}, true }, []string{"write example.com and set allow_subdomains"}},
		{func(c *role.Config) { c.AllowedDomains, c.AllowSubdomains = []string{"e.com", "f*.*.com"}, true }, []string{`"f*.*.com" stands`}},
		{func(c *role.Config) {
			c.AllowedDomains, c.AllowedDomainsTemplate, c.AllowSubdomains = []string{"{{identity.entity.metadata.*}}.com"}, true, true
		}, nil},
		{func(c *role.Config) { c.GenerateLease, c.NoStore = true, true }, []string{"no_store"}},
	} {
		config := role.DefaultConfig()
		test.change(&config)
		_, err := role.New("web", config, nil, "")
		require.NoError(t, err)
		warnings := config.Warnings()
		require.Len(t, warnings, len(test.told), "%v", warnings)
		for i, told := range test.told {
			require.Contains(t, warnings[i], told)
		}
	}
}

func TestASubjectThatNoCertificateCanHaveIsRefusedWithTheRole(t *testing.T) {
	for field, change := range map[string]func(*role.Config){
		"country":      func(c *role.Config) { c.Country = []string{"DE", "Germany"} },
		"organization": func(c *role.Config) { c.Organization = []string{"a\u202eb"} },
		"ou":           func(c *role.Config) { c.OU = []string{string(make([]byte, 65))} },
	} {
		config := role.DefaultConfig()
		change(&config)
		_, err := role.New("web", config, nil, "")
		require.Equal(t, field, fault.FieldOfError(err), "%v", err)
		if field == "country" {
			require.EqualError(t, err, `country: must be an ISO 3166 code of two letters such as DE, not "Germany"`)
		}
	}
}
