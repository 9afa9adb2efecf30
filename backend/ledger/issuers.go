package ledger

import (
	"context"
	"iter"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// IssuedBy iterates over the rows of some issuers in the order of serials, see Rows.
// Unavailable until loaded.
func (l *Ledger) IssuedBy(issuers ...string) (iter.Seq[Row], error) {
	by := l.words(issuers)
	return l.each("", func(*leaf) bool { return len(by) == 0 }, func(r *row) bool { return by.has(r.issuer) })
}

// Issuers returns every issuer that rows name, with the serial number of a certificate
// of it that is on record, "" when none is. Unavailable until loaded.
func (l *Ledger) Issuers() (map[string]cert.Serial, error) {
	v, err := l.snapshot()
	if err != nil {
		return nil, err
	}
	numbers := map[uint32]cert.Serial{}
	for _, leaf := range v.leaves {
		for i := range leaf.rows {
			r := &leaf.rows[i]
			sample, seen := numbers[r.issuer]
			switch {
			case seen && sample != "":
			case !r.has(unstored):
				numbers[r.issuer] = cert.Serial(v.serial(r))
			case !seen:
				numbers[r.issuer] = ""
			}
		}
	}
	issuers := make(map[string]cert.Serial, len(numbers))
	for number, sample := range numbers {
		if issuer := v.words[number]; issuer != "" { // a root has none
			issuers[issuer] = sample
		}
	}
	return issuers, nil
}

// AddRevoked shows rows of certificates that were issued and revoked elsewhere, from the
// CRL of a CA whose key is here now, so that the next CRLs list them. They have no
// record. They are durable when the next Flush has ended well; adding them again changes
// nothing. issuers are the ids of the CA's issuers.
//
// It returns the rows that it has not shown. Those of recorded have a record of an issuer
// of the CA, which Revoke changes. Those of foreign have the serial number of a
// certificate of another CA: rows are found by serial number, and that row must not go.
func (l *Ledger) AddRevoked(rows []Row, issuers []string) (recorded, foreign []Row, err error) {
	if err := l.questionable(); err != nil {
		return nil, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, row := range rows {
		row.Unstored = true
		v := l.state.table.view() // anew: what was shown has changed it
		old, found := v.get(string(row.Serial))
		switch {
		case !found:
			l.state.show(&row, 0)
		case !slices.Contains(issuers, v.words[old.issuer]):
			foreign = append(foreign, row)
		case !old.has(unstored):
			recorded = append(recorded, row)
		case old.revokedAt == 0:
			wide := v.wide(old)
			wide.RevokedAt, wide.Reason, wide.Invalidity, wide.Resumed = row.RevokedAt, row.Reason, row.Invalidity, time.Time{}
			l.state.show(&wide, 0)
		}
	}
	return recorded, foreign, nil
}

// Touch gives every row of an issuer a new sequence number, so that readers of Changes
// see it again, and makes that durable. Unavailable until loaded.
func (l *Ledger) Touch(ctx context.Context, issuer string) error {
	rows, err := l.IssuedBy(issuer)
	if err != nil {
		return err
	}
	for row := range rows {
		l.touch(row.Serial)
	}
	return l.Flush(ctx)
}

func (l *Ledger) touch(serial cert.Serial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.state.table.view()
	old, found := v.get(string(serial))
	if !found {
		return // tidied meanwhile
	}
	row, m := v.wide(old), marks(old.state)&^reasonBits
	l.state.sequence++
	row.Sequence = l.state.sequence
	l.state.table.put(&row, m|fresh, 0)
}
