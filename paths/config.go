package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const configHelp = `
A write changes the fields that it contains and keeps the others, as in the built-in
engine. The response contains all fields.
`

func (m *mount) configPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("config/urls", "Set the URLs in certificates.", configHelp,
			schema.Read("Read the URLs.", m.readURLs),
			schema.Write("Change the URLs.", m.writeURLs),
			schema.Patch("Change the URLs.", m.writeURLs)),
		schema.Path("config/cluster", "Set the URLs of this cluster.", configHelp,
			schema.Read("Read the URLs of this cluster.", m.readCluster),
			schema.Write("Change the URLs of this cluster.", m.writeCluster),
			schema.Patch("Change the URLs of this cluster.", m.writeCluster)),
		schema.Path("config/issuers", "Choose the default issuer.", configHelp,
			schema.Read("Read the default issuer.", m.readDefaults),
			schema.Write("Choose the default issuer.", m.writeDefaults),
			schema.Patch("Choose the default issuer.", m.writeDefaults)),
		schema.Path("root/replace", "Choose the default issuer.", configHelp,
			schema.Write("Choose the default issuer.", m.replaceRoot)),
		schema.Path("config/crl", "Configure CRLs and the validity of OCSP responses.", configHelp,
			schema.Read("Read the settings.", m.readCRLSettings),
			schema.Write("Change the settings.", m.writeCRLSettings),
			schema.Patch("Change the settings.", m.writeCRLSettings)),
	}
}

func (m *mount) readURLs(ctx context.Context, _ *schema.Call, _ schema.None) (issuer.URLs, error) {
	return m.engine.Issuers.URLs(ctx)
}

func (m *mount) writeURLs(ctx context.Context, call *schema.Call, in issuer.URLs) (issuer.URLs, error) {
	urls, err := m.engine.Issuers.AmendURLs(ctx, schema.Change(in, call.Given))
	if err != nil {
		return issuer.URLs{}, err
	}
	return urls, m.warnOfSharedURLs(ctx, call)
}

// warnOfSharedURLs warns when certificates of several CAs name the same URL for different CRLs
// or CA certificates.
func (m *mount) warnOfSharedURLs(ctx context.Context, call *schema.Call) error {
	fields, err := m.engine.Issuers.SharedURLs(ctx)
	for _, field := range fields {
		call.Warn("%s in config/urls has a URL without {{issuer_id}} or {{ca_id}}, and this mount has several CAs: their certificates name the same URL. "+
			"Write {{issuer_id}} in the URL with enable_templating=true, or set %s of each issuer.", field, field)
	}
	return err
}

func (m *mount) readCluster(ctx context.Context, _ *schema.Call, _ schema.None) (issuer.Cluster, error) {
	return m.engine.Issuers.Cluster(ctx)
}

func (m *mount) writeCluster(ctx context.Context, call *schema.Call, in issuer.Cluster) (issuer.Cluster, error) {
	return m.engine.Issuers.AmendCluster(ctx, schema.Change(in, call.Given))
}

func (m *mount) readDefaults(ctx context.Context, _ *schema.Call, _ schema.None) (issuer.Defaults, error) {
	return m.engine.Issuers.Defaults(ctx)
}

func (m *mount) writeDefaults(ctx context.Context, call *schema.Call, in issuer.Defaults) (issuer.Defaults, error) {
	return m.engine.Issuers.AmendDefaults(ctx, func(defaults *issuer.Defaults) error {
		// Terraform writes an empty default when its configuration names none.
		if call.Given.Has("default") && in.Default == "" && defaults.Default != "" {
			return fault.Field("default", "must name an issuer: an empty one would stop all requests that name none")
		}
		return schema.Change(in, call.Given)(defaults)
	})
}

type replaceInput struct {
	Default string `json:"default" kind:"ref" default:"next" doc:"Id or name of the issuer that becomes the default."`
}

func (m *mount) replaceRoot(ctx context.Context, _ *schema.Call, in replaceInput) (issuer.Defaults, error) {
	return m.engine.Issuers.AmendDefaults(ctx, func(defaults *issuer.Defaults) error {
		defaults.Default = in.Default
		return nil
	})
}

func (m *mount) readCRLSettings(ctx context.Context, _ *schema.Call, _ schema.None) (crl.Settings, error) {
	return m.engine.CRL.Settings(ctx)
}

func (m *mount) writeCRLSettings(ctx context.Context, call *schema.Call, in crl.Settings) (crl.Settings, error) {
	settings, err := m.engine.CRL.AmendSettings(ctx, schema.Change(in, call.Given))
	if err != nil {
		return crl.Settings{}, err
	}
	m.warnOfLists(ctx, call, settings)
	return settings, m.engine.ConfigureOCSP(ctx)
}
