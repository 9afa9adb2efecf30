package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// leaseType is what leases of certificates are called in Vault's storage.
const leaseType = "pki"

func (m *mount) secrets() []*framework.Secret {
	return []*framework.Secret{{
		Type:   leaseType,
		Revoke: m.revokeLease,
	}}
}

func (m *mount) revokeLease(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return nil, nil
}
