package crl

import (
	"context"
	"errors"
	"fmt"
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

	current atomic.Pointer[rules] // config/crl as last read or written; nil: not read
	loads   singleflight.Group    // cold reads, by issuer

	stop       context.Context
	halt       context.CancelFunc
	background sync.WaitGroup // goroutines; Add only under mu and while not closed

	mu           sync.Mutex // guards what follows; held for a map access only
	publications map[string]*publication
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
		config:       config,
		heads:        kv.NewTable[Head](config.Store, layout.CRLHead, headVersion),
		stop:         stop,
		halt:         halt,
		publications: map[string]*publication{},
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
	if issuer, found := strings.CutPrefix(key, layout.CRLHead); found {
		s.mu.Lock()
		delete(s.publications, issuer)
		s.mu.Unlock()
	}
}

// publication returns the state of an issuer, made when it is wanted for writing.
func (s *Service) publication(issuer string) *publication {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.publications[issuer]
	if p == nil {
		p = newPublication(issuer)
		s.publications[issuer] = p
	}
	return p
}

// known returns the newest edition of an issuer that is in memory, nil when there
// is none. It keeps nothing for names that it does not know.
func (s *Service) known(issuer string) *edition {
	s.mu.Lock()
	p := s.publications[issuer]
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.latest()
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

// Get returns the newest CRL in DER with no signing: from memory, else from
// storage. A nil body when the issuer has none yet. The caller must not change it.
func (s *Service) Get(ctx context.Context, issuer string) ([]byte, Head, error) {
	if e := s.known(issuer); e != nil && e.body != nil {
		return e.body, e.head, nil
	}
	// Many readers of a list that is not in memory cause one read; it goes on when
	// the one that caused it has gone.
	detached := context.WithoutCancel(ctx)
	read := s.loads.DoChan(issuer, func() (any, error) {
		ctx, cancel := context.WithTimeout(detached, readDeadline)
		defer cancel()
		return s.load(ctx, issuer)
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

// load reads the newest edition from storage; nil when there is none.
func (s *Service) load(ctx context.Context, issuer string) (e *edition, err error) {
	defer s.recovered("reading a CRL", issuer, &err)
	const looks = 3
	var last int64 = -1
	for range looks {
		head, err := s.heads.Get(ctx, issuer)
		if err != nil || head == nil || head.Chunks == 0 {
			return nil, err
		}
		body, err := s.readBody(ctx, issuer, *head)
		if err == nil {
			return s.publication(issuer).offer(&edition{*head, body}), nil
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

// Revoked notes that an issuer's list changed: it is rebuilt at once when a key was
// compromised or when the last rebuild is longer ago than the rebuild delay, else
// when that delay is over, in the background. It never blocks. A note that a crash
// loses is found again by the first Tick after the start.
func (s *Service) Revoked(issuer string, reason cert.Reason) {
	p := s.publication(issuer)
	if !p.mark(reason) {
		return
	}
	if err := s.spawn(func() { s.attend(p) }); err != nil {
		p.signOff()
	}
}

// LastError returns why the last rebuild of an issuer's CRL failed, nil when it did
// not: for health.
func (s *Service) LastError(issuer string) error {
	s.mu.Lock()
	p := s.publications[issuer]
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.failure()
}

// recovered turns a panic into an error: the process serves other mounts as well.
func (s *Service) recovered(what, issuer string, err *error) {
	if cause := recover(); cause != nil {
		known, stack := fault.Panicked(cause)
		s.config.Log.Error(what+" panicked", "issuer", issuer, "cause", known, "stack", stack)
		*err = fault.New(fault.Internal, "%s of issuer %s: internal error", what, issuer)
	}
}
