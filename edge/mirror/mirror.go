// Package mirror promises that an edge knows what its mount knows, about a second
// later: it follows the manifest and the status feed, fetches lists that have
// changed, verifies what it fetched, keeps copies on disk, and publishes each state as
// one immutable snapshot. While the mount is away it goes on with what it has, and
// says how old that is. It never goes backwards: a list with a lower number does not
// replace one that is still valid, whatever the mount was restored from, and what it
// has shown is on disk, unless the disk failed.
package mirror

import (
	"context"
	"crypto/rand"
	"math/big"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/disk"
	"vault-plugin-secrets-enterprise-pki/edge/state"
	"vault-plugin-secrets-enterprise-pki/edge/vault"
)

// Config says what a Mirror works on. A nil Log discards.
type Config struct {
	Client *vault.Client
	Folder *disk.Folder
	// Interval is the pause between two polls.
	Interval time.Duration
	Log      hclog.Logger
	Now      func() time.Time
}

// Mirror is the copy of one mount.
type Mirror struct {
	config   Config
	snapshot atomic.Pointer[state.Snapshot]
	wake     chan struct{}

	publish sync.Mutex    // held while a snapshot is made out of the one before
	changed chan struct{} // guarded by publish; see Changed

	feed  follower
	named map[string]bool // hashes of the lists that the record on disk names; of the fetcher alone

	polls, failures atomic.Uint64
	failure         atomic.Pointer[error] // of the last poll; nil: it did well
}

// New returns a mirror that knows nothing. Load and Run come next.
func New(config Config) *Mirror {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	m := &Mirror{config: config, wake: make(chan struct{}, 1), changed: make(chan struct{})}
	m.snapshot.Store(&state.Snapshot{})
	return m
}

// Snapshot returns the newest state. It never changes.
func (m *Mirror) Snapshot() *state.Snapshot { return m.snapshot.Load() }

// Polls returns how often the mount was asked, and how often that failed.
func (m *Mirror) Polls() (polls, failures uint64) { return m.polls.Load(), m.failures.Load() }

// Failure returns why the last poll failed, nil when it did not.
func (m *Mirror) Failure() error {
	if failure := m.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// change publishes a snapshot that differs from the newest one by an edit.
func (m *Mirror) change(edit func(next *state.Snapshot)) {
	m.publish.Lock()
	defer m.publish.Unlock()
	next := *m.snapshot.Load()
	edit(&next)
	m.snapshot.Store(&next)
}

// changeIssuers is change for an edit of more than rows.
func (m *Mirror) changeIssuers(edit func(next *state.Snapshot)) {
	m.change(edit)
	m.publish.Lock()
	defer m.publish.Unlock()
	close(m.changed)
	m.changed = make(chan struct{})
}

// Changed returns the newest state, and a channel that is closed when there is one with
// another manifest, other issuers or other lists.
func (m *Mirror) Changed() (*state.Snapshot, <-chan struct{}) {
	m.publish.Lock()
	defer m.publish.Unlock()
	return m.snapshot.Load(), m.changed
}

// Load begins with the copies on disk. What is missing or damaged is logged and left
// to be fetched. It is called once, before Run. Until Run has asked the mount once, or
// has tried to for firstAnswer, the snapshot is Starting.
func (m *Mirror) Load() {
	m.loadHeld()
	m.loadRows()
	m.change(func(next *state.Snapshot) { next.Starting = true })
}

// firstAnswer is how long an edge that was started waits for the mount before it says
// what is on disk. That can be old, and its disk may have failed while it was told of
// revocations.
const firstAnswer = 3 * time.Second

// started ends what Load has begun.
func (m *Mirror) started() {
	if m.Snapshot().Starting {
		m.change(func(next *state.Snapshot) { next.Starting = false })
	}
}

// Run follows the mount until the context ends.
func (m *Mirror) Run(ctx context.Context) {
	defer time.AfterFunc(firstAnswer, m.started).Stop()
	var group sync.WaitGroup
	group.Go(func() { m.repeat(ctx, m.poll) })
	group.Go(func() { m.fetchWhenWoken(ctx) })
	group.Wait()
	if m.feed.file != nil {
		m.appendRows(nil) // how old they are when the edge comes back
	}
	m.feed.close(m.config.Log)
}

// repeat calls work for ever: an Interval after it did well, and after longer and
// longer pauses while it fails.
func (m *Mirror) repeat(ctx context.Context, work func(context.Context) error) {
	failed := 0
	for ctx.Err() == nil {
		err := m.guarded(ctx, work)
		m.failure.Store(nil)
		if err != nil {
			m.failure.Store(&err)
		}
		m.polls.Add(1)
		m.started()
		pause := m.config.Interval
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.failures.Add(1)
			if failed == 0 {
				m.config.Log.Warn("following the mount failed: serving the copies", "error", err)
			}
			failed++
			pause = backoff(m.config.Interval, failed, longestPoll)
		case failed > 0:
			m.config.Log.Info("following the mount again", "failures", failed)
			failed = 0
		}
		wait(ctx, pause)
	}
}

