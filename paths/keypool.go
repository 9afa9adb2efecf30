package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/keypool"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const keypoolHelp = `
Generating an RSA key takes a tenth of a second or more. While the mount is idle, the
engine generates keys for later issue requests and keeps them in memory. It generates keys
of a size after the first request for that size.
`

type readyKeys struct {
	RSA2048 int `json:"rsa_2048" doc:"RSA-2048 keys that are ready."`
	RSA3072 int `json:"rsa_3072" doc:"RSA-3072 keys that are ready."`
	RSA4096 int `json:"rsa_4096" doc:"RSA-4096 keys that are ready."`
}

func (m *mount) keypoolPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("config/keypool", "Set how many RSA keys are generated in advance.", keypoolHelp,
			schema.Read("Read how many RSA keys are kept ready.", m.readKeyPool),
			schema.Write("Change how many RSA keys are kept ready.", m.writeKeyPool),
			schema.Patch("Change how many RSA keys are kept ready.", m.writeKeyPool)),
		schema.Path("keypool/status", "Read how many RSA keys are ready.", keypoolHelp,
			schema.Read("Read how many RSA keys are ready.", m.readReadyKeys)),
	}
}

func (m *mount) readKeyPool(ctx context.Context, _ *schema.Call, _ schema.None) (keypool.Settings, error) {
	return m.engine.Keys.Settings(ctx)
}

func (m *mount) writeKeyPool(ctx context.Context, call *schema.Call, in keypool.Settings) (keypool.Settings, error) {
	return m.engine.Keys.AmendSettings(ctx, schema.Change(in, call.Given))
}

func (m *mount) readReadyKeys(_ context.Context, _ *schema.Call, _ schema.None) (readyKeys, error) {
	ready := m.engine.Keys.Ready
	return readyKeys{RSA2048: ready(cert.RSA2048), RSA3072: ready(cert.RSA3072), RSA4096: ready(cert.RSA4096)}, nil
}
