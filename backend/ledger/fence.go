package ledger

import (
	"context"
	"fmt"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// fence writes, and so makes sure that what an earlier process had begun to write is
// there before this one reads. When a plugin is killed, Vault goes on with the writes
// that it had sent, and the next process may start meanwhile. A segment that arrived
// after Load had listed them would say of a certificate what it was before it was
// revoked, and nothing would tell the next Load. Raft carries out writes in their
// order, so all that came before this one are done when it is answered.
//
// A node that may not write has no one before it whose writes it would miss.
func (l *Ledger) fence(ctx context.Context) error {
	if err := l.store.Put(ctx, layout.Fence, []byte{fenceVersion}); err != nil && !fault.Is(err, fault.ReadOnly) {
		return fmt.Errorf("writing %s: %w", layout.Fence, err)
	}
	return nil
}

// fenceVersion is the value of the fence; that it was written says everything.
const fenceVersion = 1
