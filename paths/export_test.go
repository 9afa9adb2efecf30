package paths

import (
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-enterprise-pki/backend/kv"
)

// Paths returns the paths of a backend that Factory made.
func Paths(backend logical.Backend) []*framework.Path { return backend.(*mount).Paths }

// NewStore returns Vault's storage as the engine sees it.
func NewStore(storage logical.Storage) kv.Store { return store{storage} }

// Remember returns the system view as the framework sees it.
func Remember(view logical.SystemView, now func() time.Time) logical.SystemView {
	return remember(view, now)
}
