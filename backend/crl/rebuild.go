package crl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// rebuildsAtOnce bounds how many issuers RebuildAll and Tick work on side by side,
// so that one whose token hangs does not keep the others waiting.
const rebuildsAtOnce = 8

// Rebuild makes and stores the next edition of all lists of an issuer and returns the
// head of the complete one. Callers that arrive while one is being made share the one
// after it. The rebuild goes on when the caller's context ends.
func (s *Service) Rebuild(ctx context.Context, issuer string) (Head, error) {
	issuer, err := s.ca(ctx, issuer)
	if err != nil {
		return Head{}, err
	}
	head, err := s.make(ctx, s.publication(issuer, Complete))
	if err != nil {
		return Head{}, err
	}
	shards := s.publication(issuer, allShards)
	live, err := s.live(ctx, issuer)
	if err != nil || len(live) == 0 {
		shards.finish(err)
		return head, err
	}
	shards.force()
	if _, err := s.make(ctx, shards); err != nil {
		return Head{}, err
	}
	return head, nil
}

// make is Rebuild of one list, or of all shards.
func (s *Service) make(ctx context.Context, p *publication) (Head, error) {
	f, start := p.join()
	if start {
		detached := context.WithoutCancel(ctx)
		if err := s.spawn(func() { s.fly(detached, p, f) }); err != nil {
			f.err = err
			close(f.done)
		}
	}
	select {
	case <-f.done:
		return f.head, f.err
	case <-ctx.Done():
		return Head{}, fmt.Errorf("waiting for the crl of issuer %s: %w", p.issuer, ctx.Err())
	}
}

// RebuildAll rebuilds every issuer's lists and joins the errors.
func (s *Service) RebuildAll(ctx context.Context) error {
	return s.each(ctx, func(issuer string) error {
		_, err := s.Rebuild(ctx, issuer)
		return err
	})
}

// each calls work for every issuer that publishes and joins the errors.
func (s *Service) each(ctx context.Context, work func(issuer string) error) error {
	if err := s.upgraded(ctx); err != nil {
		return err
	}
	issuers, err := s.config.Source.Publishers(ctx)
	if err != nil {
		return fmt.Errorf("listing issuers that publish CRLs: %w", err)
	}
	var group errgroup.Group
	group.SetLimit(rebuildsAtOnce)
	var mu sync.Mutex // guards failures
	var failures []error
	for _, issuer := range issuers {
		group.Go(func() (err error) {
			defer func() {
				if err != nil {
					mu.Lock()
					failures = append(failures, err)
					mu.Unlock()
				}
			}()
			defer s.recovered("renewing a CRL", issuer, &err)
			return work(issuer)
		})
	}
	_ = group.Wait() // every error is in failures
	return errors.Join(failures...)
}

// fly runs one rebuild for all who wait for it.
func (s *Service) fly(ctx context.Context, p *publication, f *flight) {
	defer s.background.Done()
	defer close(f.done)
	ctx, cancel := context.WithTimeout(ctx, rebuildDeadline)
	defer cancel()
	defer context.AfterFunc(s.stop, cancel)()
	// The queued flight waits its turn; whoever comes meanwhile shares it.
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		p.begin(s.config.Now())
		f.err = fmt.Errorf("waiting for the crl of issuer %s: %w", p.issuer, ctx.Err())
		p.finish(f.err)
		return
	}
	defer func() { <-p.turn }()
	why := p.begin(s.config.Now())
	f.head, f.err = s.rebuild(ctx, p, why)
	p.finish(f.err)
	if f.err != nil {
		s.config.Log.Error("CRL could not be rebuilt", "issuer", p.issuer, "kind", p.kind, "error", f.err)
	}
}

// rebuild makes the next edition of a list, or of the shards that need one. The caller
// holds the turn.
func (s *Service) rebuild(ctx context.Context, p *publication, why agenda) (head Head, err error) {
	defer s.recovered("rebuilding the CRL", p.issuer, &err)
	switch p.kind {
	case Delta:
		return s.rebuildDelta(ctx, p)
	case allShards:
		return Head{}, s.rebuildShards(ctx, p, why)
	}
	return s.rebuildComplete(ctx, p)
}

