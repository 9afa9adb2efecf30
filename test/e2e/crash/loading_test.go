package crash_test

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// What makes a start long enough to be asked during it: pages, full of certificates,
// each with a revocation that only a marker leads to.
const (
	fullPages = 12
	pageSize  = 256
)

// TestRev3_NothingIsGoodWhileAKilledPluginLoads asks for revoked certificates while the
// rows are there that say that they are good, and the revocations are not.
func TestRev3_NothingIsGoodWhileAKilledPluginLoads(t *testing.T) {
	d := seeded(t)
	s := newSite(t, 1)
	c := &client{site: s, name: "client", dice: d}
	for range fullPages {
		c.batch(pageSize)
	}
	received := s.book.entries(0)
	require.Len(t, received, fullPages*pageSize)
	s.killPlugin(s.active(), d)
	s.recover()
	s.until("writing a segment", func() bool {
		names, err := rawStorage{s, s.active()}.List(t.Context(), "segment/")
		return err == nil && len(names) > 0
	})
	var revoked []*issued
	for page := range fullPages {
		for n := range 4 {
			entry := received[page*pageSize+n]
			s.until("revoking", func() bool { return s.revokeFor(entry, reasons[n%len(reasons)]) })
			revoked = append(revoked, entry)
		}
	}
	for range 4 {
		s.killPlugin(s.active(), d)
		s.hurry(revoked)
	}
	t.Log(s.book)
}

// hurry asks for the status of revoked certificates and for the list of them, from many
// sides at once, until every status was answered.
func (s *site) hurry(revoked []*issued) {
	s.t.Helper()
	ctx, cancel := wait.Context(s.t.Context())
	defer cancel()
	var askers, listers sync.WaitGroup
	for _, entry := range revoked {
		askers.Go(func() {
			for !s.status(entry) {
				if ctx.Err() != nil {
					s.book.problem("%s: OCSP has no answer, and nothing moves", entry.serial)
					return
				}
			}
		})
	}
	answered := make(chan struct{})
	for range 4 {
		listers.Go(func() {
			for {
				s.listRevoked(len(revoked))
				select {
				case <-answered:
					return
				default:
				}
			}
		})
	}
	askers.Wait()
	close(answered)
	listers.Wait()
}

// listRevoked asks once for the list of revoked certificates. While rows load there is none.
func (s *site) listRevoked(want int) {
	a := s.ask("LIST", mount+"/certs/revoked", nil)
	if !a.ok() && a.Status != http.StatusNotFound {
		return
	}
	var list struct{ Data struct{ Keys []string } }
	if err := json.Unmarshal(a.Body, &list); err != nil || len(list.Data.Keys) < want {
		s.book.problem("%d revoked certificates are listed, not %d: status %d, %v", len(list.Data.Keys), want, a.Status, err)
	}
}
