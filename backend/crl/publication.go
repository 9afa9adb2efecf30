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

// series is a numbering. A delta shares that of its complete list (RFC 5280 section
// 5.2.3); each shard is a scope of its own and has its own.
type series struct {
	// turn has one place. Who holds it rebuilds, and nobody else writes the storage
	// keys of the lists that share it; floor, and clean of those lists, belong to the
	// holder. All shards of an issuer share one.
	turn  chan struct{}
	floor int64 // the highest number that any attempt here has used
	// above is the highest CRL number when it is beyond floor, zero otherwise, see Head.CRL.
	above cert.CRLNumber
}

// publication is what one process knows of one list of one issuer.
type publication struct {
	issuer string
	kind   Kind
	*series
	clean bool // storage holds the newest list, we know it, and no leftovers; see series

	mu     sync.Mutex // guards what follows; never held over storage or signing
	newest *edition
	absent bool // storage was asked and has no list
	queued *flight
	agenda agenda
}

// agenda says what still has to be rebuilt, and when.
type agenda struct {
	dirty     bool // a revocation is not on the list yet
	forced    bool // lists that lack nothing are made anew as well
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

func newPublication(issuer string, kind Kind, numbers *series) *publication {
	return &publication{issuer: issuer, kind: kind, series: numbers, agenda: agenda{nudge: make(chan struct{}, 1)}}
}

// name is what the list is called in storage.
func (p *publication) name() string { return listName(p.issuer, p.kind) }

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
	p.absent = false
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

// force asks the next rebuild to make every list anew.
func (p *publication) force() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agenda.forced = true
}

// begin notes that the queued rebuild starts: it covers every change noted so far. It
// returns what made it start.
func (p *publication) begin(now time.Time) agenda {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.agenda
	p.queued = nil
	p.agenda.dirty, p.agenda.urgent, p.agenda.forced = false, false, false
	p.agenda.attempted = now
	return before
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
	p.agenda.urgent = p.agenda.urgent || urgent(reason)
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

// urgent reports whether a revocation must be published at once.
func urgent(reason cert.Reason) bool {
	return reason == cert.KeyCompromise || reason == cert.CACompromise || reason == cert.AACompromise
}

// wait returns how long the next rebuild may wait; done says that there is nothing
// to rebuild and that the caller's goroutine has been signed off.
func (p *publication) wait(now time.Time, delay time.Duration) (left time.Duration, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.agenda.dirty {
		p.agenda.waiting = false
		return 0, true
	}
	return p.agenda.left(now, delay), false
}

// left returns how long the next rebuild may wait, 0 or less for not at all.
func (a *agenda) left(now time.Time, delay time.Duration) time.Duration {
	if a.urgent || a.attempted.IsZero() {
		return 0
	}
	// The upper bound holds when the clock was set back.
	return min(a.attempted.Add(delay).Sub(now), delay)
}

// signOff notes that no goroutine sees to the agenda any more.
func (p *publication) signOff() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agenda.waiting = false
}

// attend sees to the agenda of one list until it is empty: bursts of revocations
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
		left, done := p.wait(s.config.Now(), s.delay(p.kind))
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
		if _, err := s.make(s.stop, p); err != nil {
			p.signOff()
			return
		}
	}
}

// delay returns how long a revocation may wait for a list, the default when config/crl
// cannot be read.
func (s *Service) delay(kind Kind) time.Duration {
	ctx, cancel := context.WithTimeout(s.stop, readDeadline)
	defer cancel()
	r, err := s.rules(ctx)
	if err != nil {
		r, _ = newRules(DefaultSettings())
	}
	if kind == Delta {
		return r.interval
	}
	return r.delay
}
