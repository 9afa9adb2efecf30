// Package publish promises that what the publishers of a mount name arrives where they
// say: whole or not at all, read back and compared, and written once however often it
// is asked for. A place that fails is tried again later and holds up no other
// publisher; an older list never replaces a newer one that the CA has signed. So two
// edges may publish to the same place, and an edge that is killed at any moment goes
// on where it was: what is there already is found by reading it.
//
// Whoever writes a publisher to the mount decides neither which files of this host
// change nor which server sees a secret: the edge's own configuration lists both.
package publish

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/config"
)

// Source is what is to be published.
type Source interface {
	// Manifest returns the newest manifest, nil before there is one, and a channel that
	// is closed when there is a newer one. Every list that it names can be had from
	// List. Nobody changes it.
	Manifest() (newest *feed.Manifest, changed <-chan struct{})
	// List returns the DER of a CRL by its SHA-256 in hexadecimal. Nobody changes it.
	List(digest string) ([]byte, error)
}

// Reporter takes what became of each item to the mount.
type Reporter interface {
	// Report posts publishers/:name/status. It is tried again when it fails.
	Report(ctx context.Context, publisher string, items []feed.ReportItem) error
}

// Config says what a Service works on. Nothing may be nil.
type Config struct {
	Source      Source
	Reporter    Reporter
	Credentials map[string]config.Credential
	Directories []string // below which files may be written
	Now         func() time.Time
	Log         hclog.Logger
}

// Service publishes until it is told to end.
type Service struct {
	config  Config
	reports *reports

	mu     sync.Mutex // guards what is below
	states map[string]State
}

// State is how one publisher fares, for metrics.
type State struct {
	Publisher string
	Done      int       // places that hold what they should
	Failing   int       // places that do not
	Verified  time.Time // when a place was last seen to hold it; zero: never
}

// New returns a service that has done nothing.
func New(config Config) *Service {
	return &Service{config: config, reports: newReports(config.Reporter, config.Log), states: map[string]State{}}
}

// States returns how every publisher fares, by name.
func (s *Service) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]State, 0, len(s.states))
	for _, state := range s.states {
		all = append(all, state)
	}
	slices.SortFunc(all, func(a, b State) int { return strings.Compare(a.Publisher, b.Publisher) })
	return all
}

// Run publishes until the context ends, then waits for what is under way. A write
// that is cut short leaves the old or the new thing where it was going to.
func (s *Service) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { s.reports.run(ctx) })
	workers := map[string]*worker{}
	for {
		manifest, changed := s.config.Source.Manifest()
		if manifest != nil {
			s.assign(ctx, &group, workers, manifest)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// assign gives every publisher of a manifest one worker that knows it as it is now,
// and ends the workers of those that are gone. A worker starts when the one before it
// has ended: two never write to the same place.
func (s *Service) assign(ctx context.Context, group *sync.WaitGroup, workers map[string]*worker, manifest *feed.Manifest) {
	wanted := map[string]bool{}
	for _, publisher := range manifest.Publishers {
		wanted[publisher.Name] = true
		before := workers[publisher.Name]
		if before != nil && reflect.DeepEqual(before.publisher, publisher) {
			before.give(manifest)
			continue
		}
		w := newWorker(s, publisher)
		w.give(manifest)
		own, cancel := context.WithCancel(ctx)
		w.cancel = cancel
		workers[publisher.Name] = w
		group.Go(func() {
			defer close(w.ended)
			if before != nil {
				before.cancel()
				<-before.ended
			}
			w.run(own)
		})
	}
	for name, w := range workers {
		if !wanted[name] {
			w.cancel()
			<-w.ended
			delete(workers, name)
			s.mu.Lock()
			delete(s.states, name)
			s.mu.Unlock()
		}
	}
}

func (s *Service) note(state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[state.Publisher] = state
}
