//go:build cgo

package hsm

import (
	"context"
	"sync"
	"time"

	"github.com/ThalesIgnite/crypto11"
	"github.com/miekg/pkcs11"
	"golang.org/x/sync/semaphore"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

const (
	// wholeGate is the weight of a call that must run alone.
	wholeGate = 1 << 30
	// reopenPause lies between two attempts to open a lost library or token again.
	reopenPause = 2 * time.Second
	// rescanPause lies between two initialisations only to look for a token that
	// other tokens' users would notice.
	rescanPause = 30 * time.Second
	// doubtPause lies between two losses that a token which answers is taken for.
	doubtPause = 30 * time.Second
)

// libraries is the registry of this process: every PKCS#11 library that was ever
// asked for, by resolved path. PKCS#11 state is per process, so this is too.
// Entries stay: the allow-list bounds them.
var libraries = struct {
	sync.Mutex
	byPath map[string]*library
}{byPath: map[string]*library{}}

// library is one PKCS#11 library of this process with its open tokens.
type library struct {
	path string

	// gate is held by every call into the library while it runs: with weight 1 by
	// signing and finding, whole by generating, deleting, opening and closing.
	// SoftHSM fails 2 to 3 % of the generations that run beside other operations,
	// and connections may only be closed when no call uses them.
	gate *semaphore.Weighted

	// raw gives access beside crypto11. It is loaded once and never unloaded:
	// vendors' libraries crash when they are. Written and read holding the gate.
	raw   *pkcs11.Ctx
	own   bool               // raw needed an initialisation of its own; whole gate
	conns map[*conn]struct{} // open connections; written and read holding the whole gate

	mu      sync.Mutex           // guards the fields below; never held across a PKCS#11 call
	devices map[identity]*device // open tokens
	dying   []*conn              // connections whose last user has gone
	latches map[latch]struct{}
	absent  map[string]error // targets that could not be opened less than reopenPause ago
	circuit
}

// circuit is what a library's calls have said about its health. The library's mu
// guards it.
type circuit struct {
	overdue   int   // calls that have overstayed their deadline and not come back
	stuckErr  error // why overdue
	lost      bool  // a call reported a loss: close everything before the next use
	lossErr   error // why lost
	reopened  bool  // a loss was handled less than reopenPause ago
	rescanned bool  // initialised for an unknown token less than rescanPause ago
	doubted   bool  // a token that answers was taken for lost less than doubtPause ago
}

// libraryAt returns the library with a resolved path.
func libraryAt(path string) *library {
	libraries.Lock()
	defer libraries.Unlock()
	l := libraries.byPath[path]
	if l == nil {
		l = &library{
			path:    path,
			gate:    semaphore.NewWeighted(wholeGate),
			conns:   map[*conn]struct{}{},
			devices: map[identity]*device{},
			latches: map[latch]struct{}{},
			absent:  map[string]error{},
		}
		libraries.byPath[path] = l
	}
	return l
}

// conn is one connection to a token: logged in, with sessions. It is immutable;
// handles of objects are valid for one conn only.
type conn struct {
	lib *library
	ctx *crypto11.Context
	position
	mech    map[uint]bool
	dialect dialect

	keeper   pkcs11.SessionHandle      // carries the login, used for nothing but probes
	probing  *sync.Mutex               // a session must not be used by two threads: guards keeper
	sessions chan pkcs11.SessionHandle // free sessions for raw calls
	direct   chan struct{}             // a place for each of sessions
	pooled   chan struct{}             // a place for each session of crypto11
}

// lose marks the library as lost if conn is still one of its connections.
func (l *library) lose(c *conn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.devices {
		if d.conn == c {
			l.lost, l.lossErr = true, err
		}
	}
}

// markLost makes the next use close everything and open it again.
func (l *library) markLost(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost, l.lossErr = true, err
}

// mayDoubt reports whether a failure may be taken for a loss although the token
// answers, and remembers that it was.
func (l *library) mayDoubt() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.doubted {
		return false
	}
	l.doubted = true
	l.after(doubtPause, func() { l.doubted = false })
	return true
}

// strike opens the circuit: a call has overstayed its deadline.
func (l *library) strike(timeout time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.overdue++
	l.stuckErr = fault.New(fault.Unavailable,
		"a call into %s has not come back within %s; its tokens are unavailable until it does", l.path, timeout)
	l.lost, l.lossErr = true, l.stuckErr
}

// settle closes the circuit when the last overdue call has come back.
func (l *library) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.overdue--
}

// blocked returns the reason while the circuit is open.
func (l *library) blocked() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.overdue > 0 {
		return l.stuckErr
	}
	return nil
}

// op says how a call runs.
type op struct {
	weight  int64
	place   chan struct{} // takes a place while it runs; nil: needs none
	timeout time.Duration // of the call, and of waiting for its turn
}