// The longest pauses between attempts.
const (
	longestPoll  = 15 * time.Second
	longestFetch = 5 * time.Minute
)

// backoff returns the pause after so many failures in a row: twice as long each time
// up to a longest one, less up to a quarter of it by chance, so that the edges of a
// mount that comes back do not all ask at once.
func backoff(first time.Duration, failures int, longest time.Duration) time.Duration {
	pause := longest
	if failures < 16 {
		pause = min(first<<failures, longest)
	}
	chance, err := rand.Int(rand.Reader, big.NewInt(int64(pause)/4+1))
	if err != nil {
		return pause
	}
	return pause - time.Duration(chance.Int64())
}

// guarded calls work and turns a panic into an error: what one answer of the mount
// breaks must not take the answers of the edge with it.
func (m *Mirror) guarded(ctx context.Context, work func(context.Context) error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			what, stack := fault.Panicked(cause)
			m.config.Log.Error("following the mount panicked", "cause", what, "stack", stack)
			err = fault.New(fault.Internal, "internal error")
		}
	}()
	return work(ctx)
}

// wait returns after a pause, or when the context ends.
func wait(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// poll asks the mount once.
func (m *Mirror) poll(ctx context.Context) error {
	asked := m.config.Now()
	manifest, err := m.config.Client.Manifest(ctx)
	if err != nil {
		return err
	}
	if err := m.take(manifest); err != nil {
		return err
	}
	if m.feed.upToDate(manifest) {
		m.synced(asked)
		return nil
	}
	return m.follow(ctx)
}

// take publishes a manifest with the lists that are held of it so far, and wakes the
// fetcher. One that says nothing new but how many certificates there are is left.
func (m *Mirror) take(manifest *feed.Manifest) error {
	before := m.Snapshot()
	known := *manifest
	known.Epoch, known.Sequence = before.Manifest.Epoch, before.Manifest.Sequence
	if before.Issuers != nil && reflect.DeepEqual(known, before.Manifest) {
		return nil
	}
	wanted, err := state.ReadIssuers(manifest)
	if err != nil {
		return err
	}
	m.changeIssuers(func(next *state.Snapshot) {
		next.Manifest = *manifest
		next.Issuers = withHeld(wanted, next)
	})
	select {
	case m.wake <- struct{}{}:
	default: // it is woken already
	}
	return nil
}

// withHeld returns issuers with the lists that are held in place of those that the
// manifest announces: the same ones, or older ones until the new ones are there.
func withHeld(wanted []*state.Issuer, held *state.Snapshot) []*state.Issuer {
	for _, issuer := range wanted {
		before := held.ByID(issuer.ID)
		lists := issuer.Lists[:0]
		for _, list := range issuer.Lists {
			var old *state.List
			if before != nil {
				old = before.Find(list.Name())
			}
			if old == nil {
				continue
			}
			// What is said of a list is what was read in it, also where the manifest
			// says something else of the same octets.
			kept := *old
			kept.URLs = list.URLs
			lists = append(lists, kept)
		}
		issuer.Lists = lists
	}
	return wanted
}