// rebuildComplete makes the next complete list and, where deltas are published, the
// delta that goes with it.
func (s *Service) rebuildComplete(ctx context.Context, p *publication) (Head, error) {
	t, err := s.task(ctx, p.issuer)
	if err != nil {
		return Head{}, err
	}
	delta, beforeDelta := s.publication(p.issuer, Delta), past{}
	if t.rules.deltas() {
		if beforeDelta, err = s.survey(ctx, delta); err != nil {
			return Head{}, err
		}
	}
	before, err := s.survey(ctx, p)
	if err != nil {
		return Head{}, err
	}
	if err := t.carry(ctx, before.head); err != nil {
		return Head{}, err
	}
	list, changes, err := t.both(ctx, before.head)
	if err != nil {
		return Head{}, err
	}
	number := p.next(t.now)
	head, err := t.publish(ctx, p, list, before, number)
	if err != nil || changes == nil {
		return head, err
	}
	// If we crash here, the delta is older than the list, which says all that it said
	// and more; the next Tick makes another.
	delta.begin(t.now)
	_, err = t.publish(ctx, delta, changes, beforeDelta, number)
	delta.finish(err)
	if err != nil {
		s.config.Log.Error("delta CRL could not be rebuilt", "issuer", p.issuer, "error", err)
	}
	return head, nil
}

// next returns the next number of the scope. Seconds since 1970 are a floor that also
// holds when an older backup was restored, which knows nothing of the numbers used
// since. The caller holds the turn.
func (n *series) next(now time.Time) int64 {
	n.floor = max(n.floor+1, now.Unix())
	if !n.above.IsZero() {
		n.above = n.above.Next()
	}
	return n.floor
}

// raise lifts the numbering to that of a list.
func (n *series) raise(head *Head) {
	n.floor = max(n.floor, head.Number)
	if head.CRL != nil {
		n.above = n.above.Max(*head.CRL)
	}
}

// numberOf returns the CRL number of the edition that next has just counted.
func (n *series) numberOf(edition int64) cert.CRLNumber {
	return n.above.Max(cert.CRLNumberFrom(edition))
}

// publish signs a draft under a number and puts it in place of the last edition. The
// caller holds the turn.
func (t *task) publish(ctx context.Context, p *publication, d *draft, before past, number int64) (Head, error) {
	d.list.Number = p.numberOf(number)
	next, err := d.sign(t.authority)
	if err != nil {
		return Head{}, err
	}
	next.head.identify(number, d.list.Number)
	p.clean = false
	if err := t.write(ctx, p.name(), next); err != nil {
		return Head{}, err
	}
	p.offer(next)
	// Numbers cross from the plugin to Vault's log as float64: 1.8e+09 says nothing.
	t.config.Log.Info("CRL rebuilt", "issuer", p.issuer, "kind", p.kind, "number", d.list.Number.String(),
		"entries", next.head.Entries, "octets", next.head.Size, "next_update", next.head.NextUpdate)
	if err := t.retire(ctx, p, before, number); err != nil {
		t.config.Log.Warn("octets of an older CRL are left in storage until the next rebuild", "issuer", p.issuer, "kind", p.kind, "error", err)
		return next.head, nil
	}
	p.clean = true
	return next.head, nil
}

// past is what storage held before a rebuild.
type past struct {
	head    *Head   // the newest list, nil when there was none
	numbers []int64 // every body, when storage had to be looked at
}

// survey finds out what is in storage and raises the floor of the number above all
// of it: from memory after a rebuild that ended well, else with one Get and one
// List.
func (s *Service) survey(ctx context.Context, p *publication) (past, error) {
	if known := p.latest(); p.clean && known != nil {
		return past{head: &known.head}, nil
	}
	head, err := s.heads.Get(ctx, p.name())
	if err != nil {
		return past{}, err
	}
	numbers, err := s.leftovers(ctx, p.name())
	if err != nil {
		return past{}, err
	}
	if head != nil && head.Chunks == 0 {
		head = nil // Forget did not end
	}
	if head != nil {
		p.offer(&edition{head: *head})
		p.raise(head)
	}
	if len(numbers) > 0 {
		p.floor = max(p.floor, slices.Max(numbers))
	}
	return past{head: head, numbers: numbers}, nil
}

// retire removes the bodies that the new head does not name.
func (s *Service) retire(ctx context.Context, p *publication, before past, keep int64) error {
	if before.numbers != nil {
		return s.sweep(ctx, p.name(), before.numbers, keep)
	}
	if before.head == nil {
		return nil
	}
	return s.removeChunks(ctx, p.name(), *before.head)
}
