package issuer

import (
	"context"
	"fmt"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// DeleteKey removes a key from the ring, and with it the pending issuers whose requests
// have it: no certificate for them can come back any more. It returns their ids.
// Conflict while an issuer that has its certificate needs the key (ca-6).
//
// If we crash in between, some of the pending issuers are gone and the key is there: the
// same call does the rest.
func (s *Set) DeleteKey(ctx context.Context, keyID string) (pending []string, err error) {
	err = s.change(ctx, func(snap *snapshot) error {
		for _, i := range snap.ordered {
			if i.KeyID() == keyID && i.State() != Pending && i.State() != Deleted {
				return fault.FieldOf(fault.Conflict, "key_ref", "is the key of issuer %s (%s), which signs CRLs and OCSP responses with it; delete the issuer first", i.ID(), i.State())
			}
		}
		for _, i := range snap.ordered {
			if i.KeyID() != keyID {
				continue
			}
			if i.State() == Deleted { // its CA signs no CRL and no OCSP response any more
				released := i.record
				released.KeyID = ""
				if err := s.records.Put(ctx, i.ID(), &released); err != nil {
					return fmt.Errorf("taking the key from deleted issuer %s: %w", i.ID(), err)
				}
				continue
			}
			if err := s.records.Delete(ctx, i.ID()); err != nil {
				return fmt.Errorf("deleting pending issuer %s: %w", i.ID(), err)
			}
			pending = append(pending, i.ID())
		}
		return s.Ring.Delete(ctx, keyID)
	})
	return pending, err
}
