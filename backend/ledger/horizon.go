package ledger

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// Horizon says what Tidy has removed, because segments may still have the rows: they
// are not written anew for each.
type Horizon struct {
	// Removing: Tidy may have removed the page of a certificate that ended before.
	Removing time.Time `json:"removing"`
	// Ended: of the certificates that ended before, only the Kept are still recorded,
	// whatever segments say. Not after Removing.
	Ended time.Time `json:"ended"`
	// Kept are serial numbers in hexadecimal, at most maxKept, sorted.
	Kept []string `json:"kept,omitempty"`
}

const (
	horizonVersion = 1
	// maxKept bounds the record to less than a value may hold. When more is kept, the
	// horizon stays behind: restarts show rows again that the next Tidy removes.
	maxKept = 8192
)

// ReadHorizon reads the horizon of a mount; the zero one while nothing was tidied.
func ReadHorizon(ctx context.Context, store kv.Store) (Horizon, error) {
	h, err := horizons(store).Get(ctx, "")
	if h == nil {
		h = &Horizon{}
	}
	return *h, err
}

// horizons returns the table whose one record, named "", is the horizon.
func horizons(store kv.Store) kv.Table[Horizon] {
	return kv.NewTable[Horizon](store, layout.TidyHorizon, horizonVersion)
}

// Gone reports whether a certificate that ended at a time is recorded no more.
func (h *Horizon) Gone(serial cert.Serial, notAfter time.Time) bool {
	if !notAfter.Before(h.Ended) {
		return false
	}
	_, kept := slices.BinarySearch(h.Kept, hex.EncodeToString([]byte(serial)))
	return !kept
}

// horizon is what the ledger knows of the stored Horizon.
type horizon struct {
	Horizon

	doubtful bool // the last write was answered with an error
	// holds names segments that must stay until the horizon is written again.
	holds map[uint64]bool
}

func (h *horizon) hold(segment uint64) {
	if h.holds == nil {
		h.holds = map[uint64]bool{}
	}
	h.holds[segment] = true
}

// current refuses a certificate that ended before everything else that did was
// removed: after a restart nothing would lead to it. It takes a clock that went back.
// The caller holds Ledger.mu.
func (s *state) current(r *Row) error {
	if seconds(r.NotAfter) < s.ended {
		return fault.New(fault.Conflict, "certificate %s ended at %s, up to which the ledger was tidied: is the clock right?",
			r.Serial, r.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// admit announces a change of a page that adds a row.
func (l *Ledger) admit(id pageID, r *Row) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.state.current(r); err != nil {
		return err
	}
	if _, doubted := l.state.unsettled[id]; !doubted {
		l.state.unsettled[id] = false
	}
	return nil
}

// loadHorizon reads the horizon before anything is shown.
func (l *Ledger) loadHorizon(ctx context.Context) error {
	h, err := ReadHorizon(ctx, l.store)
	if err != nil {
		return err
	}
	l.horizon = horizon{Horizon: h}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.ended = seconds(h.Ended)
	return nil
}

// putHorizon writes the horizon. When the answer is lost, memory keeps the old one
// and the next Tidy writes again: both are true of what is in storage.
func (l *Ledger) putHorizon(ctx context.Context, h Horizon) error {
	if err := horizons(l.store).Put(ctx, "", &h); err != nil {
		l.horizon.doubtful = true
		return err
	}
	l.horizon = horizon{Horizon: h}
	return nil
}

// announce says that pages of certificates that ended before a time are about to be
// removed. If we crash after it, nothing is gone yet, and rows without a page are
// only allowed for.
func (l *Ledger) announce(ctx context.Context, before time.Time) error {
	if !l.horizon.Removing.Before(before) {
		return nil
	}
	next := l.horizon.Horizon
	next.Removing = before
	return l.putHorizon(ctx, next)
}

// conclude says, after everything that ended before a time was looked at, that what
// is left of it is all that there is.
//
// Before it, a restart shows the rows of removed certificates again as far as segments
// have them, and the next Tidy removes them again. After it, Load passes over them.
func (l *Ledger) conclude(ctx context.Context, before time.Time) error {
	next := l.horizon.Horizon
	l.mu.Lock()
	// What is being written now may have ended before, but not before it was begun.
	limit := min(seconds(before), seconds(next.Removing))
	for id := range l.state.unsettled {
		limit = min(limit, seconds(time.Unix(int64(id.hour())*3600, 0)))
	}
	limit = max(limit, seconds(next.Ended))
	// From here on nothing that ended before is added, and nothing but Tidy removes.
	l.state.ended = max(l.state.ended, limit)
	v := l.state.table.freeze()
	l.mu.Unlock()
	kept, limit := v.left(limit, seconds(next.Ended))
	l.mu.Lock()
	l.state.ended = limit
	l.mu.Unlock()
	if next.Ended.Equal(moment(limit)) && slices.Equal(kept, next.Kept) && !l.horizon.doubtful {
		return nil
	}
	next.Ended, next.Kept = moment(limit), kept
	return l.putHorizon(ctx, next)
}

// left returns the serials of rows that ended before a limit. When they are more than
// the horizon takes, it lowers the limit, but not below floor: of what ended before
// that, no more are left than there were.
func (v *view) left(limit, floor uint64) (kept []string, lowered uint64) {
	type end struct {
		at     uint64
		serial string
	}
	var ends []end
	for _, leaf := range v.leaves {
		for i := range leaf.rows {
			if r := &leaf.rows[i]; r.notAfter < limit {
				ends = append(ends, end{r.notAfter, v.serial(r)})
			}
		}
	}
	if len(ends) > maxKept {
		slices.SortFunc(ends, func(a, b end) int { return cmp.Compare(a.at, b.at) })
		limit = max(ends[maxKept].at, floor)
	}
	for _, e := range ends {
		if e.at < limit {
			kept = append(kept, hex.EncodeToString([]byte(e.serial)))
		}
	}
	slices.Sort(kept)
	return kept, limit
}

// keepEarly adds to what is kept the certificates that this process issued before it
// knew the horizon, and that ended before it: that takes a clock that went back. Load
// would pass over them.
func (l *Ledger) keepEarly(ctx context.Context) error {
	ended := seconds(l.horizon.Ended)
	var busy []pageID
	l.mu.RLock()
	for id := range l.state.unsettled {
		if seconds(time.Unix(int64(id.hour())*3600, 0)) < ended {
			busy = append(busy, id)
		}
	}
	l.mu.RUnlock()
	for _, id := range busy {
		// Waits for the write, and shows what came of it.
		if err := l.adopt(ctx, id); err != nil {
			return err
		}
	}
	next := l.horizon.Horizon
	next.Kept = slices.Clone(next.Kept)
	l.mu.RLock()
	v := l.state.table.view()
	for _, leaf := range v.leaves {
		if leaf.fresh == 0 {
			continue
		}
		for i := range leaf.rows {
			r := &leaf.rows[i]
			if serial := cert.Serial(v.serial(r)); r.has(fresh) && next.Gone(serial, moment(r.notAfter)) {
				next.Kept = append(next.Kept, hex.EncodeToString([]byte(serial)))
				slices.Sort(next.Kept)
			}
		}
	}
	l.mu.RUnlock()
	if len(next.Kept) == len(l.horizon.Kept) {
		return nil
	}
	if err := l.putHorizon(ctx, next); err != nil {
		return fmt.Errorf("keeping certificates issued early: %w", err)
	}
	return nil
}
