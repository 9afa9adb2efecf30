// Package wait promises that no test fails because a machine is slow. A test waits for
// what has to happen as long as anything moves, and fails when nothing has moved for
// Patience. What moves is the processor time of this process and of the processes that
// it has started, time in which they were kept from running included, and what a Sign
// shows. A defect that keeps a processor busy for ever is ended by the limit of go test.
//
// It is about real time and real processes: not for a bubble of testing/synctest.
package wait

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Patience is how long nothing has to have moved. It is longer than any pause of the
// product that a test waits for in real time: Vault's minute between two rounds.
const Patience = 2 * time.Minute

const (
	// look is the pause between two looks at a condition, rest that between two measurements.
	look = 20 * time.Millisecond
	rest = time.Second
	// busy is the part of one processor, waiting for it included, above which processes
	// work. One that has something to do takes all of it. Idle ones that poll take a few
	// hundredths, and some tenths where a machine keeps them waiting.
	busy = 0.5
)

// Sign shows progress: it returns something else when there was some.
type Sign func() any

// Watch tells whether anything moves. It is used by one goroutine.
type Watch struct {
	signs    []Sign
	seen     []any
	measured time.Time
	work     time.Duration
	aside    time.Duration // work that does not count
	moved    time.Time
	patience time.Duration
}

// New returns a watch that begins now.
func New(signs ...Sign) *Watch {
	now := time.Now()
	w := &Watch{signs: signs, seen: make([]any, len(signs)), measured: now, work: work(), moved: now, patience: Patience}
	for i, sign := range signs {
		w.seen[i] = sign()
	}
	return w
}

// Still reports whether nothing has moved for Patience. It is called again and again.
func (w *Watch) Still() bool {
	now := time.Now()
	if past := now.Sub(w.measured); past >= rest {
		began := time.Now()
		total := work()
		if net := total - w.work - w.aside; net.Seconds() >= busy*past.Seconds() {
			w.moved = now
		}
		w.measured, w.work, w.aside = now, total, time.Since(began) // measuring counts next time
		for i, sign := range w.signs {
			if seen := sign(); seen != w.seen[i] {
				w.seen[i], w.moved = seen, now
			}
		}
	}
	return now.Sub(w.moved) >= w.patience
}

// apart runs a look at a condition, whose own work is no progress.
func (w *Watch) apart(condition func() bool) bool {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := spent()
	is := condition()
	w.aside += spent() - before
	return is
}

// Until waits in the test's own goroutine until a condition holds, so that the
// condition may end the test.
func Until(t testing.TB, what string, condition func() bool, signs ...Sign) {
	t.Helper()
	if err := New(signs...).until(t.Context(), condition); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

// until is Until without a test.
func (w *Watch) until(ctx context.Context, condition func() bool) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for !w.apart(condition) {
		if w.Still() {
			return fmt.Errorf("nothing has moved for %s", w.patience)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Receive waits for a value. It returns the zero value when the channel is closed.
func Receive[T any](t testing.TB, what string, from <-chan T, signs ...Sign) T {
	t.Helper()
	value, ok := Take(from, signs...)
	if !ok {
		t.Fatalf("waiting for %s: nothing has moved for %s", what, Patience)
	}
	return value
}

// Take is Receive without a test: false when nothing has moved for Patience.
func Take[T any](from <-chan T, signs ...Sign) (value T, ok bool) {
	watch, tick := New(signs...), time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case value := <-from:
			return value, true
		case <-tick.C:
			if watch.Still() {
				return value, false
			}
		}
	}
}

// Context returns a context that ends, with a cause that says so, when nothing has moved
// for Patience. The function that it returns ends it, too, and must be called.
func Context(parent context.Context, signs ...Sign) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	var watching sync.WaitGroup
	watching.Go(func() {
		_, watched := Take(ctx.Done(), signs...)
		if !watched {
			cancel(fmt.Errorf("nothing has moved for %s", Patience))
		}
	})
	return ctx, func() {
		cancel(context.Canceled)
		watching.Wait()
	}
}
