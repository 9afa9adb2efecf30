package crl

import (
	"context"
	"fmt"
)

// Tick rebuilds what is due: lists that are missing, near their end, that failed
// last time, or that lack what the ledger knows. It returns when done. Until the
// ledger is loaded nothing is due.
func (s *Service) Tick(ctx context.Context) error {
	if !s.config.Ledger.Loaded() {
		return nil
	}
	return s.each(ctx, func(issuer string) error {
		due, err := s.due(ctx, s.publication(issuer))
		if err != nil || !due {
			return err
		}
		_, err = s.Rebuild(ctx, issuer)
		return err
	})
}

// due reports whether Tick has to rebuild a list.
func (s *Service) due(ctx context.Context, p *publication) (bool, error) {
	r, err := s.rules(ctx)
	if err != nil {
		return false, err
	}
	if p.failed() {
		return true, nil
	}
	e := p.latest()
	if e == nil {
		head, err := s.heads.Get(ctx, p.issuer)
		if err != nil {
			return false, err
		}
		if head == nil {
			return true, nil
		}
		e = p.offer(&edition{head: *head})
	}
	if !s.config.Now().Before(r.renewal(e.head)) {
		return true, nil
	}
	return s.behind(ctx, p, r, e.head)
}

// behind reports, once after the start, whether the list lacks what the ledger
// knows: a revocation that was recorded just before a crash.
func (s *Service) behind(ctx context.Context, p *publication, r *rules, head Head) (bool, error) {
	if p.settled() {
		return false, nil
	}
	count := 0
	if !r.settings.Disable {
		authority, err := s.config.Source.Authority(ctx, p.issuer)
		if err != nil {
			return false, fmt.Errorf("finding the CA of issuer %s: %w", p.issuer, err)
		}
		rows, err := s.config.Ledger.Revoked(p.issuer)
		if err != nil {
			return false, fmt.Errorf("reading revoked certificates of issuer %s: %w", p.issuer, err)
		}
		for entry := range entriesOf(rows, authority.Certificate()) {
			if !entry.RevokedAt.Before(head.ThisUpdate) {
				return true, nil
			}
			count++
		}
	}
	if count != head.Entries {
		return true, nil
	}
	p.settle()
	return false, nil
}
