package publish

import (
	"context"
	"errors"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

const (
	// firstRetry doubles with each failure in a row, up to lastRetry.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// lookAgain is how long a place that was seen to be right is left alone: somebody
	// may have changed it since.
	lookAgain = time.Hour
	// oneDelivery bounds one item on its way; a large list on a slow line must fit.
	oneDelivery = 2 * time.Minute
	// enough failures in a row show that it is not the item's fault: the rest of the
	// round is put off instead of waiting for a dead server a hundred times.
	enough = 3
)

// worker publishes for one publisher.
type worker struct {
	service   *Service
	publisher feed.Publisher
	manifests chan *feed.Manifest // holds the newest that run has not seen
	cancel    context.CancelFunc
	ended     chan struct{}
	places    map[string]*target
}

// target is what is known of one place.
type target struct {
	digest   string    // what it was last seen to hold as it should; "": not known
	verified time.Time // when
	failures int       // in a row
	retry    time.Time // not before, when it failed last
}

func newWorker(s *Service, publisher feed.Publisher) *worker {
	return &worker{
		service: s, publisher: publisher, places: map[string]*target{},
		manifests: make(chan *feed.Manifest, 1), ended: make(chan struct{}),
	}
}

// give hands the worker a newer manifest; one that it has not looked at is dropped.
func (w *worker) give(manifest *feed.Manifest) {
	select {
	case <-w.manifests:
	default:
	}
	w.manifests <- manifest // we alone write to it, so there is room
}

func (w *worker) run(ctx context.Context) {
	var manifest *feed.Manifest
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case manifest = <-w.manifests:
		case <-timer.C:
		}
		if manifest != nil {
			timer.Reset(w.round(ctx, manifest))
		}
	}
}

// round delivers what is due and returns how long nothing else will be.
func (w *worker) round(ctx context.Context, manifest *feed.Manifest) time.Duration {
	now := w.service.config.Now()
	items, err := itemsOf(manifest, w.publisher)
	if err != nil {
		w.service.config.Log.Error("cannot publish", "publisher", w.publisher.Name, "error", err)
		return lastRetry
	}
	to := destinationOf(w.publisher, w.service.config)
	due, seen := w.due(to, items, now)
	if len(due) > 0 {
		defer to.close()
		if err := to.open(ctx); err != nil {
			to = broken{err}
		}
	}
	var results []feed.ReportItem
	failed := 0
	for _, task := range due {
		if failed >= enough || ctx.Err() != nil {
			break
		}
		result, err := w.attempt(ctx, to, task)
		results = append(results, result)
		switch {
		case err == nil:
			failed = 0
		case fault.Is(err, fault.Unavailable):
			failed++
		}
	}
	if ctx.Err() != nil {
		return 0 // what was cut short has not failed
	}
	w.forget(seen)
	w.service.reports.add(w.publisher.Name, results)
	return w.state()
}

// task is one item to deliver.
type task struct {
	item
	target *target
	err    error // why this cannot be done, if that is known already
}

// due returns what is to be delivered now and every place there is. What has failed
// least comes first, so that nothing waits for ever behind what always fails.
func (w *worker) due(to destination, items []item, now time.Time) (due []task, seen map[string]bool) {
	seen = map[string]bool{}
	for _, i := range items {
		place, err := to.place(i)
		if err == nil && seen[place] {
			err = fault.New(fault.Invalid, "another item has the same place: publish less, or tell them apart by {{issuer_name}} or {{list}}")
			place += " " + i.issuer + " " + i.list
		}
		seen[place] = true
		t := w.places[place]
		if t == nil {
			t = &target{}
			w.places[place] = t
		}
		if t.due(i, now) {
			due = append(due, task{i, t, err})
		}
	}
	slices.SortStableFunc(due, func(a, b task) int { return a.target.failures - b.target.failures })
	return due, seen
}

// due reports whether a place is to be looked at: it failed and the time has come, or
// the item is another one, or it was long ago.
func (t *target) due(i item, now time.Time) bool {
	if t.failures > 0 {
		return !now.Before(t.retry)
	}
	return t.digest != i.digest || now.Sub(t.verified) >= lookAgain
}

// attempt delivers one item, unless it is known that this cannot be done.
func (w *worker) attempt(ctx context.Context, to destination, task task) (feed.ReportItem, error) {
	i, t, err := task.item, task.target, task.err
	var done delivered
	if err == nil {
		limited, cancel := context.WithTimeout(ctx, oneDelivery)
		done, err = deliver(limited, to, i, func() ([]byte, error) {
			if i.kind == certificate {
				return i.authority.Raw, nil
			}
			return w.service.config.Source.List(i.digest)
		})
		cancel()
	}
	now := w.service.config.Now()
	result := feed.ReportItem{Issuer: i.issuer, List: i.list, Number: i.number, At: now.UTC().Format(time.RFC3339)}
	log := w.service.config.Log.With("publisher", w.publisher.Name, "issuer", i.issuer, "list", i.list, "number", i.number)
	if err != nil {
		t.retry = now.Add(min(firstRetry<<min(t.failures, 20), lastRetry))
		t.failures++
		t.digest = ""
		result.Error = words(err)
		if !errors.Is(err, context.Canceled) {
			log.Warn("publishing failed", "error", result.Error, "retry_at", t.retry.UTC().Format(time.RFC3339))
		}
		return result, err
	}
	// A newer list counts as ours: we would not publish it if we looked again.
	t.digest, t.verified, t.failures = i.digest, now, 0
	result.Number, result.SHA256 = done.number, done.digest
	switch {
	case done.wrote:
		log.Info("published")
	case done.digest != i.digest:
		log.Info("left a newer list in place", "newer", done.number)
	}
	return result, nil
}

// forget drops the places that no item has any more.
func (w *worker) forget(seen map[string]bool) {
	for place := range w.places {
		if !seen[place] {
			delete(w.places, place)
		}
	}
}

// state tells the service how things are and returns how long to wait. What was not
// tried because the round was given up waits as long as what has failed.
func (w *worker) state() time.Duration {
	now := w.service.config.Now()
	state := State{Publisher: w.publisher.Name}
	wait := lookAgain
	for _, t := range w.places {
		switch {
		case t.failures > 0:
			state.Failing++
			wait = min(wait, max(t.retry.Sub(now), time.Millisecond))
		case t.digest == "":
			state.Failing++
		default:
			state.Done++
			wait = min(wait, max(t.verified.Add(lookAgain).Sub(now), time.Millisecond))
		}
		if t.verified.After(state.Verified) {
			state.Verified = t.verified
		}
	}
	w.service.note(state)
	return wait
}

// words returns an error as reports take it: one line of at most 512 octets.
func words(err error) string {
	const most = 512
	text := []rune(err.Error())
	for n, r := range text {
		if r < ' ' {
			text[n] = ' '
		}
	}
	short := string(text)
	for len(short) > most {
		text = text[:len(text)-1]
		short = string(text)
	}
	return short
}

// broken is a destination that could not be opened.
type broken struct{ err error }

func (b broken) open(context.Context) error                 { return b.err }
func (b broken) place(i item) (string, error)               { return i.issuer + " " + i.list, b.err }
func (b broken) read(context.Context, item) ([]byte, error) { return nil, b.err }
func (b broken) write(context.Context, item, []byte) error  { return b.err }
func (broken) close()                                       {}
