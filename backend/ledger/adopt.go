package ledger

import (
	"context"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Adopt records a certificate of this mount that was issued without a record
// (no_store), so that it can be revoked: on the page that its serial names, beside
// what is there. 1 Get and at most 2 Puts; nothing when it is on record already. The
// caller has proven that an issuer of this mount signed it.
//
// The marker always comes first, because the hour of the serial may be closed: Load
// would not look for the page then. Crashes are told as for rewrite.
func (l *Ledger) Adopt(ctx context.Context, record Record) error {
	if err := l.refusal(); err != nil {
		return err
	}
	known, err := summarise(record.DER)
	if err != nil {
		return err
	}
	id, ok := pageIDOf(known.serial)
	if !ok {
		return notFound(known.serial)
	}
	record.Serial, record.KeyHash = known.serial, known.keyHash
	if record.Revocation != nil {
		return fault.New(fault.Internal, "adopting %s: it must be revoked by Revoke", record.Serial)
	}
	if err := record.check(); err != nil {
		return err
	}
	row := rowOf(&record, &known)
	defer l.lock(id).Unlock()
	s, err := l.read(ctx, id)
	if err != nil {
		return err
	}
	if s == nil {
		s = &sheet{id: id}
	}
	if s.index(record.Serial) >= 0 {
		return nil
	}
	if err := l.admit(id, &row); err != nil {
		return err
	}
	s.records = append(slices.Clone(s.records), string(encodeRecord(&record)))
	n := need{marks: covered, lead: record.Serial}
	if err := l.rewrite(ctx, s, n); err != nil {
		return err
	}
	_, err = l.publish(s, []Row{row}, n)
	return err
}
