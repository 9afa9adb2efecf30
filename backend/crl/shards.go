package crl

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// batchEntries bounds how many entries of shards are held in memory at a time: the
// shards of one batch share one walk over the ledger.
const batchEntries = 1 << 17

// shard is one shard while the shards of its issuer are rebuilt.
type shard struct {
	*publication
	urls []string
	last *Head // the newest edition, nil when there is none

	newest  uint64 // the highest sequence number of a row that it covers
	rows    int    // that it covers
	current int    // of these, how many had not ended when the newest edition was issued

	draft   *draft
	entries []Entry
	stays   func(*ledger.Row) bool
}

// partition is the shards of one count, by index.
type partition []*shard

// covering returns the shard that covers a row.
func (p partition) covering(row *ledger.Row) *shard { return p[shardOf(row.Serial, len(p))] }

// partitions returns the shards that an issuer publishes.
func (s *Service) partitions(ctx context.Context, issuer string) ([]partition, error) {
	live, err := s.live(ctx, issuer)
	if err != nil {
		return nil, err
	}
	all := make([]partition, 0, len(live))
	for _, scope := range live {
		shards := make(partition, scope.count)
		for index := range shards {
			kind := ShardKind(scope.count, index)
			last, err := s.head(ctx, issuer, kind)
			if err != nil {
				return nil, err
			}
			shards[index] = &shard{publication: s.publication(issuer, kind), urls: scope.urls(kind), last: last}
		}
		all = append(all, shards)
	}
	return all, nil
}

// outdated reports whether a shard needs an edition whatever was revoked since.
func (h *shard) outdated(t *rules, s *Service) bool {
	return h.last == nil || h.failed() || !s.config.Now().Before(t.renewal(*h.last)) || !slices.Equal(h.urls, h.last.URLs)
}

// changed reports whether the ledger says something else than the newest edition.
func (h *shard) changed(t *task) bool {
	return h.newest > h.last.Through || t.ahead(h.last.Through) || h.current != h.last.Entries-h.last.Ended
}

// rebuildShards makes the next edition of the shards that need one, of all that are
// published when forced, and removes those that no certificate names any more. One
// shard's failure does not keep the others from their turn. The caller holds the turn.
func (s *Service) rebuildShards(ctx context.Context, p *publication, why agenda) error {
	r, err := s.rules(ctx)
	if err != nil {
		return err
	}
	if err := s.settlePlaces(ctx, p.issuer, r); err != nil {
		return err
	}
	all, err := s.partitions(ctx, p.issuer)
	if err != nil {
		return err
	}
	if len(all) > 0 {
		if err := s.rebuildPartitions(ctx, p.issuer, all, why); err != nil {
			return err
		}
	}
	return s.dropShards(ctx, p.issuer)
}

func (s *Service) rebuildPartitions(ctx context.Context, issuer string, all []partition, why agenda) error {
	t, err := s.task(ctx, issuer)
	if err != nil {
		return err
	}
	rows, through, err := t.revoked()
	if err != nil {
		return err
	}
	rows = withoutOwn(rows, t)
	for row := range rows {
		for _, shards := range all {
			h := shards.covering(&row)
			h.rows++
			h.newest = max(h.newest, row.Sequence)
			if h.last != nil && !row.NotAfter.Before(h.last.ThisUpdate) {
				h.current++
			}
		}
	}
	var failures []error
	var batch []*shard
	size := 0
	flush := func() {
		failures = append(failures, t.makeBatch(ctx, all, batch, rows, through))
		batch, size = nil, 0
	}
	for _, h := range slices.Concat(all...) {
		if !why.forced && !h.outdated(t.rules, s) && !h.changed(t) {
			continue
		}
		if len(batch) > 0 && size+h.rows > batchEntries {
			flush()
		}
		batch, size = append(batch, h), size+h.rows
	}
	if len(batch) > 0 {
		flush()
	}
	return errors.Join(failures...)
}

// withoutOwn leaves out the issuer's own certificate (ca-4).
func withoutOwn(rows iter.Seq[ledger.Row], t *task) iter.Seq[ledger.Row] {
	own := ownSerial(t.authority.Certificate())
	return func(yield func(ledger.Row) bool) {
		for row := range rows {
			if row.Serial != own && !yield(row) {
				return
			}
		}
	}
}

// makeBatch makes the next edition of some shards in one walk over the rows.
func (t *task) makeBatch(ctx context.Context, all []partition, batch []*shard, rows iter.Seq[ledger.Row], through uint64) error {
	for _, h := range batch {
		h.draft, h.entries = t.draft(), make([]Entry, 0, h.rows)
		h.draft.list.Points, h.draft.head.URLs, h.draft.head.Through = h.urls, h.urls, through
		h.stays = t.stays(ctx, h.last)
	}
	var row ledger.Row // one for all: handed to a function value, each of its own would be allocated
	for row = range rows {
		for _, shards := range all {
			h := shards.covering(&row)
			if h.draft == nil || !h.stays(&row) {
				continue
			}
			h.entries = append(h.entries, entryOf(&row))
			if row.NotAfter.Before(h.draft.list.ThisUpdate) {
				h.draft.head.Ended++
			}
		}
	}
	var failures []error
	for _, h := range batch {
		h.begin(t.now)
		err := t.makeShard(ctx, h)
		h.finish(err)
		failures = append(failures, err)
		h.draft, h.entries = nil, nil
	}
	return errors.Join(failures...)
}

func (t *task) makeShard(ctx context.Context, h *shard) (err error) {
	defer t.recovered("rebuilding a CRL shard", t.issuer, &err)
	h.draft.entries = slices.Values(h.entries)
	if h.draft.extent, err = measure(h.draft.entries); err != nil {
		return fmt.Errorf("measuring crl shard %s of issuer %s: %w", h.kind, t.issuer, err)
	}
	if err := t.limit(h.draft); err != nil {
		return err
	}
	before, err := t.survey(ctx, h.publication)
	if err != nil {
		return err
	}
	_, err = t.publish(ctx, h.publication, h.draft, before, h.next(t.now))
	return err
}

// dropShards removes the shards that no certificate names any more.
//
// The lists go first, then what says that they are there: if we crash in between, the
// next call goes on.
func (s *Service) dropShards(ctx context.Context, issuer string) error {
	dead, err := s.dead(ctx, issuer)
	if err != nil || len(dead) == 0 {
		return err
	}
	live, err := s.live(ctx, issuer)
	if err != nil {
		return err
	}
	for _, p := range dead {
		if slices.ContainsFunc(live, func(c scope) bool { return c.count == p.Count }) {
			continue // another URL of the same shards
		}
		for index := range p.Count {
			if err := s.remove(ctx, s.publication(issuer, ShardKind(p.Count, index))); err != nil {
				return err
			}
		}
	}
	return s.places.change(ctx, issuer, func(list []place) ([]place, error) {
		// One that was named again meanwhile differs from what was dead.
		return slices.DeleteFunc(list, func(p place) bool { return slices.Contains(dead, p) }), nil
	})
}

// dead returns the places of an issuer that are not needed any more.
func (s *Service) dead(ctx context.Context, issuer string) ([]place, error) {
	list, err := s.places.of(ctx, issuer)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	alive, err := s.alive(ctx, issuer)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(list), func(p place) bool { return alive(&p) }), nil
}
