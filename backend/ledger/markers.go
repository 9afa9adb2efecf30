package ledger

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// removeMarkers deletes the markers that are no longer needed.
func (l *Ledger) removeMarkers(ctx context.Context) error {
	l.mu.RLock()
	loose := slices.Sorted(maps.Keys(l.state.markers))
	l.mu.RUnlock()
	for _, serial := range loose {
		if err := l.removeMarker(ctx, serial); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) removeMarker(ctx context.Context, serial cert.Serial) error {
	id, _ := pageIDOf(serial)
	defer l.lock(id).Unlock()
	switch l.markerOf(serial) {
	case markerOfRow:
		// The row changed again, or was about to: the marker belongs to that change.
	case markerLeads:
		return nil
	case markerLoose:
		if err := l.store.Delete(ctx, DirtyKey(serial)); err != nil {
			return fmt.Errorf("deleting marker of %s: %w", serial, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.state.markers, serial)
	return nil
}

// marker says what a marker in storage is good for.
type marker int

const (
	markerLoose marker = iota // nothing
	markerOfRow               // its row is marked dirty, and sees to it
	markerLeads               // Load may need it: the page or the row is not settled yet
)

// markerOf returns what the marker of a serial is good for. The caller holds the
// page's lock.
func (l *Ledger) markerOf(serial cert.Serial) marker {
	id, _ := pageIDOf(serial)
	l.mu.RLock()
	defer l.mu.RUnlock()
	if _, busy := l.state.unsettled[id]; busy {
		return markerLeads
	}
	v := l.state.table.view()
	r, found := v.get(string(serial))
	switch {
	case found && r.has(dirty):
		return markerOfRow
	case found && r.has(fresh):
		return markerLeads
	}
	return markerLoose
}
