package crl

import (
	"context"
	"fmt"
)

// Newest returns the head of an issuer's newest CRL, without its body: from memory,
// else with one Get. The zero Head when the issuer has none yet.
func (s *Service) Newest(ctx context.Context, issuer string) (Head, error) {
	if e := s.known(issuer); e != nil {
		return e.head, nil
	}
	head, err := s.heads.Get(ctx, issuer)
	if err != nil || head == nil {
		return Head{}, err
	}
	return *head, nil
}

// Stored returns the ids of the issuers of which storage holds a CRL, those that are
// gone included.
func (s *Service) Stored(ctx context.Context) ([]string, error) { return s.heads.Names(ctx) }

// noCRL is a number that no CRL has.
const noCRL = 0

// Forget removes every CRL of an issuer that Source does not know any more. It waits
// for a rebuild that is under way.
//
// First the head is emptied: it names no body, and a reader takes it for none. Then
// the bodies go, then the head. If we crash between any two, Stored still leads to the
// issuer, and calling Forget again ends what was begun.
func (s *Service) Forget(ctx context.Context, issuer string) error {
	p := s.publication(issuer)
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the crl of issuer %s: %w", issuer, ctx.Err())
	}
	defer func() { <-p.turn }()
	p.clean = false
	numbers, err := s.leftovers(ctx, issuer)
	if err != nil {
		return err
	}
	if len(numbers) > 0 {
		if err := s.heads.Put(ctx, issuer, &Head{}); err != nil {
			return err
		}
	}
	if err := s.sweep(ctx, issuer, numbers, noCRL); err != nil {
		return err
	}
	if err := s.heads.Delete(ctx, issuer); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.publications, issuer)
	return nil
}
