package issue

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// Batch signs up to ledger.MaxPage CSRs and records them with one write. Each
// request has its own outcome, in the order of the requests; an error that concerns
// all of them is returned instead.
func (s *Service) Batch(ctx context.Context, requests []Request, who role.Identity) ([]Outcome, error) {
	if len(requests) == 0 || len(requests) > ledger.MaxPage {
		return nil, fault.Field("requests", "must hold 1 to %d requests, not %d", ledger.MaxPage, len(requests))
	}
	page, err := s.Ledger.NewPage(len(requests))
	if err != nil {
		return nil, err
	}
	candidates := make([]*candidate, len(requests))
	outcomes := make([]Outcome, len(requests))
	var group errgroup.Group
	group.SetLimit(2 * runtime.GOMAXPROCS(0)) // a token answers several sessions at once
	for at := range requests {
		serial := page.Serial()
		group.Go(func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = fault.New(fault.Internal, "request %d of the batch: %v", at, p)
				}
			}()
			if len(requests[at].CSR) == 0 {
				outcomes[at].Err = missingCSR()
				return nil
			}
			c, err := s.prepare(ctx, requests[at], who, serial)
			if err == nil {
				err = c.redeem()
			}
			candidates[at], outcomes[at].Err = c, err
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return outcomes, s.record(ctx, page, candidates, outcomes)
}

// record puts what was signed on the page, commits it once, and only then fills in
// the results.
func (s *Service) record(ctx context.Context, page *ledger.Page, candidates []*candidate, outcomes []Outcome) error {
	stored := 0
	for at, c := range candidates {
		if outcomes[at].Err != nil || c.profile.NoStore() {
			continue
		}
		if err := page.Add(c.record); err != nil {
			outcomes[at].Err = err
			continue
		}
		stored++
	}
	if stored > 0 {
		if err := s.commit(ctx, page); err != nil {
			return fmt.Errorf("recording a batch of %d certificates: %w", stored, err)
		}
	}
	for at, c := range candidates {
		if outcomes[at].Err != nil {
			continue
		}
		if c.profile.NoStore() {
			s.Ledger.Note(c.record)
		}
		outcomes[at].Result = c.result()
	}
	return nil
}
