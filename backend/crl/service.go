package crl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/singleflight"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// The deadlines of work that outlives the request that asked for it.
const (
	rebuildDeadline = 5 * time.Minute
	readDeadline    = time.Minute
	closePatience   = time.Second
)

// Service keeps the CRLs of one mount.
type Service struct {
	config Config
	heads  kv.Table[Head]

	current     atomic.Pointer[rules] // config/crl as last read or written; nil: not read
	configuring sync.Mutex            // whoever holds it is the only one that changes config/crl
	loads       singleflight.Group    // cold reads, by listName

	stop       context.Context
	halt       context.CancelFunc
	background sync.WaitGroup // goroutines; Add only under mu and while not closed

	memory
	places  *places
	watched watched
	upgrade upgrade
}

// memory is what a Service knows of its lists.
type memory struct {
	mu           sync.Mutex              // guards what follows; held for a map access only
	publications map[string]*publication // by listName
	numbers      map[string]*series      // by the listName of the scope
	closed       bool
}

// headVersion is the version that a stored Head record carries.
const headVersion = 1

// New returns a service that has touched no storage.
func New(config Config) *Service {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	stop, halt := context.WithCancel(context.Background())
	return &Service{
		config:  config,
		heads:   kv.NewTable[Head](config.Store, layout.CRLHead, headVersion),
		stop:    stop,
		halt:    halt,
		memory:  memory{publications: map[string]*publication{}, numbers: map[string]*series{}},
		places:  newPlaces(config.Store),
		watched: watched{warned: map[string]string{}},
	}
}

// Close stops background work and waits for it no longer than a moment. A rebuild
// that is cut short leaves the old list in place.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.halt()
	ended := make(chan struct{})
	go func() {
		s.background.Wait()
		close(ended)
	}()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-ended:
	case <-patience.C:
	}
}

// Invalidate drops what was read from a storage key that another node has written.
func (s *Service) Invalidate(key string) {
	if key == layout.ConfigCRL {
		s.current.Store(nil)
	}
	if name, found := strings.CutPrefix(key, layout.CRLHead); found {
		s.mu.Lock()
		delete(s.publications, name)
		s.mu.Unlock()
		s.watched.mu.Lock()
		s.watched.issuers = nil
		s.watched.mu.Unlock()
	}
	if issuer, found := strings.CutPrefix(key, layout.CRLPlaces); found {
		s.places.drop(issuer)
	}
}

// publication returns the state of a list, made when it is wanted for writing.
func (s *Service) publication(issuer string, kind Kind) *publication {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := listName(issuer, kind)
	p := s.publications[name]
	if p == nil {
		p = newPublication(issuer, kind, s.series(issuer, kind))
		s.publications[name] = p
	}
	return p
}

// series returns the numbering of a list. The caller holds mu.
func (s *Service) series(issuer string, kind Kind) *series {
	scope := kind
	if kind == Delta {
		scope = Complete
	}
	name := listName(issuer, scope)
	numbers := s.numbers[name]
	switch {
	case numbers != nil:
	case scope == Complete || scope == allShards:
		numbers = &series{turn: make(chan struct{}, 1)}
	default:
		numbers = &series{turn: s.series(issuer, allShards).turn}
	}
	s.numbers[name] = numbers
	return numbers
}

// find returns the state of a list that is in memory, nil when there is none. It keeps
// nothing for names that it does not know.
func (s *Service) find(issuer string, kind Kind) *publication {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.publications[listName(issuer, kind)]
}

// known returns the newest edition of a list that is in memory, nil when there is none.
func (s *Service) known(issuer string, kind Kind) *edition {
	if p := s.find(issuer, kind); p != nil {
		return p.latest()
	}
	return nil
}

// spawn runs work in the background, or reports that the service is closed.
func (s *Service) spawn(work func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fault.New(fault.Unavailable, "the CRL service is closed")
	}
	s.background.Add(1)
	go work()
	return nil
}

// Get returns the newest complete CRL of an issuer, see List.
func (s *Service) Get(ctx context.Context, issuer string) ([]byte, Head, error) {
	return s.List(ctx, issuer, Complete)
}

