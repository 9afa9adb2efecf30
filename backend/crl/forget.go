package crl

import (
	"context"
	"fmt"
	"slices"
)

// Stored returns the ids of the CAs of which storage holds a list, those that are gone
// included.
func (s *Service) Stored(ctx context.Context) ([]string, error) {
	if err := s.upgraded(ctx); err != nil {
		return nil, err
	}
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
	return slices.Compact(names), nil
}

// noCRL is a number that no edition has.
const noCRL = 0

// Forget removes every list of a CA that Source does not know any more. It waits
// for rebuilds that are under way. If we crash before it ends, Stored still leads to the
// issuer, and calling Forget again ends what was begun.
func (s *Service) Forget(ctx context.Context, issuer string) error {
	if err := s.upgraded(ctx); err != nil {
		return err
	}
	list, err := s.places.of(ctx, issuer)
	if err != nil {
		return err
	}
	kinds := []Kind{Complete, Delta}
	for _, p := range list {
		for index := range p.Count {
			if kind := ShardKind(p.Count, index); !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	for _, turns := range []Kind{Complete, allShards} {
		p := s.publication(issuer, turns)
		select {
		case p.turn <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the crl of issuer %s: %w", issuer, ctx.Err())
		}
		defer func() { <-p.turn }()
	}
	for _, kind := range slices.Backward(kinds) {
		if err := s.remove(ctx, s.publication(issuer, kind)); err != nil {
			return err
		}
	}
	// Last: it says which shards there are.
	if err := s.places.change(ctx, issuer, func([]place) ([]place, error) { return nil, nil }); err != nil {
		return err
	}
	s.places.drop(issuer)
	s.watched.mu.Lock()
	s.watched.issuers = slices.DeleteFunc(s.watched.issuers, func(id string) bool { return id == issuer })
	s.watched.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kind := range append(kinds, allShards) {
		delete(s.publications, listName(issuer, kind))
		delete(s.numbers, listName(issuer, kind))
	}
	return nil
}

// remove removes every edition of a list. The caller holds the turn.
//
// First the head is emptied: it names no body, and a reader takes it for none. Then
// the bodies go, then the head. If we crash between any two, the head is still listed,
// and removing again ends what was begun.
func (s *Service) remove(ctx context.Context, p *publication) error {
	p.clean = false
	name := p.name()
	if _, err := s.heads.Get(ctx, name); err != nil { // of a newer release: it stays
		return err
	}
	numbers, err := s.leftovers(ctx, name)
	if err != nil {
		return err
	}
	if len(numbers) > 0 {
		if err := s.heads.Put(ctx, name, &Head{}); err != nil {
			return err
		}
	}
	if err := s.sweep(ctx, name, numbers, noCRL); err != nil {
		return err
	}
	if err := s.heads.Delete(ctx, name); err != nil {
		return err
	}
	p.forget()
	return nil
}

// forget drops the newest edition, which storage has no more.
func (p *publication) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newest, p.absent = nil, true
	p.agenda.failure = nil
}
