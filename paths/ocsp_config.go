package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const ocspConfigHelp = `
Settings of OCSP for this mount and every pki-edge that follows it. Two settings are in
config/crl, as in the built-in engine: ocsp_expiry and ocsp_disable. A write changes the
fields that it contains and keeps the others. The response contains all fields.
`

func (m *mount) ocspConfigPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("config/ocsp", "Configure OCSP.", ocspConfigHelp,
			schema.Read("Read the settings of OCSP.", m.readOCSPOptions),
			schema.Write("Change the settings of OCSP.", m.writeOCSPOptions),
			schema.Patch("Change the settings of OCSP.", m.writeOCSPOptions)),
	}
}

func (m *mount) readOCSPOptions(ctx context.Context, _ *schema.Call, _ schema.None) (ocsp.Options, error) {
	return m.engine.OCSP.Options(ctx)
}

func (m *mount) writeOCSPOptions(ctx context.Context, call *schema.Call, in ocsp.Options) (ocsp.Options, error) {
	options, err := m.engine.OCSP.AmendOptions(ctx, schema.Change(in, call.Given))
	if err != nil {
		return ocsp.Options{}, err
	}
	return options, m.engine.ConfigureOCSP(ctx)
}
