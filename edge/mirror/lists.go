package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

// heldRecord is the name of the record of what is held beside the rows.
const heldRecord = "held"

// held is the record: what the mount said last, and the lists that are on disk.
type held struct {
	Manifest feed.Manifest           `json:"manifest"`
	Lists    map[string][]state.List `json:"lists"` // by issuer id
}

// fetchWhenWoken fetches lists when the manifest has changed, and again while that
// fails.
func (m *Mirror) fetchWhenWoken(ctx context.Context) {
	var kept map[string]bool
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
				m.config.Log.Warn("lists are missing or old", "error", err)
			}
			failed++
		case failed > 0:
			m.config.Log.Info("all lists are there again")
			failed = 0
		}
		kept = m.hold(kept)
	}
}

// fetch fetches every list that differs from the one that is held. One that fails does
// not keep the others.
func (m *Mirror) fetch(ctx context.Context) error {
	manifest := m.Snapshot().Manifest
	wanted, err := state.ReadIssuers(&manifest)
	if err != nil {
		return err
	}
	var failures []error
	for _, issuer := range wanted {
		for k := range issuer.Lists {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			list := &issuer.Lists[k]
			if err := m.replaceList(ctx, issuer, list); err != nil {
				failures = append(failures, fmt.Errorf("fetching list %s, number %d, of issuer %s: %w", list.Name(), list.Number, issuer.ID, err))
			}
		}
	}
	return errors.Join(failures...)
}

// replaceList fetches one list unless it is held.
func (m *Mirror) replaceList(ctx context.Context, issuer *state.Issuer, wanted *state.List) error {
	before := m.Snapshot().ByID(issuer.ID)
	if before == nil {
		return nil // gone meanwhile
	}
	if old := before.Find(wanted.Name()); old != nil {
		if old.SHA256 == wanted.SHA256 {
			return nil
		}
		if wanted.Number < old.Number && m.config.Now().Before(old.NextUpdate) {
			// Relying parties that saw the higher number would have to take the lower one
			// for a replay (RFC 5280 section 5.2.3), whatever the mount was restored from.
			return fault.New(fault.Conflict, "number %d is served until %s", old.Number, old.NextUpdate.UTC().Format(time.RFC3339))
		}
	}
	err := m.config.Folder.PutList(wanted.SHA256,
		func(w io.Writer) error { return m.download(ctx, issuer.ID, wanted, w) },
		func(der []byte) error { return verify(der, wanted, issuer.Certificate) })
	if err != nil {
		return err
	}
	m.changeIssuers(func(next *state.Snapshot) { next.Issuers = withList(next.Issuers, issuer.ID, *wanted) })
	m.config.Log.Info("list fetched", "issuer", issuer.ID, "list", wanted.Name(), "number", wanted.Number, "octets", wanted.Size)
	return nil
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

// hold writes down what is held, and removes the lists that neither this snapshot nor
// the one before at this place names: a request may be about to open one of those.
//
// Killed in between: the record names the lists of before, all of which are there.
func (m *Mirror) hold(before map[string]bool) map[string]bool {
	snapshot := m.Snapshot()
	record := held{Manifest: snapshot.Manifest, Lists: map[string][]state.List{}}
	named := map[string]bool{}
	for _, issuer := range snapshot.Issuers {
		record.Lists[issuer.ID] = issuer.Lists
		for k := range issuer.Lists {
			named[issuer.Lists[k].SHA256] = true
		}
	}
	if err := m.config.Folder.Write(heldRecord, record); err != nil {
		m.config.Log.Error("what is held is not on disk", "error", err)
		return before // the record there names lists that must stay
	}
	keep := map[string]bool{}
	for _, names := range []map[string]bool{named, before} {
		for name := range names {
			keep[name] = true
		}
	}
	if err := m.config.Folder.Sweep(keep); err != nil {
		m.config.Log.Error("old lists stay on disk", "error", err)
	}
	return named
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
	m.changeIssuers(func(next *state.Snapshot) { next.Manifest, next.Issuers = record.Manifest, issuers })
	m.wake <- struct{}{} // what was damaged is fetched even if the mount has nothing new
}
