package paths

import (
	"context"
	"fmt"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// leaseType is what leases of certificates are called in Vault's storage, as in the
// built-in engine.
const leaseType = "pki"

// leases returns the mount's lease settings, which bound every certificate.
func (m *mount) leases() profile.Leases {
	return profile.Leases{Default: m.System().DefaultLeaseTTL(), Max: m.System().MaxLeaseTTL()}
}

func (m *mount) secrets() []*framework.Secret {
	return []*framework.Secret{{Type: leaseType, Revoke: m.revokeLease}}
}

// revokeLease revokes the certificate of a lease that ended or was revoked. A
// certificate that is not known counts as revoked, and so does every one while the
// mount is being removed: Vault tries again for ever otherwise (rev-4).
func (m *mount) revokeLease(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	text, ok := req.Secret.InternalData["serial_number"].(string)
	if !ok {
		return nil, fault.New(fault.Internal, "the lease names no serial number")
	}
	serial, err := cert.ParseSerial(text)
	if err != nil {
		return nil, fmt.Errorf("reading the lease's serial number: %w", err)
	}
	_, err = m.engine.Revoke.EndOfLease(ctx, serial)
	if err == nil || fault.Is(err, fault.NotFound) || m.System().Tainted() {
		return nil, nil
	}
	return nil, fmt.Errorf("revoking leased certificate %s: %w", serial, err)
}
