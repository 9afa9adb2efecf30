package crash_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// check holds the books against what the engine says, with no load and everything
// running again. It looks at the certificates from an index on; the list, the CRL and
// the settings are looked at as a whole.
func (s *site) check(from int) {
	s.t.Helper()
	began := time.Now()
	s.published() // before anything asks for a revocation, which would have the CRL made anew
	s.settle()
	entries := s.book.entries(from)
	s.listing()
	s.each(entries, s.record)
	s.published()
	s.each(entries, func(entry *issued) {
		for !s.status(entry) {
			time.Sleep(watchPause) // tryLater; record found the engine ready, so this ends
		}
	})
	s.configured()
	s.sound()
	s.t.Logf("checked %d certificates in %s: %s", len(entries), time.Since(began).Round(time.Millisecond), s.book)
}

// settle asks again for every revocation that is in doubt, as a client would, so that
// the books are complete.
func (s *site) settle() {
	for _, entry := range s.book.entries(0) {
		if revoked, asked := s.book.state(entry); revoked == nil && len(asked) > 0 {
			s.until("revoking again", func() bool { return s.revokeFor(entry, asked[len(asked)-1]) })
		}
	}
}

// each does something with all entries, some at a time.
func (s *site) each(entries []*issued, work func(*issued)) {
	queue := make(chan *issued)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for entry := range queue {
				work(entry)
			}
		})
	}
	for _, entry := range entries {
		queue <- entry
	}
	close(queue)
	workers.Wait()
}

// listing checks that every certificate that was received is listed, each once, and
// every revoked one as revoked.
func (s *site) listing() {
	s.t.Helper()
	all, revoked := s.keys("certs"), s.keys("certs/revoked")
	for _, entry := range s.book.entries(0) {
		if all[entry.serial] != 1 {
			s.book.problem("%s was received and is listed %d times", entry.serial, all[entry.serial])
		}
		want := 0
		if r, _ := s.book.state(entry); r != nil {
			want = 1
		}
		if revoked[entry.serial] != want {
			s.book.problem("%s is listed %d times as revoked, not %d", entry.serial, revoked[entry.serial], want)
		}
	}
	s.t.Logf("%d certificates are listed, %d of them revoked", len(all), len(revoked))
}

// keys lists a path page by page, and returns how often each key is there.
func (s *site) keys(path string) map[string]int {
	s.t.Helper()
	const page = 5000
	found, after := map[string]int{}, ""
	for {
		var list struct{ Keys []string }
		s.must("LIST", fmt.Sprintf("%s/%s?limit=%d&after=%s", mount, path, page, after), nil).decode(s.t, &list)
		require.True(s.t, slices.IsSorted(list.Keys))
		for _, key := range list.Keys {
			found[key]++
		}
		if len(list.Keys) < page {
			return found
		}
		after = list.Keys[len(list.Keys)-1]
	}
}

// record checks that a certificate is found, the same octets, and as revoked as the
// book says.
func (s *site) record(entry *issued) {
	var a answer
	for watch := wait.New(); ; time.Sleep(watchPause) {
		if a = s.ask(http.MethodGet, mount+"/cert/"+entry.serial, nil); a.ok() {
			break
		}
		if a.Status == http.StatusNotFound || watch.Still() {
			s.book.problem("%s was received and is not found: %d %s", entry.serial, a.Status, a.Body)
			return
		}
	}
	var found struct {
		Data struct {
			Certificate string
			Serial      string `json:"serial_number"`
			Time        int64  `json:"revocation_time"`
			Reason      string `json:"revocation_reason"`
		}
	}
	if err := json.Unmarshal(a.Body, &found); err != nil {
		s.book.problem("%s: %v", entry.serial, err)
		return
	}
	if !bytes.Equal(derOf(found.Data.Certificate), entry.der) || found.Data.Serial != entry.serial {
		s.book.problem("%s is on record with other octets than were received", entry.serial)
	}
	want := revocation{}
	if revoked, _ := s.book.state(entry); revoked != nil {
		want = *revoked
	}
	if got := (revocation{Reason: found.Data.Reason, Time: found.Data.Time}); got != want {
		s.book.problem("%s was acknowledged as revoked %+v, on record is %+v", entry.serial, want, got)
	}
}

