package issue

import (
	"sync"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// claims are the keys that requests under way want for one owner each: that of the
// certificate (unique_key), or the kind of certificate that the key gets (key-1).
// The ledger knows a key from its commit on; until then the claim does, so that two
// requests at a time, or of one batch, do not both find the key free.
type claims struct {
	mu   sync.Mutex // held for one look-up
	held map[cert.Fingerprint]*claim
}

type claim struct {
	owner string
	count int // requests of this owner
}

// take claims a key, false when a request for another owner has it. Whoever gets true
// releases it after the ledger knows the key, or when nothing was signed.
func (c *claims) take(key cert.Fingerprint, owner string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = map[cert.Fingerprint]*claim{}
	}
	now := c.held[key]
	if now == nil {
		now = &claim{owner: owner}
		c.held[key] = now
	}
	if now.owner != owner {
		return false
	}
	now.count++
	return true
}

func (c *claims) release(key cert.Fingerprint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.held[key]; now != nil {
		if now.count--; now.count == 0 {
			delete(c.held, key)
		}
	}
}
