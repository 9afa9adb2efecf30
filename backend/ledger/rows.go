package ledger

import (
	"iter"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// Rows iterates over all rows in the order of serials, which is that of their
// hours, after a serial ("" for the start). It holds no lock, allocates nothing
// and shows the rows as they are now, however long the walk takes. Unavailable
// until loaded.
func (l *Ledger) Rows(after cert.Serial) (iter.Seq[Row], error) {
	return l.each(after, func(*leaf) bool { return false }, func(*row) bool { return true })
}

// RevokedRows is Rows for the revoked alone, of all issuers. It skips over stretches
// without a revoked row.
func (l *Ledger) RevokedRows(after cert.Serial) (iter.Seq[Row], error) {
	return l.each(after, withoutRevoked, func(r *row) bool { return r.revokedAt != 0 })
}

// Revoked iterates over the revoked rows of some issuers in the order of serials, as
// they are now: however often it is walked, it yields the same. It skips over
// stretches without a revoked row. Unavailable until loaded.
func (l *Ledger) Revoked(issuers ...string) (iter.Seq[Row], error) {
	by := l.words(issuers)
	return l.each("", func(f *leaf) bool { return len(by) == 0 || withoutRevoked(f) },
		func(r *row) bool { return r.revokedAt != 0 && by.has(r.issuer) })
}

// wordSet is some words by their numbers; they are few.
type wordSet []uint32

func (w wordSet) has(number uint32) bool { return slices.Contains(w, number) }

// words returns the numbers of the issuers that any row names.
func (l *Ledger) words(issuers []string) wordSet {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var numbers wordSet
	for _, issuer := range issuers {
		if number, known := l.state.table.words.numbers[issuer]; known {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

func withoutRevoked(f *leaf) bool { return f.revoked == 0 }

// each iterates over the rows that are wanted, after a serial, in leaves that are not
// skipped.
func (l *Ledger) each(after cert.Serial, skip func(*leaf) bool, wanted func(*row) bool) (iter.Seq[Row], error) {
	v, err := l.snapshot()
	if err != nil {
		return nil, err
	}
	return func(yield func(Row) bool) {
		at, i, found := v.find(string(after))
		if found {
			i++
		}
		for ; at < len(v.leaves); at, i = at+1, 0 {
			if skip(v.leaves[at]) {
				continue
			}
			rows := v.leaves[at].rows
			for ; i < len(rows); i++ {
				if wanted(&rows[i]) && !yield(v.wide(&rows[i])) {
					return
				}
			}
		}
	}, nil
}
