package mirror

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/disk"
	"vault-plugin-secrets-enterprise-pki/edge/state"
	"vault-plugin-secrets-enterprise-pki/edge/vault"
)

const (
	// noteEvery is how often the disk learns that nothing has changed.
	noteEvery = time.Minute
	// pruneEvery is how often rows of ended certificates are looked for, and keepEnded
	// how long they are kept at least: clocks differ.
	pruneEvery = time.Hour
	keepEnded  = 7 * 24 * time.Hour
	// retryDisk is how long a disk that failed is left alone.
	retryDisk = time.Minute
)

// follower is what the goroutine that polls knows of the status feed.
type follower struct {
	rows     *state.Rows // nil: not all of them were there yet
	position disk.Position
	// building is the set that will replace rows, nil most of the time: at the very
	// beginning, and when the mount's history is not the one that rows belong to.
	building *state.Collection
	built    disk.Position

	file   *disk.RowsFile // nil: not on disk
	noted  time.Time      // when the disk last learned the position
	pruned time.Time
	failed time.Time // when the disk last failed
}

// upToDate reports whether there is nothing to fetch. A mount whose ledger is loading
// says 0, and has to be asked.
func (f *follower) upToDate(manifest *feed.Manifest) bool {
	return f.rows != nil && f.building == nil && f.position.Epoch == manifest.Epoch &&
		manifest.Sequence > 0 && f.position.Sequence >= manifest.Sequence
}

// cursor returns where the next page begins.
func (f *follower) cursor() disk.Position {
	if f.building != nil {
		return f.built
	}
	return f.position
}

// follow fetches pages of the status feed until there are no more.
func (m *Mirror) follow(ctx context.Context) error {
	f := &m.feed
	for {
		asked, cursor := m.config.Now(), f.cursor()
		page, err := m.config.Client.Status(ctx, cursor.Epoch, cursor.Sequence)
		if err != nil {
			return err
		}
		if page.More && !page.Reset && page.Sequence <= cursor.Sequence {
			return fault.New(fault.Internal, "the status feed does not advance from %d", cursor.Sequence)
		}
		if page.Reset || f.rows == nil && f.building == nil {
			if f.rows != nil {
				m.config.Log.Warn("the mount's history is another: all rows are fetched anew, those at hand serve until then", "epoch", page.Epoch)
			}
			before := f.rows
			if before == nil {
				before = state.NoRows()
			}
			f.building = state.Collect(before)
		}
		if f.building != nil {
			err = m.build(page, asked)
		} else {
			err = m.add(page)
		}
		if err != nil {
			return err
		}
		if !page.More {
			m.synced(asked)
			return nil
		}
	}
}

// build adds a page to the set that will replace rows, and replaces them after the last.
//
// Killed before they are on disk: nobody was told of them.
func (m *Mirror) build(page vault.Page, asked time.Time) error {
	f := &m.feed
	if err := f.building.Add(page.Rows); err != nil {
		f.building = nil
		return err
	}
	f.built = disk.Position{Epoch: page.Epoch, Sequence: page.Sequence, At: asked}
	if page.More {
		return nil
	}
	rows := f.building.Rows()
	f.building = nil
	f.rows, f.position = rows, f.built
	m.config.Log.Info("all rows are there", "rows", rows.Len(), "epoch", page.Epoch, "sequence", page.Sequence)
	f.close(m.config.Log)
	m.writeRows()
	m.show()
	return nil
}

// add adds a page to rows. The time of the position moves with the last page only.
//
// Killed before the page is on disk: nobody was told of it. So an edge that is started
// again without the mount calls nothing good that it has called revoked (rev-3).
func (m *Mirror) add(page vault.Page) error {
	f := &m.feed
	rows, err := f.rows.With(page.Rows)
	if err != nil {
		return err
	}
	f.rows = rows
	f.position.Epoch, f.position.Sequence = page.Epoch, page.Sequence
	if len(page.Rows) > 0 {
		m.appendRows(page.Rows)
	}
	m.show()
	return nil
}

// show publishes rows.
func (m *Mirror) show() {
	f := &m.feed
	m.change(func(next *state.Snapshot) { next.Rows, next.Sequence = f.rows, f.position.Sequence })
}

// synced notes that rows are all there was when the mount was asked.
func (m *Mirror) synced(asked time.Time) {
	f := &m.feed
	f.position.At = asked
	m.change(func(next *state.Snapshot) { next.Synced = asked })
	m.prune(asked)
	if asked.Sub(f.noted) >= noteEvery {
		m.appendRows(nil)
	}
}

// prune drops rows of certificates that ended long ago.
func (m *Mirror) prune(now time.Time) {
	f := &m.feed
	if now.Sub(f.pruned) < pruneEvery {
		return
	}
	f.pruned = now
	cutoff := time.Duration(m.Snapshot().Manifest.OCSP.ArchiveCutoff) * time.Second
	kept := f.rows.Without(now.Add(-max(cutoff, keepEnded)))
	dropped := f.rows.Len() - kept.Len()
	if dropped == 0 {
		return
	}
	m.config.Log.Info("rows of ended certificates are dropped", "rows", dropped)
	f.rows = kept
	m.show()
	if dropped > kept.Len()/8 {
		m.writeRows()
	}
}

// appendRows adds rows to the file, or writes it anew when it is gone or has grown.
// Without a disk the edge goes on in memory.
func (m *Mirror) appendRows(rows []feed.Row) {
	f := &m.feed
	if f.file == nil || f.file.Grown() {
		m.writeRows()
		return
	}
	if err := f.file.Append(f.position, rows); err != nil {
		m.config.Log.Error("rows are not on disk", "error", err)
		f.failed = m.config.Now()
		f.close(m.config.Log)
		return
	}
	f.noted = f.position.At
}

// writeRows writes the file of rows anew.
func (m *Mirror) writeRows() {
	f := &m.feed
	now := m.config.Now()
	if now.Sub(f.failed) < retryDisk {
		return
	}
	f.close(m.config.Log)
	file, err := m.config.Folder.WriteRows(f.position, f.rows)
	if err != nil {
		m.config.Log.Error("rows are not on disk", "error", err)
		f.failed = now
		return
	}
	f.file, f.noted = file, f.position.At
}

// close closes the file of rows.
func (f *follower) close(log hclog.Logger) {
	if f.file == nil {
		return
	}
	if err := f.file.Close(); err != nil {
		log.Error("closing the file of rows", "error", err)
	}
	f.file = nil
}

// loadRows begins with the rows on disk.
func (m *Mirror) loadRows() {
	file, rows, position, err := m.config.Folder.LoadRows()
	if err != nil {
		if !fault.Is(err, fault.NotFound) {
			m.config.Log.Error("rows cannot be read from disk", "error", err)
		} else {
			m.config.Log.Info("no rows on disk: all are fetched", "cause", err)
		}
		return
	}
	if cut := file.Cut(); cut > 0 {
		m.config.Log.Warn("the rows on disk are incomplete at the end: fetching these again", "bytes", cut)
	}
	m.feed.file, m.feed.rows, m.feed.position, m.feed.noted = file, rows, position, position.At
	m.config.Log.Info("rows read from disk", "rows", rows.Len(), "sequence", position.Sequence, "of", position.At.UTC())
	m.change(func(next *state.Snapshot) {
		next.Rows, next.Sequence, next.Synced = rows, position.Sequence, position.At
	})
}
