package crl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// upgrade moves what an earlier release has kept for each issuer to the CA that the
// issuer is a certificate of: its lists and the places of its shards.
type upgrade struct {
	mu   sync.Mutex  // held while it is under way
	done atomic.Bool // storage has nothing of an earlier release
	// What follows is guarded by mu.
	failed map[string]error // why the lists of a CA could not be moved; the others go on
	again  time.Time        // when the failed ones are tried again
}

// upgradePause is the time between two attempts to move lists.
const upgradePause = time.Minute

// ca returns the CA that an issuer is a certificate of, once storage is upgraded.
func (s *Service) ca(ctx context.Context, issuer string) (string, error) {
	if err := s.upgraded(ctx); err != nil {
		return issuer, err
	}
	ca, err := s.config.Source.CA(ctx, issuer)
	if err != nil || s.upgrade.done.Load() {
		return ca, err
	}
	s.upgrade.mu.Lock()
	defer s.upgrade.mu.Unlock()
	return ca, s.upgrade.failed[ca]
}

// upgraded makes sure that storage is upgraded: the first caller does it, with one List
// of each prefix when there is nothing to do, and the others wait. A CA whose lists cannot
// be read or written does not keep the others from theirs.
func (s *Service) upgraded(ctx context.Context) error {
	if s.upgrade.done.Load() {
		return nil
	}
	s.upgrade.mu.Lock()
	defer s.upgrade.mu.Unlock()
	if s.upgrade.done.Load() || s.upgrade.failed != nil && s.config.Now().Before(s.upgrade.again) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rebuildDeadline) // for all who wait
	defer cancel()
	legacy, err := s.legacy(ctx)
	if err != nil {
		return fmt.Errorf("finding CRLs of an earlier release: %w", err)
	}
	failed := map[string]error{}
	for ca, issuers := range legacy {
		if err := s.moveTo(ctx, ca, issuers); err != nil {
			failed[ca] = fmt.Errorf("moving the CRLs of issuers %v to their CA %s: %w", issuers, ca, err)
			s.config.Log.Error("CRLs of an earlier release could not be moved to their CA", "ca", ca, "issuers", issuers, "error", err)
			continue
		}
		s.config.Log.Info("CRLs of an earlier release moved from issuers to their CA", "ca", ca, "issuers", issuers)
	}
	if len(failed) > 0 {
		s.upgrade.failed, s.upgrade.again = failed, s.config.Now().Add(upgradePause)
		return nil
	}
	s.upgrade.failed = nil
	s.upgrade.done.Store(true)
	return nil
}

// legacy returns the issuers for which storage has lists or places of an earlier release,
// by CA.
func (s *Service) legacy(ctx context.Context) (map[string][]string, error) {
	names, err := s.heads.Names(ctx)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		names[i], _ = SplitName(name)
	}
	placed, err := s.places.table.Names(ctx)
	if err != nil {
		return nil, err
	}
	names = append(names, placed...)
	slices.Sort(names)
	found := map[string][]string{}
	for _, issuer := range slices.Compact(names) {
		ca, err := s.config.Source.CA(ctx, issuer)
		if err != nil {
			return nil, err
		}
		if ca != issuer {
			found[ca] = append(found[ca], issuer)
		}
	}
	return found, nil
}

// moveTo moves lists and places of issuers to their CA.
//
// What the CA gets is written first, then what the issuers had is removed. If we crash in
// between, the next call finds the rest with the issuers, and nothing newer than what
// the CA has.
func (s *Service) moveTo(ctx context.Context, ca string, issuers []string) error {
	for _, turns := range []Kind{Complete, allShards} {
		p := s.publication(ca, turns)
		select {
		case p.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-p.turn }()
	}
	if err := s.movePlaces(ctx, ca, issuers); err != nil {
		return err
	}
	// Of several issuers each list has only some of the revocations: the next round makes
	// one that has all.
	all, err := s.config.Source.Issuers(ctx, ca)
	if err != nil {
		return err
	}
	kinds, err := s.kinds(ctx, issuers)
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		if kind != Delta || len(all) == 1 { // a delta belongs to the list that it adds to
			if err := s.moveList(ctx, ca, issuers, kind, len(all) == 1); err != nil {
				return err
			}
		}
		for _, issuer := range issuers {
			if err := s.remove(ctx, s.publication(issuer, kind)); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, issuer := range issuers {
		for _, kind := range kinds {
			delete(s.publications, listName(issuer, kind))
			delete(s.numbers, listName(issuer, kind))
		}
	}
	return nil
}

// movePlaces makes the places of issuers those of their CA.
func (s *Service) movePlaces(ctx context.Context, ca string, issuers []string) error {
	var had []place
	for _, issuer := range issuers {
		list, err := s.places.of(ctx, issuer)
		if err != nil {
			return err
		}
		had = append(had, list...)
	}
	err := s.places.change(ctx, ca, func(list []place) ([]place, error) {
		for _, p := range had {
			at := slices.IndexFunc(list, func(known place) bool { return known.is(p.Count, p.URL) })
			switch {
			case at < 0:
				list = append(list, p)
			case p.Until.After(list[at].Until):
				list[at].Until = p.Until
			}
		}
		return list, nil
	})
	if err != nil {
		return err
	}
	for _, issuer := range issuers {
		if err := s.places.change(ctx, issuer, func([]place) ([]place, error) { return nil, nil }); err != nil {
			return err
		}
		s.places.drop(issuer)
	}
	return nil
}

// kinds returns the kinds of list that storage has of issuers.
func (s *Service) kinds(ctx context.Context, issuers []string) ([]Kind, error) {
	names, err := s.heads.Names(ctx)
	if err != nil {
		return nil, err
	}
	var kinds []Kind
	for _, name := range names {
		if issuer, kind := SplitName(name); slices.Contains(issuers, issuer) && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds, nil
}

// moveList makes the list with the highest number that of the CA. Unless it is whole,
// the next round makes another.
func (s *Service) moveList(ctx context.Context, ca string, issuers []string, kind Kind, whole bool) error {
	var best *Head
	from := ""
	for _, owner := range append([]string{ca}, issuers...) {
		head, err := s.heads.Get(ctx, listName(owner, kind))
		if err != nil {
			return err
		}
		if head != nil && head.Chunks > 0 && (best == nil || head.Number > best.Number) {
			best, from = head, owner
		}
	}
	if best == nil || from == ca {
		return nil
	}
	body, err := s.readBody(ctx, listName(from, kind), *best)
	if errors.Is(err, errTorn) {
		s.config.Log.Warn("a CRL of an earlier release is damaged and is made anew", "issuer", from, "kind", kind)
		return nil
	}
	if err != nil {
		return err
	}
	head := *best
	if !whole && !head.Imported {
		head.Through, head.Before = 0, nil
	}
	moved := &edition{head: head, body: body}
	if err := s.write(ctx, listName(ca, kind), moved); err != nil {
		return err
	}
	s.publication(ca, kind).offer(moved)
	return nil
}
