package crl

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Tick rebuilds what is due: lists that are missing, near their end, that failed
// last time, or that lack what the ledger knows. It returns when done. Until the
// ledger is loaded nothing is due.
func (s *Service) Tick(ctx context.Context) error {
	watched := s.watch(ctx)
	if !s.config.Ledger.Loaded() {
		return watched
	}
	return errors.Join(watched, s.each(ctx, func(issuer string) error {
		r, err := s.rules(ctx)
		if err != nil {
			return err
		}
		var failures []error
		for _, kind := range []Kind{Complete, Delta, allShards} {
			p := s.publication(issuer, kind)
			due, err := s.due(ctx, p, r)
			if err == nil && due {
				_, err = s.make(ctx, p)
			}
			failures = append(failures, err)
		}
		return errors.Join(failures...)
	}))
}

// due reports whether Tick has to rebuild a list.
func (s *Service) due(ctx context.Context, p *publication, r *rules) (bool, error) {
	switch {
	case p.kind == allShards:
		return s.shardsDue(ctx, p, r)
	case p.kind == Delta && !r.deltas():
		return false, nil
	case p.failed():
		return true, nil
	}
	head, err := s.head(ctx, p.issuer, p.kind)
	if err != nil || head == nil {
		return err == nil, err
	}
	now := s.config.Now()
	if p.kind == Delta {
		complete, err := s.head(ctx, p.issuer, Complete)
		if err != nil || complete == nil {
			return err == nil, err
		}
		return !now.Before(head.made().Add(r.interval)) || head.Number < complete.Number, nil
	}
	if !now.Before(r.renewal(*head)) {
		return true, nil
	}
	points, err := s.config.Source.Points(ctx, p.issuer)
	if err != nil {
		return false, fmt.Errorf("finding the URLs of issuer %s: %w", p.issuer, err)
	}
	if !r.deltas() {
		points.Delta = nil
	}
	if !slices.Equal(points.Delta, head.URLs) {
		return true, nil
	}
	return s.behind(ctx, p, r, *head)
}

// shardsDue reports whether Tick has to see to the shards of an issuer.
func (s *Service) shardsDue(ctx context.Context, p *publication, r *rules) (bool, error) {
	if err := s.settlePlaces(ctx, p.issuer, r); err != nil {
		return false, err
	}
	if s.places.none(p.issuer) {
		return p.failed(), nil
	}
	if p.failed() || !p.settled() {
		return true, nil
	}
	all, err := s.partitions(ctx, p.issuer)
	if err != nil {
		return false, err
	}
	for _, shards := range all {
		if slices.ContainsFunc(shards, func(h *shard) bool { return h.outdated(r, s) }) {
			return true, nil
		}
	}
	dead, err := s.dead(ctx, p.issuer)
	return len(dead) > 0, err
}

// behind reports, once after the start, whether the list lacks what the ledger
// knows: a revocation, the end of a suspension or its change into a final revocation
// that was recorded just before a crash. With deltas, the next of those tells of it,
// and only a compromised key is missed, see Revoked.
func (s *Service) behind(ctx context.Context, p *publication, r *rules, head Head) (bool, error) {
	if p.settled() {
		return false, nil
	}
	deltas, count := r.deltas(), 0
	if !r.settings.Disable {
		authority, err := s.config.Source.Authority(ctx, p.issuer)
		if err != nil {
			return false, fmt.Errorf("finding the CA of issuer %s: %w", p.issuer, err)
		}
		reached := s.config.Ledger.Sequence() // see task.ahead
		issuers, err := s.config.Source.Issuers(ctx, p.issuer)
		if err != nil {
			return false, fmt.Errorf("finding the issuers of CA %s: %w", p.issuer, err)
		}
		rows, err := s.config.Ledger.Revoked(issuers...)
		if err != nil {
			return false, fmt.Errorf("reading revoked certificates of issuer %s: %w", p.issuer, err)
		}
		own := ownSerial(authority.Certificate())
		for row := range rows {
			switch {
			case row.Serial == own:
			case deltas && !urgent(row.Reason):
			case row.Sequence > head.Through || head.Through > reached || !row.RevokedAt.Before(head.made()):
				return true, nil
			case !row.NotAfter.Before(head.ThisUpdate): // others may have left the list
				count++
			}
		}
	}
	if !deltas && count != head.Entries-head.Ended {
		return true, nil
	}
	p.settle()
	return false, nil
}
