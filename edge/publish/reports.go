package publish

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

const (
	reportItems = 1000 // what the mount takes in one report
	lastWait    = time.Minute
)

// reports are what the mount has not heard yet: the newest about each item. While the
// mount cannot be reached they grow no further than there are items.
type reports struct {
	to  Reporter
	log hclog.Logger

	mu      sync.Mutex // guards pending
	pending map[string]map[subject]feed.ReportItem
	more    chan struct{} // holds a token while pending may not be empty
}

// subject is what a report is about.
type subject struct{ issuer, list string }

func newReports(to Reporter, log hclog.Logger) *reports {
	return &reports{to: to, log: log, pending: map[string]map[subject]feed.ReportItem{}, more: make(chan struct{}, 1)}
}

// add takes results of one publisher. It never waits for the mount.
func (r *reports) add(publisher string, items []feed.ReportItem) {
	if len(items) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending[publisher] == nil {
		r.pending[publisher] = map[subject]feed.ReportItem{}
	}
	for _, item := range items {
		r.pending[publisher][subject{item.Issuer, item.List}] = item
	}
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// restore puts back what could not be posted, unless there is something newer.
func (r *reports) restore(publisher string, items map[subject]feed.ReportItem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	newer := r.pending[publisher]
	r.pending[publisher] = items
	maps.Copy(items, newer)
}

func (r *reports) take() map[string]map[subject]feed.ReportItem {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.pending
	r.pending = map[string]map[subject]feed.ReportItem{}
	return taken
}

func (r *reports) run(ctx context.Context) {
	wait := firstRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.more:
		}
		for !r.post(ctx) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			wait = min(2*wait, lastWait)
		}
		wait = firstRetry
	}
}

// post reports everything there is, and whether all of it went through.
func (r *reports) post(ctx context.Context) bool {
	whole := true
	for publisher, items := range r.take() {
		for chunk := range slices.Chunk(slices.Collect(maps.Keys(items)), reportItems) {
			batch := make([]feed.ReportItem, 0, len(chunk))
			for _, about := range chunk {
				batch = append(batch, items[about])
			}
			if err := r.to.Report(ctx, publisher, batch); err != nil {
				r.log.Warn("reporting to the mount failed", "publisher", publisher, "error", err)
				r.restore(publisher, items)
				whole = false
				break
			}
		}
	}
	return whole
}