// List returns the newest CRL of a kind in DER with no signing: from memory, else from
// storage. A nil body when the issuer has none. The caller must not change it.
func (s *Service) List(ctx context.Context, issuer string, kind Kind) ([]byte, Head, error) {
	issuer, err := s.ca(ctx, issuer)
	if err != nil {
		return nil, Head{}, err
	}
	published, err := s.publishes(ctx, issuer, kind)
	if err != nil || !published {
		return nil, Head{}, err
	}
	if e := s.known(issuer, kind); e != nil && e.body != nil {
		return e.body, e.head, nil
	}
	// Many readers of a list that is not in memory cause one read; it goes on when
	// the one that caused it has gone.
	detached := context.WithoutCancel(ctx)
	read := s.loads.DoChan(listName(issuer, kind), func() (any, error) {
		ctx, cancel := context.WithTimeout(detached, readDeadline)
		defer cancel()
		return s.load(ctx, issuer, kind)
	})
	select {
	case result := <-read:
		e, _ := result.Val.(*edition)
		if result.Err != nil || e == nil {
			return nil, Head{}, result.Err
		}
		return e.body, e.head, nil
	case <-ctx.Done():
		return nil, Head{}, fmt.Errorf("reading crl of issuer %s: %w", issuer, ctx.Err())
	}
}

// publishes reports whether a list of that kind is to be had: complete ones always.
func (s *Service) publishes(ctx context.Context, issuer string, kind Kind) (bool, error) {
	switch kind {
	case Complete:
		return true, nil
	case Delta:
		r, err := s.rules(ctx)
		return err == nil && r.deltas(), err
	}
	kinds, err := s.shards(ctx, issuer)
	return slices.Contains(kinds, kind), err
}

// load reads the newest edition from storage; nil when there is none.
func (s *Service) load(ctx context.Context, issuer string, kind Kind) (e *edition, err error) {
	defer s.recovered("reading a CRL", issuer, &err)
	const looks = 3
	var last int64 = -1
	name := listName(issuer, kind)
	for range looks {
		head, err := s.heads.Get(ctx, name)
		if err != nil || head == nil || head.Chunks == 0 {
			return nil, err
		}
		body, err := s.readBody(ctx, name, *head)
		if err == nil {
			return s.publication(issuer, kind).offer(&edition{*head, body}), nil
		}
		// Between the two reads a rebuild may have replaced the head and removed the
		// body that it named: look again. An unchanged head is a lost body.
		if !errors.Is(err, errTorn) || head.Number == last {
			return nil, err
		}
		last = head.Number
	}
	return nil, fault.New(fault.Unavailable, "reading crl of issuer %s: it was replaced while being read", issuer)
}

// Revoked notes that an issuer's lists changed. With deltas, the next delta tells of it;
// without, or when a key was compromised, the complete list. A list is made at once when
// a key was compromised or when its last edition is longer ago than its delay (see
// Settings.RebuildDelay and DeltaRebuildInterval), else when that delay is over, in the
// background. It never blocks. A note that a crash loses is found again by the first
// Tick after the start.
func (s *Service) Revoked(issuer string, reason cert.Reason) {
	issuer, err := s.ca(s.stop, issuer)
	if err != nil {
		s.config.Log.Warn("finding the CA of a revocation failed: the next renewal of CRLs shows it", "issuer", issuer, "error", err)
		return
	}
	first := Complete
	if r := s.current.Load(); r != nil && r.deltas() && !urgent(reason) {
		first = Delta
	}
	for _, kind := range []Kind{first, allShards} {
		if kind == allShards && s.places.none(issuer) {
			continue
		}
		p := s.publication(issuer, kind)
		if !p.mark(reason) {
			continue
		}
		if err := s.spawn(func() { s.attend(p) }); err != nil {
			p.signOff()
		}
	}
}

// LastError returns why the last rebuild of an issuer's CRLs failed, nil when none did:
// for health.
func (s *Service) LastError(issuer string) error {
	issuer, err := s.ca(s.stop, issuer)
	failures := []error{err}
	for _, kind := range []Kind{Complete, Delta, allShards} {
		if p := s.find(issuer, kind); p != nil {
			failures = append(failures, p.failure())
		}
	}
	return errors.Join(failures...)
}

// recovered turns a panic into an error: the process serves other mounts as well.
func (s *Service) recovered(what, issuer string, err *error) {
	if cause := recover(); cause != nil {
		known, stack := fault.Panicked(cause)
		s.config.Log.Error(what+" panicked", "issuer", issuer, "cause", known, "stack", stack)
		*err = fault.New(fault.Internal, "%s of issuer %s: internal error", what, issuer)
	}
}
