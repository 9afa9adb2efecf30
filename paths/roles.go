package paths

import (
	"cmp"
	"context"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/role"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const roleHelp = `
A role defines who may get which names. A role with a profile narrows the profile. A role
that is wider than its profile is refused. Without a profile, the role's own fields define
its certificates, with the names, types and defaults of the built-in engine. Unknown
fields are refused, so that a misspelled restriction is noticed.
`

type roleName struct {
	Name string `json:"name" in:"path" kind:"name" doc:"Name of the role."`
}

type roleInput struct {
	roleName
	role.Config
}

func (m *mount) rolePaths() []*framework.Path {
	named := "roles/" + schema.Segment("name")
	return []*framework.Path{
		schema.Path("roles/?", "List the roles.", roleHelp,
			schema.List("List the roles.", m.listRoles)),
		schema.Path(named, "Declare a role.", roleHelp,
			schema.Read("Read a role.", m.readRole),
			schema.Write("Declare a role, or replace it.", m.writeRole),
			schema.Patch("Change some fields of a role.", m.patchRole),
			schema.Delete("Delete a role; what it issued stays.", m.deleteRole)),
		schema.Path(named+"/simulate", "Show the result of a request without issuing.",
			"Takes a request as issue and sign do through role, profile and lints, and signs nothing.",
			schema.Write("Show the certificate that would be signed, or the refusal.", m.simulate)),
	}
}

func (m *mount) listRoles(ctx context.Context, _ *schema.Call, in schema.Page) (schema.Keys, error) {
	names, err := m.engine.Catalog.Roles(ctx)
	return schema.Keys{Keys: in.Window(names)}, err
}

func (m *mount) readRole(ctx context.Context, _ *schema.Call, in roleName) (role.Config, error) {
	return m.engine.Catalog.RoleConfig(ctx, in.Name)
}

func (m *mount) writeRole(ctx context.Context, call *schema.Call, in roleInput) (role.Config, error) {
	names, err := m.engine.Catalog.Roles(ctx)
	if err != nil {
		return role.Config{}, err
	}
	if err := schema.CheckDistinct("name", in.Name, names); err != nil {
		return role.Config{}, err
	}
	config := in.Config
	if config.Profile != "" {
		base, err := m.engine.Catalog.Resolve(ctx, config.Profile)
		if err != nil {
			return role.Config{}, err
		}
		config = role.DefaultConfigFor(in.Profile, base.Config())
		if err := schema.Change(in.Config, call.Given)(&config); err != nil {
			return role.Config{}, err
		}
	}
	complete(&config)
	warnOfRole(call, config)
	return config, m.engine.Catalog.PutRole(ctx, in.Name, config)
}

func (m *mount) patchRole(ctx context.Context, call *schema.Call, in roleInput) (role.Config, error) {
	config, err := m.engine.Catalog.AmendRole(ctx, in.Name, func(config *role.Config) error {
		if err := schema.Change(in.Config, call.Given)(config); err != nil {
			return err
		}
		complete(config)
		return nil
	})
	warnOfRole(call, config)
	return config, err
}

// complete fills in fields that clients send empty when they mean the default, so that
// they read back as what holds.
func complete(config *role.Config) {
	fresh := role.DefaultConfig()
	config.IssuerRef = cmp.Or(config.IssuerRef, fresh.IssuerRef)
	config.SerialNumberSource = cmp.Or(config.SerialNumberSource, fresh.SerialNumberSource)
	if len(config.CNValidations) == 0 {
		config.CNValidations = fresh.CNValidations
	}
}

// warnOfRole tells of what was written and grants nothing. With a profile, allow_ip_sans
// is true by default, so only a request that says so is told.
func warnOfRole(call *schema.Call, config role.Config) {
	for _, warning := range config.Warnings() {
		call.Warn("%s", warning)
	}
	if config.Profile != "" && config.AllowIPSANs && len(config.AllowedIPSANsCIDR) == 0 && call.Given.Has("allow_ip_sans") {
		call.Warn("allow_ip_sans alone grants no IP address to a role with a profile: list the networks in allowed_ip_sans_cidr.")
	}
}

func (m *mount) deleteRole(ctx context.Context, _ *schema.Call, in roleName) (schema.None, error) {
	return schema.None{}, m.engine.Catalog.DeleteRole(ctx, in.Name)
}

type simulateInput struct {
	roleName
	namedIssuer
	certificateAsk
	CSR string `json:"csr" kind:"pem" max:"65536" doc:"CSR in PEM. Without it, the request is handled as by issue."`
}

type simulateFinding struct {
	Rule     string `json:"rule" doc:"Name of the lint rule."`
	Severity string `json:"severity" doc:"notice, warning, error or fatal."`
	Citation string `json:"citation" doc:"Where the rule comes from."`
	Detail   string `json:"detail" doc:"Description of the violation."`
}

type simulateAnswer struct {
	Profile      string            `json:"profile" doc:"Profile version that applies; empty for a role without a profile."`
	IssuerID     string            `json:"issuer_id" doc:"Issuer that would sign."`
	Subject      string            `json:"subject" doc:"Subject, as RFC 4514 writes it."`
	DNSNames     []string          `json:"dns_names" doc:"DNS names."`
	IPAddresses  []string          `json:"ip_addresses" doc:"IP addresses."`
	Emails       []string          `json:"email_addresses" doc:"E-mail addresses."`
	URIs         []string          `json:"uris" doc:"URIs."`
	NotBefore    string            `json:"not_before" doc:"Begin of validity, RFC 3339."`
	NotAfter     string            `json:"not_after" doc:"Expiry, RFC 3339."`
	KeyAlgorithm string            `json:"key_algorithm" doc:"Algorithm of the certified key, such as ec-256."`
	Signature    string            `json:"signature_algorithm" doc:"Algorithm of the signature."`
	Findings     []simulateFinding `json:"lints" doc:"Lint rules that the certificate violates and the profile tolerates."`
	Draft        string            `json:"draft" doc:"The certificate in DER, base64, with the signature of a throwaway key."`
}

func (m *mount) simulate(ctx context.Context, call *schema.Call, in simulateInput) (simulateAnswer, error) {
	request, err := m.request(target{role: in.Name, named: in.Named}, in.certificateAsk, in.CSR)
	if err != nil {
		return simulateAnswer{}, err
	}
	who, err := m.identify(ctx, call, in.Name)
	if err != nil {
		return simulateAnswer{}, err
	}
	simulated, err := m.engine.Issue.Simulate(ctx, request, who)
	if err != nil {
		return simulateAnswer{}, err
	}
	warn(call, simulated.Warnings)
	draft := simulated.Draft
	answer := simulateAnswer{
		Profile:   simulated.Profile,
		IssuerID:  simulated.Issuer,
		Subject:   draft.Subject.String(),
		DNSNames:  draft.DNSNames,
		Emails:    draft.EmailAddresses,
		NotBefore: rfc3339(draft.NotBefore),
		NotAfter:  rfc3339(draft.NotAfter),
		Signature: draft.SignatureAlgorithm.String(),
		Draft:     base64DER(draft.Raw),
	}
	for _, ip := range draft.IPAddresses {
		answer.IPAddresses = append(answer.IPAddresses, ip.String())
	}
	for _, uri := range draft.URIs {
		answer.URIs = append(answer.URIs, uri.String())
	}
	for _, finding := range simulated.Findings {
		answer.Findings = append(answer.Findings, simulateFinding{
			Rule: finding.Rule, Severity: finding.Level, Citation: finding.Citation, Detail: finding.Detail,
		})
	}
	spec, err := cert.KeySpecOf(draft.PublicKey)
	answer.KeyAlgorithm = spec.String()
	return answer, err
}
