package state

import (
	"math/bits"
	"slices"
	"sort"

	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

// shardSteps is by how many entries a shard grows while a set is built: by few, so that
// little is left unused at the end.
const shardSteps = 8

// Collection builds a set of rows out of many portions, with hardly more memory than
// the set takes: portions are packed as they come, and put in order at the end. Rows
// that another set has, too, take a bit, and shards that are the same are shared with
// it: a million rows that are fetched anew are not there twice.
type Collection struct {
	base *Rows
	// same has a bit for each entry of a shard of base: the row that came last for its
	// serial number is that entry. nil: none is.
	same  [1 << shardBits][]uint64
	rows  *Rows // what base does not have: shards neither in order nor free of former rows
	empty Rows
}

// Collect returns an empty collection, whose rows are expected to be much like those of
// a set. It does not keep what the set has and nobody adds.
func Collect(base *Rows) *Collection {
	return &Collection{base: base, rows: &Rows{issuers: base.issuers, places: base.places}}
}

// Add adds a portion; of several rows for a serial number the last one counts. An
// error is that of Rows.With and leaves the collection without use.
func (c *Collection) Add(rows []feed.Row) error {
	for i := range rows {
		change, err := c.rows.change(&rows[i])
		if err != nil {
			return err
		}
		if c.has(change) {
			continue
		}
		place := c.rows.own(change.shard, &c.empty)
		if len(*place) == cap(*place) {
			*place = append(make([]entry, 0, len(*place)+shardSteps), *place...)
		}
		*place = append(*place, change.entry)
	}
	return nil
}

// has reports whether base has an entry, and notes it for its serial number.
func (c *Collection) has(change change) bool {
	shard := c.base.shard(change.shard)
	at := sort.Search(len(shard), func(i int) bool { return order(&shard[i], &change.entry) >= 0 })
	if at == len(shard) || order(&shard[at], &change.entry) != 0 {
		return false
	}
	if c.same[change.shard] == nil {
		c.same[change.shard] = make([]uint64, (len(shard)+63)/64)
	}
	word, bit := &c.same[change.shard][at/64], uint64(1)<<(at%64)
	if shard[at] == change.entry {
		*word |= bit
		return true
	}
	*word &^= bit
	return false
}

// Rows returns the set of everything that was added, and ends the collection.
func (c *Collection) Rows() *Rows {
	rows := c.rows
	c.rows = nil
	for number := range 1 << shardBits {
		own := latest(rows.shard(number))
		if shard := c.merge(number, own); len(shard) > 0 {
			*rows.own(number, &c.empty) = shard
			rows.count += len(shard)
		}
	}
	return rows
}

// latest puts a shard in order, in place, and leaves the last of several entries for a
// serial number.
func latest(shard []entry) []entry {
	slices.SortStableFunc(shard, func(a, b entry) int { return order(&a, &b) })
	kept := shard[:0]
	for i := range shard {
		if i == len(shard)-1 || order(&shard[i], &shard[i+1]) != 0 {
			kept = append(kept, shard[i])
		}
	}
	return kept
}

// merge returns a shard out of the entries of base that were added last for their
// serial numbers, and others.
func (c *Collection) merge(number int, others []entry) []entry {
	base, same := c.base.shard(number), c.same[number]
	count := 0
	for _, word := range same {
		count += bits.OnesCount64(word)
	}
	switch {
	case count == 0:
		return others
	case count == len(base) && len(others) == 0:
		return base
	}
	merged := make([]entry, 0, count+len(others))
	for i := range base {
		for len(others) > 0 && order(&others[0], &base[i]) < 0 {
			merged, others = append(merged, others[0]), others[1:]
		}
		if same[i/64]&(1<<(i%64)) == 0 {
			continue
		}
		if len(others) > 0 && order(&others[0], &base[i]) == 0 {
			others = others[1:] // it came before
		}
		merged = append(merged, base[i])
	}
	return append(merged, others...)
}
