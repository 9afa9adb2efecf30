// Package paths promises to be the only code that knows Vault: it adapts storage,
// system view and life cycle, and shows every resource of the engine as a table of
// fields and short handlers.
package paths

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-enterprise-pki/backend"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

// version is the plugin's version as Vault's catalog knows it; the build sets it.
var version = "v0.1.0"

const help = `
The enterprise PKI secrets engine issues X.509 certificates by role and profile,
keeps CA keys in PKCS#11 tokens, publishes CRLs and OCSP answers, and keeps a
ledger of everything that it signed.
`

// mount is one mount of the engine: the framework routes, the engine works.
type mount struct {
	*framework.Backend
	engine *backend.Backend
	id     string // UUID
	now    func() time.Time
	start  sync.Once
}

// Factory makes the backend of one mount. It touches neither storage nor tokens:
// Vault forbids the one, and an unreachable token must not fail the mount.
func Factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	setup := *conf
	if setup.Logger == nil {
		setup.Logger = hclog.NewNullLogger()
	}
	now := time.Now // the one clock of the tree
	if conf.System != nil {
		setup.System = remember(conf.System, now)
	}
	m := &mount{id: conf.BackendUUID, now: now, engine: backend.New(backend.Config{
		Store: store{conf.StorageView},
		Log:   setup.Logger,
		Mount: conf.BackendUUID,
		Now:   now,
	})}
	m.Backend = &framework.Backend{
		Help:           help,
		BackendType:    logical.TypeLogical,
		RunningVersion: version,
		Paths:          m.paths(),
		PathsSpecial:   special(),
		Secrets:        m.secrets(),
		InitializeFunc: m.initialize,
		PeriodicFunc:   m.periodic,
		Clean:          func(context.Context) { m.engine.Close() },
		Invalidate:     func(_ context.Context, key string) { m.engine.Invalidate(key) },
	}
	if err := m.Setup(ctx, &setup); err != nil {
		return nil, fmt.Errorf("setting up the backend: %w", err)
	}
	return m, nil
}

// paths lists every path of the engine. The framework tries them in this order.
func (m *mount) paths() []*framework.Path {
	return slices.Concat(
		m.issuePaths(), // first: the ones that are asked most
		m.crlPaths(),
		m.ocspPaths(),
		m.certPaths(),
		m.revokePaths(),
		m.bulkPaths(),
		m.issuerPaths(),
		m.hierarchyPaths(),
		m.crossPaths(),
		m.profilePaths(),
		m.rolePaths(),
		m.keyPaths(),
		m.tokenPaths(),
		m.configPaths(),
		m.ocspConfigPaths(),
		m.acmeConfigPaths(),
		m.edgePaths(),
		m.publisherPaths(),
		m.tidyPaths(),
		m.fsckPaths(),
		m.keypoolPaths(),
	)
}

// special says what Vault treats differently. Unauthenticated paths only read, and
// do bounded work (authz-1, dos-2).
func special() *logical.Paths {
	return &logical.Paths{
		Unauthenticated: []string{
			"ca", "ca/pem", "ca_chain", "cert/*",
			"crl", "crl/pem", "crl/delta", "crl/delta/pem",
			"issuer/+/pem", "issuer/+/der", "issuer/+/json",
			"issuer/+/crl", "issuer/+/crl/der", "issuer/+/crl/pem",
			"issuer/+/crl/delta", "issuer/+/crl/delta/der", "issuer/+/crl/delta/pem",
			"issuer/+/crl/shard/+", "issuer/+/crl/shard/+/der", "issuer/+/crl/shard/+/pem",
			"ocsp/*",
		},
		// Declaring a token loads a shared library into this process, and a check reads
		// everything.
		Root:            []string{"hsm", "hsm/*", "keys/import/kms", "fsck", "root/sign-self-issued"},
		SealWrapStorage: layout.Secret(),
	}
}

// HandleRequest implements logical.Backend.
func (m *mount) HandleRequest(ctx context.Context, req *logical.Request) (*logical.Response, error) {
	m.start.Do(m.engine.Start)
	return schema.Handle(ctx, m.Backend, req)
}

// HandleExistenceCheck implements logical.Backend. Vault calls it before every write
// and before the access check; no path needs it, so it answers without looking.
func (m *mount) HandleExistenceCheck(context.Context, *logical.Request) (checked, exists bool, err error) {
	return false, false, nil
}

// initialize never fails: what cannot be loaded now is tried again, and a mount that
// is there can be repaired. The first request starts the engine as well, because a
// respawned plugin may see that first.
func (m *mount) initialize(context.Context, *logical.InitializationRequest) error {
	m.start.Do(m.engine.Start)
	return nil
}

// periodic is called every minute under Vault's state lock; the engine only takes
// note and works beside it.
func (m *mount) periodic(context.Context, *logical.Request) error {
	m.engine.Tick()
	return nil
}
