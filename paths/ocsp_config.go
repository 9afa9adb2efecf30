package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const ocspConfigHelp = `
How OCSP requests are answered, by this mount and by every pki-edge that follows it.
How long answers are valid, and whether there are any, is in config/crl (ocsp_expiry,
ocsp_disable), where the built-in engine has it. A write changes the fields that it
gives and keeps the others. The answer is the whole record.
`

func (m *mount) ocspConfigPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("config/ocsp", "Set how OCSP requests are answered.", ocspConfigHelp,
			schema.Read("Read how OCSP requests are answered.", m.readOCSPOptions),
			schema.Write("Change how OCSP requests are answered.", m.writeOCSPOptions),
			schema.Patch("Change how OCSP requests are answered.", m.writeOCSPOptions)),
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