// published waits until the CRL has every revocation that was acknowledged, which has
// to happen by itself, and checks that it has no other, except those that are in doubt.
func (s *site) published() {
	s.t.Helper()
	want, doubtful := map[string]revocation{}, map[string]bool{}
	for _, entry := range s.book.entries(0) {
		revoked, asked := s.book.state(entry)
		if revoked != nil {
			want[entry.number()] = *revoked
		} else if len(asked) > 0 {
			doubtful[entry.number()] = true
		}
	}
	var list *x509.RevocationList
	missing := func() bool {
		if list = s.crl(); list == nil {
			return true
		}
		entries := listed(list)
		for serial := range want {
			if _, found := entries[serial]; !found {
				return true
			}
		}
		return false
	}
	// When something is wrong already, the list is only looked at.
	for watch := wait.New(); missing() && !s.t.Failed() && !watch.Still(); {
		time.Sleep(10 * watchPause)
	}
	if list == nil {
		s.book.problem("there is no CRL, and nothing moves")
		return
	}
	entries := listed(list)
	s.holdAgainst(entries, want)
	for serial := range entries {
		if _, asked := want[serial]; !asked && !doubtful[serial] {
			s.book.problem("%s is on the CRL and nobody revoked it", serial)
		}
	}
}

// crlReasons are those of RFC 5280 section 5.3.1 for which clients revoke.
var crlReasons = map[int]string{1: "keyCompromise", 4: "superseded"}

func (s *site) holdAgainst(entries map[string]x509.RevocationListEntry, want map[string]revocation) {
	for serial, r := range want {
		entry, found := entries[serial]
		if !found {
			s.book.problem("%s was acknowledged as revoked and is not on the CRL in time", serial)
			continue
		}
		if got := (revocation{Reason: crlReasons[entry.ReasonCode], Time: entry.RevocationTime.Unix()}); got != r {
			s.book.problem("%s was acknowledged as revoked %+v, the CRL says %+v", serial, r, got)
		}
	}
}

// configured checks that each setting has the value that was acknowledged last, or one
// that was in doubt since, and each version of a profile its own.
func (s *site) configured() {
	s.t.Helper()
	for path, setting := range s.book.settings {
		if setting.acknowledged == 0 {
			continue
		}
		if value := s.value(path); value != setting.acknowledged && !slices.Contains(setting.doubtful, value) {
			s.book.problem("%s has %d; %d was acknowledged, %v were in doubt", path, value, setting.acknowledged, setting.doubtful)
		}
		for version, want := range setting.versions {
			if value := s.value(fmt.Sprintf("%s/versions/%d", path, version)); value != want {
				s.book.problem("version %d of %s has %d, not %d as acknowledged", version, path, value, want)
			}
		}
	}
}

// value reads what clients write of a role or profile.
func (s *site) value(path string) int {
	s.t.Helper()
	var found struct {
		TTL     int `json:"ttl"`
		Default int `json:"default_ttl"`
	}
	s.must(http.MethodGet, path, nil).decode(s.t, &found)
	return max(found.TTL, found.Default)
}

// last revokes some of the certificates that nobody has revoked: the CRL that lists
// them has a higher number than any that was seen, and OCSP says so at once.
func (s *site) last() {
	s.t.Helper()
	s.book.mu.Lock()
	before := s.book.highest.String()
	s.book.mu.Unlock()
	turn := 0
	for _, entry := range s.book.entries(0) {
		if !entry.kept || turn == 8 {
			continue
		}
		s.until("revoking", func() bool { return s.revokeFor(entry, reasons[turn%len(reasons)]) })
		s.until("telling", func() bool { return s.status(entry) })
		turn++
	}
	require.NotZero(s.t, turn, "no certificate was kept for the end")
	s.published()
	list := s.crl()
	require.NotNil(s.t, list)
	require.Equal(s.t, 1, list.Number.Cmp(number(before)), "the CRL number %s is not above %s", list.Number, before)
}
