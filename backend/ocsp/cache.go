package ocsp

import (
	"slices"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// Bounds of the cache: about 6 MiB a mount when it is full (dos-2).
const (
	maxAnswers   = 4096
	maxAnswerKey = 1 << 10
)

// version tells two states of a certificate apart.
type version struct {
	sequence uint64
	revoked  int64 // seconds since 1970; 0: not revoked
	reason   uint8
}

func versionOf(row ledger.Row) version {
	v := version{sequence: row.Sequence, reason: uint8(row.Reason)}
	if !row.RevokedAt.IsZero() {
		v.revoked = row.RevokedAt.Unix()
	}
	return v
}

// answer is a signed response with everything that it was made from: it is used
// again only while all of that still holds, so that nothing has to be told when a
// certificate is revoked.
type answer struct {
	key      string
	der      []byte
	from     time.Time // thisUpdate
	until    time.Time // half of its life
	signer   *delegate
	settings *Settings
	versions []version

	newer, older *answer // neighbours in the cache, guarded by its lock
}

// holds reports whether the answer is what would be said now.
func (a *answer) holds(now time.Time, signer *delegate, settings *Settings, versions []version) bool {
	return !now.Before(a.from) && now.Before(a.until) &&
		a.signer == signer && a.settings == settings && slices.Equal(a.versions, versions)
}

// cache keeps the answers that were used last: a map, and a ring through rim from
// the one used last (rim.older) to the one not used for longest (rim.newer).
type cache struct {
	mu    sync.Mutex // guards all fields
	byKey map[string]*answer
	rim   answer
}

func newCache() *cache {
	c := &cache{byKey: map[string]*answer{}}
	c.rim.newer, c.rim.older = &c.rim, &c.rim
	return c
}

// cacheKey returns the key of a request that may be cached: one without a nonce.
// The DER of a CertID says where it ends, so that no two requests share a key.
func cacheKey(request *Request) (string, bool) {
	if request.Nonce != nil {
		return "", false
	}
	size := 0
	for _, id := range request.CertIDs {
		size += len(id.Raw)
	}
	if size > maxAnswerKey {
		return "", false
	}
	var key strings.Builder
	key.Grow(size)
	for _, id := range request.CertIDs {
		key.Write(id.Raw)
	}
	return key.String(), true
}

// get returns the answer under a key, nil when there is none.
func (c *cache) get(key string) *answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.byKey[key]
	if a != nil {
		a.leave()
		c.enter(a)
	}
	return a
}

// put keeps an answer and drops the one that was not used for longest.
func (c *cache) put(a *answer) {
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
func (c *cache) enter(a *answer) {
	a.newer, a.older = &c.rim, c.rim.older
	a.older.newer = a
	c.rim.older = a
}

// leave takes an answer out of the ring.
func (a *answer) leave() {
	a.newer.older, a.older.newer = a.older, a.newer
}
