package crash_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// issued is one certificate that a client received.
type issued struct {
	serial string // as the API writes it
	der    []byte
	kept   bool // not to be revoked under load

	// Guarded by book.mu.
	asked   []string    // the reasons for which its revocation was asked for, in order
	revoked *revocation // acknowledged
}

// revocation is what the engine acknowledged.
type revocation struct {
	Reason string `json:"reason"`
	Time   int64  `json:"revocation_time"`
}

// number returns the serial number as CRLs have it.
func (i *issued) number() string { return numberOf(i.serial) }

// numberOf returns the decimal form of a serial number that is written in hexadecimal.
func numberOf(serial string) string {
	number, _ := new(big.Int).SetString(strings.ReplaceAll(serial, ":", ""), 16)
	return fmt.Sprint(number)
}

// book is what the users of a site wrote down. It is used by all of them at once.
type book struct {
	t *testing.T

	mu       sync.Mutex // guards what follows and the changing fields of issued
	all      []*issued
	bySerial map[string]*issued
	failures map[string]int // requests that failed, by what was said
	problems int
	settings map[string]*setting
	values   int      // of settings that were tried
	highest  *big.Int // CRL number
}

// setting is the one field of a role or profile that a client writes again and again.
type setting struct {
	acknowledged int
	doubtful     []int // written since the acknowledgement before the last, and answered with an error
	since        int   // how many of them are older than the last acknowledgement
	versions     map[int]int
}

func newBook(t *testing.T) *book {
	return &book{t: t, bySerial: map[string]*issued{}, failures: map[string]int{}, settings: map[string]*setting{}, highest: new(big.Int)}
}

// problem reports what must not be. It may be called from every goroutine.
func (b *book) problem(format string, args ...any) {
	b.t.Helper()
	b.mu.Lock()
	b.problems++
	shown := b.problems <= 25
	b.mu.Unlock()
	if shown {
		b.t.Errorf(format, args...)
	} else {
		b.t.Fail()
	}
}

// received writes down a certificate from an answer. One that was received before
// must not come again.
func (b *book) received(serial, certificate string) *issued {
	entry := &issued{serial: serial, der: derOf(certificate)}
	if serial == "" || entry.der == nil {
		b.problem("an answer has no certificate: serial %q, %q", serial, certificate)
		return nil
	}
	b.mu.Lock()
	before := b.bySerial[serial]
	if before == nil {
		entry.kept = len(b.all)%4 == 0
		b.all = append(b.all, entry)
		b.bySerial[serial] = entry
	}
	b.mu.Unlock()
	if before != nil {
		b.problem("serial number %s was received twice; the same certificate: %t", serial, bytes.Equal(before.der, entry.der))
		return nil
	}
	return entry
}

// asking notes that a revocation is about to be asked for.
func (b *book) asking(entry *issued, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	entry.asked = append(entry.asked, reason)
}

// acknowledged notes that the engine said that a certificate is revoked.
func (b *book) acknowledged(entry *issued, r revocation) {
	b.mu.Lock()
	asked, before := slices.Contains(entry.asked, r.Reason), entry.revoked
	entry.revoked = &r
	b.mu.Unlock()
	if !asked {
		b.problem("%s was revoked for %s, for which nobody asked", entry.serial, r.Reason)
	}
	if before != nil && *before != r {
		b.problem("%s was revoked %+v and then %+v", entry.serial, *before, r)
	}
}

// state returns what is known of a certificate now.
func (b *book) state(entry *issued) (revoked *revocation, asked []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return entry.revoked, slices.Clone(entry.asked)
}

// entries returns all certificates that were received so far, those from an index on.
func (b *book) entries(from int) []*issued {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all[from:])
}

func (b *book) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.all)
}

// pick returns one of the certificates, nil when there is none yet.
func (b *book) pick(d *dice) *issued {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.all) == 0 {
		return nil
	}
	return b.all[d.roll(len(b.all))]
}

// fresh returns a lifetime in seconds that no setting had before: writing what is there
// already makes no version of a profile.
func (b *book) fresh() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.values++
	return 3600 + b.values
}

// wrote notes what became of writing a setting; version is 0 where there are none.
func (b *book) wrote(path string, value, version int, acknowledged bool) {
	b.mu.Lock()
	s := b.settings[path]
	if s == nil {
		s = &setting{versions: map[int]int{}}
		b.settings[path] = s
	}
	before, again := s.versions[version]
	if version > 0 {
		s.versions[version] = value
	}
	s.outcome(value, acknowledged)
	b.mu.Unlock()
	if again {
		b.problem("version %d of %s was made twice, with %d and %d", version, path, before, value)
	}
}

func (s *setting) outcome(value int, acknowledged bool) {
	if !acknowledged {
		s.doubtful = append(s.doubtful, value)
		return
	}
	s.acknowledged = value
	s.doubtful = s.doubtful[s.since:]
	s.since = len(s.doubtful)
}

// numbered notes the number of a CRL that somebody saw, and reports whether it is
// higher than all before.
func (b *book) numbered(number *big.Int) (higher bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if number.Cmp(b.highest) > 0 {
		b.highest = number
		return true
	}
	return false
}

// changing is what differs from one error message to the next.
var changing = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|127\.0\.0\.\d+:\d+|[0-9a-f]{2}(:[0-9a-f]{2}){8,}|\d{2,}`)

// answered counts failures. A refusal of a request with which nothing is wrong is
// never right, whatever was killed.
func (b *book) answered(method, path string, a answer) {
	if a.ok() {
		return
	}
	if !a.elsewhere() {
		b.problem("%s %s: refused with status %d: %s", method, path, a.Status, a.Body)
	}
	message := string(a.Body)
	var envelope struct{ Errors []string }
	if json.Unmarshal(a.Body, &envelope) == nil && len(envelope.Errors) > 0 {
		message = strings.Join(envelope.Errors, "; ")
	}
	message = changing.ReplaceAllString(message, "*")
	if at := strings.LastIndex(message, "\": "); a.Status == 0 && at >= 0 {
		message = message[at+3:] // what net/http says of the connection, without the URL
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures[fmt.Sprintf("%d %s", a.Status, strings.TrimSpace(message))]++
}

// String tells the totals, and what was said to those who had to do without.
func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	revoked, doubtful := 0, 0
	for _, entry := range b.all {
		switch {
		case entry.revoked != nil:
			revoked++
		case len(entry.asked) > 0:
			doubtful++
		}
	}
	lines := []string{fmt.Sprintf("%d certificates received, %d revocations acknowledged, %d in doubt", len(b.all), revoked, doubtful)}
	for message, count := range b.failures {
		lines = append(lines, fmt.Sprintf("  %6d times %s", count, message))
	}
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n")
}
