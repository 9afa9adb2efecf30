package fsck

import (
	"maps"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
)

// issuers checks the records of issuers (ca-5).
func (c *checker) issuers() error {
	storage := &watched{Store: c.store}
	stored, err := issuer.CheckStored(c.ctx, storage)
	if storage.failed != nil {
		return storage.failed
	}
	if err != nil {
		return err
	}
	for _, problem := range stored.Problems {
		if problem.Notice {
			c.notice(layout.Issuer+problem.ID, "%s", problem.Text)
		} else {
			c.broken(layout.Issuer+problem.ID, "%s", problem.Text)
		}
	}
	c.stored, c.lost = stored, map[string]map[cert.Serial]time.Time{}
	return nil
}

// passed notes a time that had come when storage was written.
func (c *checker) passed(at time.Time) {
	if at.After(c.now) {
		c.now = at
	}
}

// owner notes a row whose issuer is not known. Self-signed certificates of the mount have
// none, and a responder answers for the others: nobody asks about it.
func (c *checker) owner(row *ledger.Row) {
	if row.Issuer == "" || !c.stored.Any || c.stored.IDs[row.Issuer] || revoke.IsResponder(row) {
		return
	}
	if c.lost[row.Issuer] == nil {
		c.lost[row.Issuer] = map[cert.Serial]time.Time{}
	}
	c.lost[row.Issuer][row.Serial] = row.NotAfter
}

// ownerless reports certificates of no CA: no CRL lists them, and OCSP knows none of them.
// Everything that tells the time comes before it.
func (c *checker) ownerless() error {
	for _, row := range c.book.rows {
		c.owner(&row)
	}
	for _, id := range slices.Sorted(maps.Keys(c.lost)) {
		live := c.lost[id]
		maps.DeleteFunc(live, func(_ cert.Serial, end time.Time) bool { return !c.now.Before(end) })
		if len(live) > 0 {
			c.broken(layout.Issuer+id, "%d certificates that have not expired name this issuer, %s among them, and it is not there: "+
				"no CRL and no OCSP response is about them. Import the certificate of its CA (issuers/import/cert)",
				len(live), slices.Min(slices.Collect(maps.Keys(live))))
		}
	}
	return nil
}

// named checks whose a list is.
func (c *checker) named(key, owner string) {
	if c.stored.Any && !c.stored.CAs[owner] && !c.stored.IDs[owner] {
		c.notice(key, "belongs to no CA and no issuer that is there; tidy_expired_issuers removes it")
	}
}
