package crl

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// ShardTemplate stands in a URL for the shard that covers a certificate: COUNT-INDEX.
const ShardTemplate = "{{crl_shard}}"

// Bounds on what an issuer may have published at a time.
const (
	maxCounts = 8  // numbers of shards, the present one included
	maxPlaces = 64 // URLs, of all numbers together
)

// place is a URL that certificates name, with ShardTemplate in it, and until when one
// that may be asked for names it: its shards are published until then, with this URL,
// whatever the settings have become.
type place struct {
	Count int       `json:"count"`
	URL   string    `json:"url"`
	Until time.Time `json:"until"`
}

func (p *place) is(count int, url string) bool { return p.Count == count && p.URL == url }

// placeRecord is what is stored for an issuer.
type placeRecord struct {
	Places []place `json:"places"`
}

// placesVersion is the version that a stored placeRecord carries.
const placesVersion = 1

// places knows the URLs of shards that certificates name, by issuer.
type places struct {
	table kv.Table[placeRecord]
	// writing lets one change be stored at a time; held over its Get and Put.
	writing sync.Mutex

	mu    sync.Mutex         // guards known; held for a map access only
	known map[string][]place // as stored; slices in it are not changed
}

func newPlaces(store kv.Store) *places {
	return &places{table: kv.NewTable[placeRecord](store, layout.CRLPlaces, placesVersion), known: map[string][]place{}}
}

// none reports whether it is known that no certificate of the issuer names a shard.
func (p *places) none(issuer string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	list, known := p.known[issuer]
	return known && len(list) == 0
}

func (p *places) keep(issuer string, list []place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[issuer] = list
}

func (p *places) drop(issuer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, issuer)
}

// of returns the places of an issuer: from memory, else with one Get.
func (p *places) of(ctx context.Context, issuer string) ([]place, error) {
	p.mu.Lock()
	list, known := p.known[issuer]
	p.mu.Unlock()
	if known {
		return list, nil
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	return p.read(ctx, issuer)
}

// read reads the places of an issuer. The caller holds writing.
func (p *places) read(ctx context.Context, issuer string) ([]place, error) {
	p.mu.Lock()
	list, known := p.known[issuer]
	p.mu.Unlock()
	if known {
		return list, nil
	}
	record, err := p.table.Get(ctx, issuer)
	if err != nil {
		return nil, err
	}
	if record != nil {
		list = record.Places
	}
	p.keep(issuer, list)
	return list, nil
}

// change stores what edit makes of the places of an issuer, unless it changes nothing.
// When the outcome of the write is in doubt, storage is asked the next time.
func (p *places) change(ctx context.Context, issuer string, edit func([]place) ([]place, error)) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	before, err := p.read(ctx, issuer)
	if err != nil {
		return err
	}
	after, err := edit(slices.Clone(before))
	if err != nil || slices.Equal(before, after) {
		return err
	}
	if len(after) == 0 {
		err = p.table.Delete(ctx, issuer)
	} else {
		err = p.table.Put(ctx, issuer, &placeRecord{Places: after})
	}
	if err != nil {
		p.drop(issuer)
		return err
	}
	p.keep(issuer, after)
	return nil
}

// scope is a number of shards that is published, and the URLs that name its shards.
type scope struct {
	count     int
	templates []string
}

// urls returns the URLs of one shard, as certificates have them.
func (c *scope) urls(kind Kind) []string {
	urls := make([]string, 0, len(c.templates))
	for _, template := range c.templates {
		urls = append(urls, strings.ReplaceAll(template, ShardTemplate, string(kind)))
	}
	return urls
}

// live returns the numbers of shards that an issuer publishes, by count: those that
// certificates name, and the one that certificates would name if they were issued now.
func (s *Service) live(ctx context.Context, issuer string) ([]scope, error) {
	list, err := s.places.of(ctx, issuer)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	alive, err := s.alive(ctx, issuer)
	if err != nil {
		return nil, err
	}
	var live []scope
	for i := range list {
		if !alive(&list[i]) {
			continue
		}
		at, found := slices.BinarySearchFunc(live, list[i].Count, func(c scope, count int) int { return c.count - count })
		if !found {
			live = slices.Insert(live, at, scope{count: list[i].Count})
		}
		live[at].templates = append(live[at].templates, list[i].URL)
	}
	return live, nil
}

