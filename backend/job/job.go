// Package job promises one piece of background work at a time: whoever asks for it
// while it runs is told so, it can be cancelled, it ends when its owner closes, and
// its panic harms nobody else in the process.
package job

import (
	"context"
	"sync"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Job runs one piece of work at a time in a goroutine of its own.
type Job struct {
	log  hclog.Logger
	name string
	ctx  context.Context // ends with Close
	end  context.CancelFunc

	mu    sync.Mutex // guards what follows; held for an assignment only
	under *task      // the work under way; nil: none
}

// task is one piece of work.
type task struct{ cancel context.CancelFunc }

// New returns a job that does nothing yet. Its name is what logs and errors call it; a
// nil log discards.
func New(name string, log hclog.Logger) *Job {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	j := &Job{log: log, name: name}
	j.ctx, j.end = context.WithCancel(context.Background())
	return j
}

// Start runs the work in the background, then done with its error, or with an Internal
// one when it panicked. It reports false, and runs nothing, while work is under way,
// until done has returned or called Free, and when the job is closed.
func (j *Job) Start(work func(context.Context) error, done func(error)) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.under != nil || j.ctx.Err() != nil {
		return false
	}
	ctx, cancel := context.WithCancel(j.ctx)
	mine := &task{cancel: cancel}
	j.under = mine
	go func() {
		done(j.outlive(ctx, work))
		cancel()
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.under == mine {
			j.under = nil
		}
	}()
	return true
}

// Free lets the next work start before done has returned. Only done calls it, with the
// lock held under which it tells the end: who sees that work ended may start the next
// at once.
func (j *Job) Free() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.under = nil
}

// outlive does the work and turns its panic into an error.
func (j *Job) outlive(ctx context.Context, work func(context.Context) error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			what, stack := fault.Panicked(cause)
			j.log.Error("background work panicked", "work", j.name, "cause", what, "stack", stack)
			err = fault.New(fault.Internal, "%s: internal error", j.name)
		}
	}()
	return work(ctx)
}

// Cancel asks the work under way to end, and reports whether there was any.
func (j *Job) Cancel() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.under == nil {
		return false
	}
	j.under.cancel()
	return true
}

// Close cancels the work under way and lets none begin. It does not wait.
func (j *Job) Close() { j.end() }
