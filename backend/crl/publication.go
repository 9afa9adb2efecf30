package crl

import (
	"context"
	"sync"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// edition is one CRL: its head and, once it was built or read here, its DER.
type edition struct {
	head Head
	body []byte // nil: only in storage
}

// publication is what one process knows of the CRLs of one issuer.
type publication struct {
	issuer string
	// turn has one place. Who holds it rebuilds, and nobody else writes the storage
	// keys of this issuer; floor and clean belong to the holder.
	turn  chan struct{}
	floor int64 // the highest number that any attempt here has used
	clean bool  // storage holds the newest list, we know it, and no leftovers

	mu     sync.Mutex // guards what follows; never held over storage or signing
	newest *edition
	queued *flight
	agenda agenda
}

// agenda says what still has to be rebuilt, and when.
type agenda struct {
	dirty     bool // a revocation is not on the list yet
	urgent    bool // and it must not wait
	waiting   bool // a goroutine sees to it
	compared  bool // the list was compared with the ledger since the start
	attempted time.Time
	failure   error         // of the last rebuild
	nudge     chan struct{} // one place: look at the agenda again
}

// flight is one rebuild that several callers may wait for.
type flight struct {
	done chan struct{} // closed when head and err are set
	head Head
	err  error
}

func newPublication(issuer string) *publication {
	return &publication{
		issuer: issuer,
		turn:   make(chan struct{}, 1),
		agenda: agenda{nudge: make(chan struct{}, 1)},
	}
}

// latest returns the newest known edition, nil when none is known.
func (p *publication) latest() *edition {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newest
}

// offer makes an edition the newest unless a newer or fuller one is known, and
// returns the one that is the newest now: numbers never go backwards.
func (p *publication) offer(e *edition) *edition {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.newest
	if known == nil || e.head.Number > known.head.Number || e.head.Number == known.head.Number && known.body == nil {
		p.newest = e
	}
	return p.newest
}

// join returns the rebuild that has not begun yet, and whether the caller has to
// start it: one that has begun may have read the ledger before the caller's change.
func (p *publication) join() (f *flight, start bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queued == nil {
		p.queued, start = &flight{done: make(chan struct{})}, true
	}
	return p.queued, start
}

// begin notes that the queued rebuild starts: it covers every change noted so far.
func (p *publication) begin(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queued = nil
	p.agenda.dirty, p.agenda.urgent = false, false
	p.agenda.attempted = now
}

// finish notes how the rebuild ended; after a failure the list is still dirty.
func (p *publication) finish(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agenda.failure = err
	if err != nil {
		p.agenda.dirty = true
		return
	}
	p.agenda.compared = true
}

// settled reports whether the list has what the ledger knew at the start.
func (p *publication) settled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.agenda.compared
}

// settle notes that it has.
func (p *publication) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agenda.compared = true
}

// failure returns the error of the last rebuild.
func (p *publication) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.agenda.failure
}

// failed reports whether the last rebuild failed.
func (p *publication) failed() bool { return p.failure() != nil }

// mark notes a revocation and reports whether a goroutine is wanted to see to it.
func (p *publication) mark(reason cert.Reason) (start bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agenda.dirty = true
	switch reason {
	case cert.KeyCompromise, cert.CACompromise, cert.AACompromise:
		p.agenda.urgent = true
	}
	if p.agenda.waiting {
		select {
		case p.agenda.nudge <- struct{}{}:
		default:
		}
		return false
	}
	p.agenda.waiting = true
	return true
}

// wait returns how long the next rebuild may wait; done says that there is nothing
// to rebuild and that the caller's goroutine has been signed off.
func (p *publication) wait(now time.Time, delay time.Duration) (left time.Duration, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.agenda.dirty:
		p.agenda.waiting = false
		return 0, true
	case p.agenda.urgent || p.agenda.attempted.IsZero():
		return 0, false
	}
	// The upper bound holds when the clock was set back.
	return min(p.agenda.attempted.Add(delay).Sub(now), delay), false
}

// signOff notes that no goroutine sees to the agenda any more.
func (p *publication) signOff() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agenda.waiting = false
}

// attend sees to the agenda of one issuer until it is empty: bursts of revocations
// become one rebuild. After a failure it leaves the rest to Tick.
func (s *Service) attend(p *publication) {
	defer s.background.Done()
	defer func() {
		if cause := recover(); cause != nil {
			what, stack := fault.Panicked(cause)
			s.config.Log.Error("scheduling a CRL panicked", "issuer", p.issuer, "cause", what, "stack", stack)
			p.signOff()
		}
	}()
	for {
		left, done := p.wait(s.config.Now(), s.delay())
		if done {
			return
		}
		if left > 0 {
			timer := time.NewTimer(left)
			select {
			case <-timer.C:
			case <-p.agenda.nudge:
			case <-s.stop.Done():
			}
			timer.Stop()
			if s.stop.Err() != nil {
				p.signOff()
				return
			}
			continue
		}
		if _, err := s.Rebuild(s.stop, p.issuer); err != nil {
			p.signOff()
			return
		}
	}
}

// delay returns the rebuild delay, the default when config/crl cannot be read.
func (s *Service) delay() time.Duration {
	ctx, cancel := context.WithTimeout(s.stop, readDeadline)
	defer cancel()
	r, err := s.rules(ctx)
	if err != nil {
		r, _ = newRules(DefaultSettings())
	}
	return r.delay
}