// alive returns the rule that says whether a place of an issuer is still needed.
func (s *Service) alive(ctx context.Context, issuer string) (func(*place) bool, error) {
	r, err := s.rules(ctx)
	if err != nil {
		return nil, err
	}
	points, err := s.config.Source.Points(ctx, issuer)
	if err != nil {
		return nil, fmt.Errorf("finding the URLs of issuer %s: %w", issuer, err)
	}
	now := s.config.Now()
	return func(p *place) bool {
		return p.Until.After(now) || p.Count == r.settings.Shards && slices.Contains(points.CRL, p.URL)
	}, nil
}

// shards returns every shard that an issuer publishes.
func (s *Service) shards(ctx context.Context, issuer string) ([]Kind, error) {
	live, err := s.live(ctx, issuer)
	if err != nil {
		return nil, err
	}
	var kinds []Kind
	for _, scope := range live {
		for index := range scope.count {
			kinds = append(kinds, ShardKind(scope.count, index))
		}
	}
	return kinds, nil
}

// Shard returns the kind of a shard that is given by its index among the present number
// of shards, or as COUNT-INDEX. NotFound for what is neither.
func (s *Service) Shard(ctx context.Context, text string) (Kind, error) {
	r, err := s.rules(ctx)
	if err != nil {
		return "", err
	}
	for _, kind := range []Kind{Kind(text), Kind(fmt.Sprintf("%d-%s", r.settings.Shards, text))} {
		if kind.IsShard() {
			return kind, nil
		}
	}
	return "", fault.New(fault.NotFound, "there is no shard %q: give an index below %d, or COUNT-INDEX such as 8-3", text, r.settings.Shards)
}

func isTemplate(url string) bool { return strings.Contains(url, ShardTemplate) }

// whole returns the URLs that name a complete list.
func whole(urls []string) []string {
	return slices.DeleteFunc(slices.Clone(urls), isTemplate)
}

// Place returns the distribution points of a certificate: urls with ShardTemplate
// replaced by the shard that covers the serial number. When it returns, storage knows
// that the shard must be published until the given time, and longer by what config/crl
// says: call it before the certificate is signed. It costs no storage operation but the
// first time, and again when the time has moved on by about a certificate's life.
func (s *Service) Place(ctx context.Context, issuer string, serial cert.Serial, urls []string, until time.Time) ([]string, error) {
	if !slices.ContainsFunc(urls, isTemplate) {
		return urls, nil
	}
	issuer, err := s.ca(ctx, issuer)
	if err != nil {
		return nil, err
	}
	r, err := s.rules(ctx)
	if err != nil {
		return nil, err
	}
	count := r.settings.Shards
	kind := string(ShardKind(count, shardOf(serial, count)))
	// It leaves the list one edition after its end (RFC 5280 section 3.3), which is
	// valid for as long again.
	until = until.Add(r.keep + 2*r.expiry)
	placed := make([]string, 0, len(urls))
	for _, url := range urls {
		if isTemplate(url) {
			if err := s.reserve(ctx, issuer, place{Count: count, URL: url, Until: until}); err != nil {
				return nil, err
			}
		}
		placed = append(placed, strings.ReplaceAll(url, ShardTemplate, kind))
	}
	return placed, nil
}

