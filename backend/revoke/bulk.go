package revoke

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/job"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// Order says which certificates are revoked in bulk, and why.
type Order struct {
	Filter
	Request
}

// State says where a bulk revocation is.
type State string

// The states.
const (
	Inactive    State = "Inactive" // there was none
	Running     State = "Running"
	Cancelling  State = "Cancelling"
	Finished    State = "Finished"
	Cancelled   State = "Cancelled"
	Failed      State = "Error"
	Interrupted State = "Interrupted" // the process ended before it did
)

// Run is what is known of a bulk revocation, the one under way or the last.
type Run struct {
	Order    Order     `json:"order"`
	Survey   Survey    `json:"survey"` // at its start
	State    State     `json:"state"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Done     Progress  `json:"done"`
	Error    string    `json:"error,omitempty"`
}

// Progress counts what a run did.
type Progress struct {
	Pages   int `json:"pages"`   // looked at, failed ones included
	Revoked int `json:"revoked"` // certificates
	Failed  int `json:"failed"`  // pages that could not be read or written
}

// BulkConfig says what a Bulk works on. A nil Log discards.
type BulkConfig struct {
	Revoke *Service
	Store  kv.Store
	Log    hclog.Logger
}

// Bulk revokes many certificates of one mount in the background, one run at a time. A
// run that ends early, for whatever reason, is taken up by ordering it again: what is
// revoked is passed over.
type Bulk struct {
	revoke *Service
	log    hclog.Logger
	runs   kv.Table[Run]
	job    *job.Job

	starting sync.Mutex // one Start at a time

	mu     sync.Mutex // guards what follows; not held over storage
	run    *Run       // the one under way or the last; nil: not read
	active bool       // it is under way
	closed bool
}

const (
	bulkVersion = 1
	// saveDeadline bounds the write that tells of a run's end.
	saveDeadline = time.Minute
)

// NewBulk returns a bulk revocation that has touched nothing.
func NewBulk(config BulkConfig) *Bulk {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	return &Bulk{
		revoke: config.Revoke, log: config.Log,
		runs: kv.NewTable[Run](config.Store, layout.BulkRun, bulkVersion),
		job:  job.New("bulk revocation", config.Log),
	}
}

// check refuses orders that no certificate can meet, or that are about every one.
func (o *Order) check(now time.Time) error {
	if err := o.Filter.check(); err != nil {
		return err
	}
	return o.Request.check(now)
}

// Preview returns what an order would revoke, with the first of the serial numbers, at
// most limit, and changes nothing. Unavailable until the ledger is loaded.
func (b *Bulk) Preview(ctx context.Context, order Order, limit int) (Survey, []cert.Serial, error) {
	now := b.revoke.config.Now()
	if err := order.check(now); err != nil {
		return Survey{}, nil, err
	}
	p, err := b.survey(ctx, order, now)
	if err != nil {
		return Survey{}, nil, err
	}
	return p.Survey, p.first(limit), nil
}

// Start begins a run and returns at once; Conflict when one is under way. Unavailable
// until the ledger is loaded.
//
// If we crash after the run is noted and before its end is, Status says that it was
// interrupted: nobody takes for done what was not.
func (b *Bulk) Start(ctx context.Context, order Order) (Run, error) {
	b.starting.Lock()
	defer b.starting.Unlock()
	now := b.revoke.config.Now()
	if err := order.check(now); err != nil {
		return Run{}, err
	}
	if b.busy() {
		return Run{}, errBusy
	}
	p, err := b.survey(ctx, order, now)
	if err != nil {
		return Run{}, err
	}
	if err := b.checkLast(ctx); err != nil {
		return Run{}, err
	}
	run := Run{Order: order, Survey: p.Survey, State: Running, Started: now.UTC()}
	noted := make(chan error, 1)
	if !b.begin(run, func(ctx context.Context) error {
		err := b.runs.Put(ctx, "", &run)
		noted <- err
		if err != nil {
			return err
		}
		return b.work(ctx, order, p)
	}) {
		return Run{}, errBusy
	}
	select {
	case err := <-noted:
		if err != nil {
			return Run{}, err
		}
	case <-ctx.Done():
		return Run{}, fmt.Errorf("starting a bulk revocation: %w", ctx.Err())
	}
	b.log.Info("bulk revocation started", "certificates", p.Matched, "pages", p.Pages, "reason", order.Reason.String())
	return run, nil
}

// checkLast refuses to write over the run of a newer release, unless this process wrote
// the last one.
func (b *Bulk) checkLast(ctx context.Context) error {
	b.mu.Lock()
	ours := b.run != nil
	b.mu.Unlock()
	if ours {
		return nil
	}
	_, err := b.runs.Get(ctx, "")
	return err
}

// begin starts the work of a run; false when there is one under way.
func (b *Bulk) begin(run Run, work func(context.Context) error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.job.Start(work, b.end) {
		return false
	}
	b.run, b.active = &run, true
	return true
}

var errBusy = fault.New(fault.Conflict, "a bulk revocation is in progress: see revoke/bulk/status, or end it with revoke/bulk/cancel")

func (b *Bulk) busy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.active
}

// end notes how the run ended, in storage first: who sees that it ended may start the
// next.
func (b *Bulk) end(err error) {
	b.mu.Lock()
	ended, closed := *b.run, b.closed
	b.mu.Unlock()
	ended.Finished = b.revoke.config.Now().UTC()
	switch {
	case err == nil:
		ended.State = Finished
	case errors.Is(err, context.Canceled):
		ended.State = Cancelled
	default:
		ended.State, ended.Error = Failed, err.Error()
	}
	b.log.Info("bulk revocation ended", "state", string(ended.State), "revoked", ended.Done.Revoked,
		"pages", ended.Done.Pages, "failed", ended.Done.Failed, "error", ended.Error)
	if !closed {
		ctx, cancel := context.WithTimeout(context.Background(), saveDeadline)
		defer cancel()
		if err := b.runs.Put(ctx, "", &ended); err != nil {
			b.log.Warn("the end of a bulk revocation could not be noted", "error", err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.run, b.active = &ended, false
	b.job.Free()
}

// tell changes what is known of the run under way.
func (b *Bulk) tell(change func(*Run)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b.run)
}

// Status returns the run under way, or the last one, of an earlier process too.
func (b *Bulk) Status(ctx context.Context) (Run, error) {
	b.mu.Lock()
	if b.run != nil {
		defer b.mu.Unlock()
		return *b.run, nil
	}
	b.mu.Unlock()
	stored, err := b.runs.Get(ctx, "")
	switch {
	case err != nil:
		return Run{}, err
	case stored == nil:
		stored = &Run{State: Inactive}
	case stored.State == Running:
		stored.State = Interrupted
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.run == nil {
		b.run = stored
	}
	return *b.run, nil
}

// Cancel asks the run under way to end, and reports whether there was any. What it
// revoked stays revoked.
func (b *Bulk) Cancel() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.active || !b.job.Cancel() {
		return false
	}
	if b.run.State == Running {
		b.run.State = Cancelling
	}
	return true
}

// Invalidate drops what was read of a run that another node has written.
func (b *Bulk) Invalidate() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.active {
		b.run = nil
	}
}

// Close cancels the run under way; it does not wait for it.
func (b *Bulk) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.job.Close()
}
