package paths

import (
	"context"
	"reflect"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const acmeConfigHelp = `
There is no ACME server in this release. The path exists because clients of the
built-in engine read it: Vault's web UI, the health check of the vault command,
Terraform. It reads as ACME that is off. A write that asks for anything else is
refused.
`

// acmeConfig is the built-in engine's record, with its defaults.
type acmeConfig struct {
	Enabled              bool     `json:"enabled" default:"false" doc:"Whether ACME is served. Only false: there is no ACME server yet."`
	AllowedIssuers       []string `json:"allowed_issuers" default:"*" doc:"Issuers that ACME may use. Only the default."`
	AllowedRoles         []string `json:"allowed_roles" default:"*" doc:"Roles that ACME may use. Only the default."`
	AllowRoleExtKeyUsage bool     `json:"allow_role_ext_key_usage" default:"false" doc:"Whether extended key usages of roles apply. Only the default."`
	DefaultDirectory     string   `json:"default_directory_policy" default:"sign-verbatim" doc:"What the default directory issues by. Only the default."`
	DNSResolver          string   `json:"dns_resolver" doc:"DNS resolver for validations. Only empty."`
	EABPolicy            string   `json:"eab_policy" default:"not-required" doc:"Whether accounts need an external binding. Only the default."`
	MaxTTL               int64    `json:"max_ttl" kind:"duration" default:"2160h" doc:"Longest lifetime of certificates by ACME. Only the default."`
}

func (m *mount) acmeConfigPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("config/acme", "Read that ACME is off.", acmeConfigHelp,
			schema.Read("Read that ACME is off.", m.readACME),
			schema.Write("Accept the defaults; refuse to enable ACME.", m.writeACME)),
	}
}

func (m *mount) readACME(context.Context, *schema.Call, schema.None) (acmeConfig, error) {
	config, _, err := schema.Decode[acmeConfig](nil)
	return config, err
}

func (m *mount) writeACME(ctx context.Context, call *schema.Call, in acmeConfig) (acmeConfig, error) {
	off, err := m.readACME(ctx, call, schema.None{})
	if err != nil {
		return acmeConfig{}, err
	}
	if in.Enabled {
		return acmeConfig{}, fault.Field("enabled", "must be false: this release has no ACME server; issue by roles (issue/:role, sign/:role) instead")
	}
	given, defaults := schema.Encode(in), schema.Encode(off)
	for _, name := range call.Given.Names() {
		if !reflect.DeepEqual(given[name], defaults[name]) {
			return acmeConfig{}, fault.Field(name, "must be %s: this release has no ACME server, and the setting would do nothing", asJSON(defaults[name]))
		}
	}
	return off, nil
}