// reserve makes sure that storage knows a place. New ones are published in the
// background.
func (s *Service) reserve(ctx context.Context, issuer string, wanted place) error {
	list, err := s.places.of(ctx, issuer)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(list, func(p place) bool { return p.is(wanted.Count, wanted.URL) })
	if at >= 0 && !wanted.Until.After(list[at].Until) {
		return nil
	}
	now := s.config.Now()
	// A certificate without an end (RFC 5280 section 4.1.2.5) is as far as a Duration goes.
	if left := wanted.Until.Sub(now); left > 0 && left < math.MaxInt64/4 {
		wanted.Until = now.Add(2 * left).UTC().Truncate(time.Second)
	}
	dormant := at < 0 || !list[at].Until.After(now)
	err = s.places.change(ctx, issuer, func(list []place) ([]place, error) {
		at := slices.IndexFunc(list, func(p place) bool { return p.is(wanted.Count, wanted.URL) })
		switch {
		case at < 0 && len(list) >= maxPlaces:
			return nil, fault.New(fault.Conflict, "certificates of issuer %s name %d different URLs of CRL shards already: keep to those until some have ended", issuer, len(list))
		case at < 0:
			return append(list, wanted), nil
		case wanted.Until.After(list[at].Until):
			list[at].Until = wanted.Until
		}
		return list, nil
	})
	if err != nil || !dormant {
		return err
	}
	p := s.publication(issuer, allShards)
	if p.mark(cert.KeyCompromise) { // at once: a relying party may ask for the list
		if err := s.spawn(func() { s.attend(p) }); err != nil {
			p.signOff()
		}
	}
	return nil
}

// settlePlaces notes the URLs that certificates of an issuer would name now, so that
// their lists are there before the certificates are.
func (s *Service) settlePlaces(ctx context.Context, issuer string, r *rules) error {
	points, err := s.config.Source.Points(ctx, issuer)
	if err != nil {
		return fmt.Errorf("finding the URLs of issuer %s: %w", issuer, err)
	}
	return s.places.change(ctx, issuer, func(list []place) ([]place, error) {
		for _, url := range points.CRL {
			known := slices.ContainsFunc(list, func(p place) bool { return p.is(r.settings.Shards, url) })
			if isTemplate(url) && !known && len(list) < maxPlaces {
				list = append(list, place{Count: r.settings.Shards, URL: url})
			}
		}
		return list, nil
	})
}

// checkCounts refuses another number of shards while certificates name too many.
func (s *Service) checkCounts(ctx context.Context, next *rules) error {
	issuers, err := s.config.Source.Publishers(ctx)
	if err != nil {
		return fmt.Errorf("listing issuers that publish CRLs: %w", err)
	}
	now := s.config.Now()
	for _, issuer := range issuers {
		list, err := s.places.of(ctx, issuer)
		if err != nil {
			return err
		}
		counts := map[int]time.Time{next.settings.Shards: {}}
		var soonest time.Time
		for _, p := range list {
			if p.Until.After(now) && p.Until.After(counts[p.Count]) {
				counts[p.Count] = p.Until
			}
		}
		for _, until := range counts {
			if soonest.IsZero() || until.Before(soonest) && !until.IsZero() {
				soonest = until
			}
		}
		if len(counts) > maxCounts {
			return fault.FieldOf(fault.Conflict, "shards", "certificates of issuer %s name shards of %d different numbers already; the first of these ends at %s",
				issuer, len(counts)-1, soonest.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// CheckPlaces refuses a stored record that does not say which shards of an issuer there
// are.
func CheckPlaces(ctx context.Context, store kv.Store, issuer string) error {
	record, err := newPlaces(store).table.Get(ctx, issuer)
	if err != nil {
		return err
	}
	if record == nil || len(record.Places) == 0 || len(record.Places) > maxPlaces {
		return fault.New(fault.Invalid, "there are no places, or more than %d", maxPlaces)
	}
	for i, p := range record.Places {
		twice := slices.ContainsFunc(record.Places[:i], func(other place) bool { return other.is(p.Count, p.URL) })
		if p.Count < 1 || p.Count > MaxShards || !isTemplate(p.URL) || twice {
			return fault.New(fault.Invalid, "place %d is no URL of 1 to %d shards, or is there twice", i, MaxShards)
		}
	}
	return nil
}
