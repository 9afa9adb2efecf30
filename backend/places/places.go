// Package places promises that every URL that a live certificate names is known: the
// URLs of CRLs, of OCSP responders and of CA certificates are noted before the
// certificate is signed, and kept until the last certificate that names them has
// expired, whatever config/urls and the issuer say by then. Whoever serves a CA serves
// these URLs.
//
// URLs belong to the CA (subject and key), not to one of its certificates: they outlive
// its renewal, its deletion and its return. Which shards of a CRL must be made is known
// to the crl package.
package places

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// MaxPlaces is the largest number of URLs of one CA that certificates may name at a
// time.
const MaxPlaces = 256

// Kind says what is found at a URL. Its values are stored.
type Kind string

// The kinds of URLs that certificates name.
const (
	CRL       Kind = "crl"        // cRLDistributionPoints, complete list
	Delta     Kind = "delta"      // freshestCRL
	OCSP      Kind = "ocsp"       // id-ad-ocsp
	CAIssuers Kind = "ca-issuers" // id-ad-caIssuers
)

var kinds = []Kind{CRL, Delta, OCSP, CAIssuers}

// URLs are the URLs of one CA, by kind.
type URLs map[Kind][]string

// place is a URL and the time at which the last certificate that names it expires.
type place struct {
	Kind  Kind      `json:"kind"`
	URL   string    `json:"url"`
	Until time.Time `json:"until"`
}

// record is what is stored for a CA.
type record struct {
	Places []place `json:"places"`
}

// version is the version that a stored record carries.
const version = 1

// Service knows the places of one mount.
type Service struct {
	table kv.Table[record]
	now   func() time.Time
	// writing lets one change be stored at a time; held over its Get and Put.
	writing sync.Mutex

	mu    sync.Mutex         // guards known; held for a map access only
	known map[string][]place // by CA, as stored; the slices are not changed
}

// New returns a service that has touched no storage.
func New(store kv.Store, now func() time.Time) *Service {
	return &Service{table: kv.NewTable[record](store, layout.Place, version), now: now, known: map[string][]place{}}
}

// Invalidate drops what was read from a storage key that another node has written.
func (s *Service) Invalidate(key string) {
	if ca, found := strings.CutPrefix(key, layout.Place); found {
		s.drop(ca)
	}
}

// Note records that a certificate of a CA names URLs until a time. Call it before the
// certificate is signed. It costs no storage operation, except the first time that a
// URL is named, and again when the time has moved on by about a certificate's life.
func (s *Service) Note(ctx context.Context, ca string, named URLs, until time.Time) error {
	if covers(nil, named, until) {
		return nil // it names none
	}
	list, err := s.of(ctx, ca)
	if err != nil {
		return err
	}
	if covers(list, named, until) {
		return nil
	}
	now := s.now()
	until = ahead(until, now)
	return s.change(ctx, ca, func(list []place) ([]place, error) {
		list = slices.DeleteFunc(list, func(p place) bool { return !p.Until.After(now) })
		for _, kind := range kinds {
			for _, url := range named[kind] {
				switch at := find(list, kind, url); {
				case at < 0:
					list = append(list, place{Kind: kind, URL: url, Until: until})
				case until.After(list[at].Until):
					list[at].Until = until
				}
			}
		}
		if len(list) > MaxPlaces {
			return nil, fault.New(fault.Conflict, "certificates of this CA name %d different URLs, more than %d: set the URLs in config/urls or of the issuer back to earlier ones until some of these certificates have expired",
				len(list), MaxPlaces)
		}
		return list, nil
	})
}

// ahead returns a time about twice as far away, so that the certificates of the same
// life that follow need no other write.
func ahead(until, now time.Time) time.Time {
	left := until.Sub(now)
	if left <= 0 || left > math.MaxInt64/4 { // as far as certificates without an end (RFC 5280 section 4.1.2.5)
		return until.UTC()
	}
	return now.Add(2 * left).UTC().Truncate(time.Second)
}

