package ocsp

import "sync"

// Bounds of the cache: about 6 MiB a mount when it is full (dos-2).
const (
	maxAnswers   = 4096
	maxAnswerKey = 1 << 10
)

// cache keeps the answers that were used last: a map, and a ring through rim from
// the one used last (rim.older) to the one not used for longest (rim.newer). The key
// is the content of the requestList: its DER says where each CertID ends, so that no
// two questions share a key.
type cache struct {
	mu    sync.Mutex // guards all fields
	byKey map[string]*signed
	rim   signed
}

func newCache() *cache {
	c := &cache{byKey: map[string]*signed{}}
	c.rim.newer, c.rim.older = &c.rim, &c.rim
	return c
}

// get returns the answer under a key, nil when there is none.
func (c *cache) get(key []byte) *signed {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.byKey[string(key)] // no copy is made
	if a != nil && c.rim.older != a {
		a.leave()
		c.enter(a)
	}
	return a
}

// put keeps an answer and drops the one that was not used for longest.
func (c *cache) put(a *signed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if former := c.byKey[a.key]; former != nil {
		former.leave()
	}
	c.byKey[a.key] = a
	c.enter(a)
	if len(c.byKey) > maxAnswers {
		oldest := c.rim.newer
		oldest.leave()
		delete(c.byKey, oldest.key)
	}
}

// enter puts an answer where the one used last is.
func (c *cache) enter(a *signed) {
	a.newer, a.older = &c.rim, c.rim.older
	a.older.newer = a
	c.rim.older = a
}

// leave takes an answer out of the ring.
func (a *signed) leave() {
	a.newer.older, a.older.newer = a.older, a.newer
}
