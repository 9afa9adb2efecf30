package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

const (
	// heldRecord is the name of the record of what is held beside the rows.
	heldRecord = "held"
	// showEvery is how long lists that were fetched wait for others at most: the record
	// names all that are held, and is written before any is shown.
	showEvery = time.Second
)

// held is the record: what the mount said last, and the lists that are on disk.
type held struct {
	Manifest feed.Manifest           `json:"manifest"`
	Lists    map[string][]state.List `json:"lists"` // by issuer id
}

// fetchWhenWoken fetches lists when the manifest has changed, and again while that
// fails.
func (m *Mirror) fetchWhenWoken(ctx context.Context) {
	failed := 0
	for {
		var again <-chan time.Time
		if failed > 0 {
			again = time.After(backoff(m.config.Interval, failed, longestFetch))
		}
		select {
		case <-m.wake:
		case <-again:
		case <-ctx.Done():
			return
		}
		err := m.guarded(ctx, m.fetch)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil:
			if failed == 0 {
				m.config.Log.Warn("CRLs are missing or outdated", "error", err)
			}
			failed++
		case failed > 0:
			m.config.Log.Info("all CRLs are current again")
			failed = 0
		}
	}
}

// fetched is a list that is on disk and not yet shown.
type fetched struct {
	issuer string // id
	list   state.List
}

// fetch fetches every list that differs from the one that is held, and shows what there
// is once a second. One that fails does not keep the others.
func (m *Mirror) fetch(ctx context.Context) error {
	manifest := m.Snapshot().Manifest
	wanted, err := state.ReadIssuers(&manifest)
	if err != nil {
		return err
	}
	var failures []error
	var lists []fetched
	shown := m.config.Now()
	for _, issuer := range wanted {
		for k := range issuer.Lists {
			if ctx.Err() != nil {
				break
			}
			list := &issuer.Lists[k]
			switch isNew, err := m.fetchList(ctx, issuer, list); {
			case err != nil:
				failures = append(failures, fmt.Errorf("fetching list %s, number %d, of issuer %s: %w", list.Name(), list.Number, issuer.ID, err))
			case isNew:
				lists = append(lists, fetched{issuer.ID, *list})
			}
			if now := m.config.Now(); len(lists) > 0 && now.Sub(shown) >= showEvery {
				m.hold(lists)
				lists, shown = nil, now
			}
		}
	}
	m.hold(lists)
	return errors.Join(failures...)
}

// fetchList fetches one list unless it is held, and reports whether it is new.
func (m *Mirror) fetchList(ctx context.Context, issuer *state.Issuer, wanted *state.List) (isNew bool, err error) {
	before := m.Snapshot().ByID(issuer.ID)
	if before == nil {
		return false, nil // gone meanwhile
	}
	if old := before.Find(wanted.Name()); old != nil {
		if old.SHA256 == wanted.SHA256 {
			return false, nil
		}
		if wanted.Number < old.Number && m.config.Now().Before(old.NextUpdate) {
			// Relying parties that saw the higher number would have to take the lower one
			// for a replay (RFC 5280 section 5.2.3), whatever the mount was restored from.
			return false, fault.New(fault.Conflict, "number %d is served until %s", old.Number, old.NextUpdate.UTC().Format(time.RFC3339))
		}
	}
	err = m.config.Folder.PutList(wanted.SHA256,
		func(w io.Writer) error { return m.download(ctx, issuer.ID, wanted, w) },
		func(der []byte) error { return verify(der, wanted, issuer.Certificate) })
	if err != nil {
		return false, err
	}
	m.config.Log.Info("CRL fetched", "issuer", issuer.ID, "list", wanted.Name(), "number", wanted.Number, "bytes", wanted.Size)
	return true, nil
}

// withList returns issuers with one list put in.
func withList(issuers []*state.Issuer, id string, list state.List) []*state.Issuer {
	next := slices.Clone(issuers)
	for i, issuer := range next {
		if issuer.ID != id {
			continue
		}
		changed := *issuer
		changed.Lists = slices.Clone(issuer.Lists)
		if old := changed.Find(list.Name()); old != nil {
			*old = list
		} else {
			changed.Lists = append(changed.Lists, list)
		}
		next[i] = &changed
	}
	return next
}

// hold writes down what is held, lists that were fetched included, and only then shows
// those: what was served once is served after a restart. It removes the lists that
// neither this record nor the one before names: a request may be about to open one of
// those.
//
// Killed in between: the record names the lists of before, or those that were fetched,
// all of which are there.
func (m *Mirror) hold(lists []fetched) {
	snapshot := m.Snapshot()
	record := held{Manifest: snapshot.Manifest, Lists: map[string][]state.List{}}
	for _, issuer := range withLists(snapshot.Issuers, lists) {
		record.Lists[issuer.ID] = issuer.Lists
	}
	err := m.config.Folder.Write(heldRecord, record)
	if err != nil {
		m.config.Log.Error("what is held is not on disk", "error", err)
	}
	if len(lists) > 0 {
		m.changeIssuers(func(next *state.Snapshot) { next.Issuers = withLists(next.Issuers, lists) })
	}
	if err != nil {
		return // the record there names lists that must stay
	}
	named := record.names()
	keep := maps.Clone(named)
	maps.Copy(keep, m.named)
	if err := m.config.Folder.Sweep(keep); err != nil {
		m.config.Log.Error("old lists stay on disk", "error", err)
	}
	m.named = named
}

// names returns the hashes of the lists in a record.
func (h *held) names() map[string]bool {
	named := map[string]bool{}
	for _, lists := range h.Lists {
		for k := range lists {
			named[lists[k].SHA256] = true
		}
	}
	return named
}

// withLists returns issuers with lists put in.
func withLists(issuers []*state.Issuer, lists []fetched) []*state.Issuer {
	for i := range lists {
		issuers = withList(issuers, lists[i].issuer, lists[i].list)
	}
	return issuers
}

// loadHeld begins with the manifest and the lists on disk.
func (m *Mirror) loadHeld() {
	var record held
	if err := m.config.Folder.Read(heldRecord, &record); err != nil {
		if !fault.Is(err, fault.NotFound) {
			m.config.Log.Error("what was held cannot be read and is fetched anew", "error", err)
		}
		return
	}
	issuers, err := state.ReadIssuers(&record.Manifest)
	if err != nil {
		m.config.Log.Error("what was held cannot be used and is fetched anew", "error", err)
		return
	}
	for _, issuer := range issuers {
		issuer.Lists = nil
		for _, list := range record.Lists[issuer.ID] {
			if !m.config.Folder.HasList(list.SHA256) {
				m.config.Log.Error("a list on disk is damaged and is fetched anew", "issuer", issuer.ID, "list", list.Name())
				continue
			}
			issuer.Lists = append(issuer.Lists, list)
		}
	}
	m.named = record.names()
	m.changeIssuers(func(next *state.Snapshot) { next.Manifest, next.Issuers = record.Manifest, issuers })
	m.wake <- struct{}{} // what was damaged is fetched even if the mount has nothing new
}
