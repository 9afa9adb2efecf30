package state

import (
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

// shardSteps is by how many entries a shard grows while a set is built: by few, so that
// little is left unused at the end.
const shardSteps = 8

// Collection builds a set of rows out of many portions, with hardly more memory than
// the set takes: portions are packed as they come, and put in order at the end.
type Collection struct {
	rows  *Rows // shards are neither in order nor free of former rows
	empty Rows
}

// Collect returns an empty collection.
func Collect() *Collection { return &Collection{rows: NoRows()} }

// Add adds a portion; of several rows for a serial number the last one counts. An
// error is that of Rows.With and leaves the collection without use.
func (c *Collection) Add(rows []feed.Row) error {
	for i := range rows {
		change, err := c.rows.change(&rows[i])
		if err != nil {
			return err
		}
		place := c.rows.own(change.shard, &c.empty)
		if len(*place) == cap(*place) {
			*place = append(make([]entry, 0, len(*place)+shardSteps), *place...)
		}
		*place = append(*place, change.entry)
	}
	return nil
}

// Rows returns the set of everything that was added, and ends the collection.
func (c *Collection) Rows() *Rows {
	rows := c.rows
	c.rows = nil
	for number := range 1 << shardBits {
		shard := rows.shard(number)
		if len(shard) == 0 {
			continue
		}
		slices.SortStableFunc(shard, func(a, b entry) int { return order(&a, &b) })
		kept := shard[:0]
		for i := range shard {
			if i == len(shard)-1 || order(&shard[i], &shard[i+1]) != 0 {
				kept = append(kept, shard[i])
			}
		}
		*rows.own(number, &c.empty) = kept
		rows.count += len(kept)
	}
	return rows
}
