package state

import "vault-plugin-secrets-enterprise-pki/backend/feed"

// collectAtOnce is how many rows are put into a set at once while it is built: each
// time copies the whole set.
const collectAtOnce = 1 << 16

// Collection builds a set of rows out of many portions.
type Collection struct {
	rows    *Rows
	pending []feed.Row
}

// Collect returns an empty collection.
func Collect() *Collection { return &Collection{rows: NoRows()} }

// Add adds a portion; of several rows for a serial number the last one counts. An
// error is that of Rows.With and leaves the collection without use.
func (c *Collection) Add(rows []feed.Row) error {
	c.pending = append(c.pending, rows...)
	if len(c.pending) < collectAtOnce {
		return nil
	}
	return c.flush()
}

func (c *Collection) flush() error {
	next, err := c.rows.With(c.pending)
	if err != nil {
		return err
	}
	c.rows, c.pending = next, c.pending[:0]
	return nil
}

// Rows returns the set of everything that was added.
func (c *Collection) Rows() (*Rows, error) {
	if err := c.flush(); err != nil {
		return nil, err
	}
	c.pending = nil
	return c.rows, nil
}