// run makes a call into the library beside the caller, who waits no longer than
// the context and the deadline allow. The gate and the place are given back when
// the call itself ends, not when its caller stops waiting.
func run[T any](ctx context.Context, l *library, o op, call func() (T, error)) (T, error) {
	var zero T
	if err := l.blocked(); err != nil {
		return zero, err
	}
	if err := l.enter(ctx, o); err != nil {
		return zero, err
	}
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	expired := make(chan struct{})
	deadline := time.AfterFunc(o.timeout, func() {
		l.strike(o.timeout)
		close(expired)
	})
	go func() {
		var a answer
		defer func() {
			// A panic in crypto11 or a binding must not end all mounts.
			if caught := recover(); caught != nil {
				what, _ := fault.Panicked(caught)
				a.err = fault.New(fault.Internal, "calling %s: %s", l.path, what)
			}
			if !deadline.Stop() {
				<-expired
				l.settle()
			}
			l.leave(o)
			done <- a
		}()
		a.value, a.err = call()
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-expired:
		if err := l.blocked(); err != nil {
			return zero, err
		}
		return zero, fault.New(fault.Unavailable, "a call into %s came back too late", l.path)
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}

// enter waits for a place and for the gate.
func (l *library) enter(ctx context.Context, o op) error {
	if l.enterNow(o) {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if o.place != nil {
		select {
		case o.place <- struct{}{}:
		case <-wait.Done():
			return l.tooBusy(ctx, o)
		}
	}
	if err := l.gate.Acquire(wait, o.weight); err != nil {
		if o.place != nil {
			<-o.place
		}
		return l.tooBusy(ctx, o)
	}
	return nil
}

// enterNow enters when nobody is in the way.
func (l *library) enterNow(o op) bool {
	if o.place != nil {
		select {
		case o.place <- struct{}{}:
		default:
			return false
		}
	}
	if l.gate.TryAcquire(o.weight) {
		return true
	}
	if o.place != nil {
		<-o.place
	}
	return false
}

// leave gives back what enter took.
func (l *library) leave(o op) {
	l.gate.Release(o.weight)
	if o.place != nil {
		<-o.place
	}
}

// tooBusy says why enter gave up.
func (l *library) tooBusy(ctx context.Context, o op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.blocked(); err != nil {
		return err
	}
	return fault.New(fault.Unavailable, "no turn for a call into %s within %s: too many calls, or one that takes long", l.path, o.timeout)
}

// after runs f when the pause is over; f takes back a flag that mu guards.
func (l *library) after(pause time.Duration, f func()) {
	time.AfterFunc(pause, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		f()
	})
}

// clean closes connections that nobody uses and, after a loss, all of them. The
// caller holds the whole gate. It refuses while a loss was handled a moment ago.
func (l *library) clean() error {
	l.mu.Lock()
	dying := l.dying
	l.dying = nil
	lost, reason := l.lost, l.lossErr
	if lost && l.reopened {
		l.mu.Unlock()
		l.closeEach(dying)
		return fault.New(fault.Unavailable, "library %s was lost and is opened again at most every %s: %w", l.path, reopenPause, reason)
	}
	if lost {
		l.lost, l.reopened = false, true
		l.after(reopenPause, func() { l.reopened = false })
	}
	l.mu.Unlock()
	l.closeEach(dying)
	if lost {
		l.closeAll()
	}
	return nil
}

// closeAll closes every connection, which finalises the library. The caller holds
// the whole gate. Tokens open again when they are next used.
func (l *library) closeAll() {
	l.mu.Lock()
	for _, d := range l.devices {
		d.conn = nil
	}
	l.mu.Unlock()
	for c := range l.conns {
		l.close(c)
	}
}

// closeEach closes connections. The caller holds the whole gate.
func (l *library) closeEach(conns []*conn) {
	for _, c := range conns {
		l.close(c)
	}
}

// close closes a connection once: closing a crypto11 context twice would close
// somebody else's. The caller holds the whole gate.
func (l *library) close(c *conn) {
	if _, open := l.conns[c]; !open {
		return
	}
	delete(l.conns, c)
	for range cap(c.sessions) {
		select {
		case session := <-c.sessions:
			_ = l.raw.CloseSession(session)
		default:
		}
	}
	_ = l.raw.CloseSession(c.keeper) // it may be gone with the token
	if c.ctx != nil {
		_ = c.ctx.Close()
	}
	if len(l.conns) == 0 {
		l.finalise()
	}
}

// finalise ends raw's own initialisation; crypto11 ends its own by counting.
func (l *library) finalise() {
	if l.own {
		l.own = false
		_ = l.raw.Finalize()
	}
}