func find(list []place, kind Kind, url string) int {
	return slices.IndexFunc(list, func(p place) bool { return p.Kind == kind && p.URL == url })
}

// covers reports whether a list knows all URLs until a time.
func covers(list []place, named URLs, until time.Time) bool {
	for kind, urls := range named {
		for _, url := range urls {
			if at := find(list, kind, url); at < 0 || until.After(list[at].Until) {
				return false
			}
		}
	}
	return true
}

// Of returns the URLs that live certificates of a CA name: from memory, else with one
// Get.
func (s *Service) Of(ctx context.Context, ca string) (URLs, error) {
	list, err := s.of(ctx, ca)
	if err != nil {
		return nil, err
	}
	now := s.now()
	named := URLs{}
	for _, p := range list {
		if p.Until.After(now) {
			named[p.Kind] = append(named[p.Kind], p.URL)
		}
	}
	return named, nil
}

// Known reports whether any URL of a CA was ever noted and is still stored.
func (s *Service) Known(ctx context.Context, ca string) (bool, error) {
	list, err := s.of(ctx, ca)
	return len(list) > 0, err
}

// Sweep removes the records of CAs none of whose certificates is alive.
func (s *Service) Sweep(ctx context.Context) error {
	cas, err := s.table.Names(ctx)
	if err != nil {
		return err
	}
	now := s.now()
	for _, ca := range cas {
		err := s.change(ctx, ca, func(list []place) ([]place, error) {
			return slices.DeleteFunc(list, func(p place) bool { return !p.Until.After(now) }), nil
		})
		if err != nil {
			return fmt.Errorf("removing URLs of CA %s: %w", ca, err)
		}
	}
	return nil
}

func (s *Service) look(ca string) ([]place, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, known := s.known[ca]
	return list, known
}

func (s *Service) keep(ca string, list []place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[ca] = list
}

func (s *Service) drop(ca string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, ca)
}

func (s *Service) of(ctx context.Context, ca string) ([]place, error) {
	if list, known := s.look(ca); known {
		return list, nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.read(ctx, ca)
}

// read reads the places of a CA. The caller holds writing.
func (s *Service) read(ctx context.Context, ca string) ([]place, error) {
	if list, known := s.look(ca); known {
		return list, nil
	}
	stored, err := s.table.Get(ctx, ca)
	if err != nil {
		return nil, fmt.Errorf("reading the URLs of CA %s: %w", ca, err)
	}
	var list []place
	if stored != nil {
		list = stored.Places
	}
	s.keep(ca, list)
	return list, nil
}

// change stores what edit makes of the places of a CA, unless it changes nothing. When
// the outcome of the write is in doubt, storage is asked the next time.
func (s *Service) change(ctx context.Context, ca string, edit func([]place) ([]place, error)) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	before, err := s.read(ctx, ca)
	if err != nil {
		return err
	}
	after, err := edit(slices.Clone(before))
	if err != nil || slices.Equal(before, after) {
		return err
	}
	if len(after) == 0 {
		err = s.table.Delete(ctx, ca)
	} else {
		err = s.table.Put(ctx, ca, &record{Places: after})
	}
	if err != nil {
		s.drop(ca)
		return fmt.Errorf("recording the URLs of CA %s: %w", ca, err)
	}
	s.keep(ca, after)
	return nil
}

// Check refuses a stored record that no Service writes.
func Check(ctx context.Context, store kv.Store, ca string) error {
	stored, err := New(store, nil).table.Get(ctx, ca)
	if err != nil {
		return err
	}
	if stored == nil || len(stored.Places) == 0 || len(stored.Places) > MaxPlaces {
		return fault.New(fault.Invalid, "the record has no URLs, or more than %d", MaxPlaces)
	}
	for i, p := range stored.Places {
		if !slices.Contains(kinds, p.Kind) || p.URL == "" || p.Until.IsZero() || find(stored.Places[:i], p.Kind, p.URL) >= 0 {
			return fault.New(fault.Invalid, "URL %d has an unknown kind, no end, or is recorded twice", i)
		}
	}
	return nil
}
