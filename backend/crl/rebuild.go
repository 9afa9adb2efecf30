package crl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
)

// rebuildsAtOnce bounds how many issuers RebuildAll and Tick work on side by side,
// so that one whose token hangs does not keep the others waiting.
const rebuildsAtOnce = 8

// Rebuild makes, stores and returns the next CRL of an issuer. Callers that arrive
// while one is being made share the one after it. The rebuild goes on when the
// caller's context ends.
func (s *Service) Rebuild(ctx context.Context, issuer string) (Head, error) {
	p := s.publication(issuer)
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
		return Head{}, fmt.Errorf("waiting for the crl of issuer %s: %w", issuer, ctx.Err())
	}
}

// RebuildAll rebuilds every issuer's CRL and joins the errors.
func (s *Service) RebuildAll(ctx context.Context) error {
	return s.each(ctx, func(issuer string) error {
		_, err := s.Rebuild(ctx, issuer)
		return err
	})
}

// each calls work for every issuer that publishes and joins the errors.
func (s *Service) each(ctx context.Context, work func(issuer string) error) error {
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
	p.begin(s.config.Now())
	f.head, f.err = s.rebuild(ctx, p)
	p.finish(f.err)
	if f.err != nil {
		s.config.Log.Error("CRL could not be rebuilt", "issuer", p.issuer, "error", f.err)
		return
	}
	// Numbers cross from the plugin to Vault's log as float64: 1.8e+09 says nothing.
	s.config.Log.Info("CRL rebuilt", "issuer", p.issuer, "number", strconv.FormatInt(f.head.Number, 10),
		"entries", f.head.Entries, "octets", f.head.Size, "next_update", f.head.NextUpdate)
}

// rebuild makes the next list and puts it in place of the last. The caller holds
// the issuer's turn.
func (s *Service) rebuild(ctx context.Context, p *publication) (head Head, err error) {
	defer s.recovered("rebuilding the CRL", p.issuer, &err)
	r, err := s.rules(ctx)
	if err != nil {
		return Head{}, err
	}
	authority, err := s.config.Source.Authority(ctx, p.issuer)
	if err != nil {
		return Head{}, fmt.Errorf("finding the CA of issuer %s: %w", p.issuer, err)
	}
	draft, err := s.draft(p.issuer, authority.Certificate(), r.settings)
	if err != nil {
		return Head{}, err
	}
	before, err := s.survey(ctx, p)
	if err != nil {
		return Head{}, err
	}
	now := s.config.Now()
	// Seconds since 1970 are a floor that also holds when an older backup was
	// restored, which knows nothing of the numbers used since.
	p.floor = max(p.floor+1, now.Unix())
	draft.list.Number = p.floor
	draft.list.ThisUpdate, draft.list.NextUpdate = r.life(now)
	next, err := draft.sign(authority)
	if err != nil {
		return Head{}, err
	}
	p.clean = false
	if err := s.write(ctx, p.issuer, next); err != nil {
		return Head{}, err
	}
	p.offer(next)
	if err := s.retire(ctx, p, before, next.head.Number); err != nil {
		s.config.Log.Warn("octets of an older CRL are left in storage until the next rebuild", "issuer", p.issuer, "error", err)
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
	head, err := s.heads.Get(ctx, p.issuer)
	if err != nil {
		return past{}, err
	}
	numbers, err := s.leftovers(ctx, p.issuer)
	if err != nil {
		return past{}, err
	}
	if head != nil {
		p.offer(&edition{head: *head})
		p.floor = max(p.floor, head.Number)
	}
	if len(numbers) > 0 {
		p.floor = max(p.floor, slices.Max(numbers))
	}
	return past{head: head, numbers: numbers}, nil
}

// retire removes the bodies that the new head does not name.
func (s *Service) retire(ctx context.Context, p *publication, before past, keep int64) error {
	if before.numbers != nil {
		return s.sweep(ctx, p.issuer, before.numbers, keep)
	}
	if before.head == nil {
		return nil
	}
	return s.removeChunks(ctx, p.issuer, *before.head)
}
