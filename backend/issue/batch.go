package issue

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// Batch signs up to ledger.MaxPage CSRs and records them with one write, or a few
// when their records are larger than one page holds. Each request has its own
// outcome, in the order of the requests; an error that concerns all of them is
// returned instead.
func (s *Service) Batch(ctx context.Context, requests []Request, who role.Identity) ([]Outcome, error) {
	if len(requests) == 0 || len(requests) > ledger.MaxPage {
		return nil, fault.Field("requests", "must hold 1 to %d requests, not %d", ledger.MaxPage, len(requests))
	}
	b := &batch{service: s, requests: requests, who: who, outcomes: make([]Outcome, len(requests))}
	left := make([]int, len(requests))
	for at := range requests {
		left[at] = at
	}
	for len(left) > 0 {
		var err error
		if left, err = b.page(ctx, left); err != nil {
			return nil, err
		}
	}
	return b.outcomes, nil
}

// batch is one call of Batch under way.
type batch struct {
	service  *Service
	requests []Request
	who      role.Identity
	outcomes []Outcome
}

// page signs and records what fits on one page of the requests at these places, and
// returns the places that are left for the next.
func (b *batch) page(ctx context.Context, places []int) (left []int, err error) {
	page, err := b.service.Ledger.NewPage(len(places))
	if err != nil {
		return nil, err
	}
	candidates := make([]*candidate, len(places))
	defer func() {
		for _, c := range candidates {
			if c != nil {
				c.release()
			}
		}
	}()
	err = parallel(len(places), func(n int) {
		candidates[n], b.outcomes[places[n]].Err = b.prepare(ctx, places[n], page.Serial())
	})
	if err != nil {
		return nil, err
	}
	chosen := choose(page, candidates)
	if chosen == nil {
		return nil, nil
	}
	for n := chosen[len(chosen)-1] + 1; n < len(candidates); n++ {
		if candidates[n] != nil {
			left = append(left, places[n])
		}
	}
	err = parallel(len(chosen), func(n int) {
		b.outcomes[places[chosen[n]]].Err = candidates[chosen[n]].redeem()
	})
	if err != nil {
		return nil, err
	}
	return left, b.record(ctx, page, places, candidates, chosen)
}

func (b *batch) prepare(ctx context.Context, at int, serial cert.Serial) (*candidate, error) {
	if len(b.requests[at].CSR) == 0 {
		return nil, missingCSR()
	}
	c, err := b.service.prepare(ctx, b.requests[at], b.who, serial)
	if err == nil && !c.role.AllowsBatch() {
		c.release()
		return nil, fault.New(fault.Denied, "role %s is for one request at a time (allow_batch)", c.role.Name())
	}
	return c, err
}

// choose returns the indices of the candidates that go on this page: all of them, or
// as many of the first as it has room for. One alone always fits: caps on requests
// keep a record far below a page.
func choose(page *ledger.Page, candidates []*candidate) []int {
	var chosen []int
	for n, c := range candidates {
		if c != nil {
			chosen = append(chosen, n)
		}
	}
	for len(chosen) > 1 && !fit(page, candidates, chosen) {
		chosen = chosen[:len(chosen)/2]
	}
	return chosen
}

// fit reports whether the page has room for the candidates at these indices.
func fit(page *ledger.Page, candidates []*candidate, indices []int) bool {
	drafts := make([]ledger.Record, 0, len(indices))
	for _, n := range indices {
		if !candidates[n].profile.NoStore() {
			drafts = append(drafts, candidates[n].drafted())
		}
	}
	return page.Fits(drafts...)
}

// record puts what was signed on the page, commits it once, and only then fills in
// the results.
func (b *batch) record(ctx context.Context, page *ledger.Page, places []int, candidates []*candidate, chosen []int) error {
	stored := 0
	for _, n := range chosen {
		outcome := &b.outcomes[places[n]]
		if outcome.Err != nil || candidates[n].profile.NoStore() {
			continue
		}
		if outcome.Err = page.Add(candidates[n].record); outcome.Err == nil {
			stored++
		}
	}
	if stored > 0 {
		if err := b.service.commit(ctx, page); err != nil {
			return fmt.Errorf("recording a batch of %d certificates: %w", stored, err)
		}
	}
	for _, n := range chosen {
		outcome := &b.outcomes[places[n]]
		if outcome.Err != nil {
			continue
		}
		if candidates[n].profile.NoStore() {
			b.service.Ledger.Note(candidates[n].record)
		}
		outcome.Result = candidates[n].result()
	}
	return nil
}

// parallel runs work for 0..n-1, several at once because a token answers several
// sessions, and turns a panic of one into an error: one process serves all mounts.
func parallel(n int, work func(int)) error {
	var group errgroup.Group
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for i := range n {
		group.Go(func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					what, _ := fault.Panicked(p)
					err = fault.New(fault.Internal, "signing request %d of the batch: %s", i, what)
				}
			}()
			work(i)
			return nil
		})
	}
	return group.Wait()
}
