package crl

import (
	"context"
	"fmt"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
)

// Named is a list that is published.
type Named struct {
	Kind Kind
	Head Head
	// URLs are the places at which certificates say the list is, those of older
	// settings included; empty when none says so.
	URLs []string
}

// Heads returns the newest lists of an issuer: the complete one, the delta, then the
// shards by count and index. Lists that are not made yet are left out. It costs no
// storage operation once the heads were read.
func (s *Service) Heads(ctx context.Context, issuer string) ([]Named, error) {
	issuer, err := s.ca(ctx, issuer)
	if err != nil {
		return nil, err
	}
	r, err := s.rules(ctx)
	if err != nil {
		return nil, err
	}
	points, err := s.config.Source.Points(ctx, issuer)
	if err != nil {
		return nil, fmt.Errorf("finding the URLs of issuer %s: %w", issuer, err)
	}
	candidates := []Named{{Kind: Complete, URLs: whole(points.CRL)}}
	if r.deltas() {
		candidates = append(candidates, Named{Kind: Delta, URLs: points.Delta})
	}
	live, err := s.live(ctx, issuer)
	if err != nil {
		return nil, err
	}
	for _, scope := range live {
		for index := range scope.count {
			kind := ShardKind(scope.count, index)
			candidates = append(candidates, Named{Kind: kind, URLs: scope.urls(kind)})
		}
	}
	heads := candidates[:0]
	for _, named := range candidates {
		head, err := s.head(ctx, issuer, named.Kind)
		if err != nil {
			return nil, err
		}
		if head != nil {
			named.Head = *head
			heads = append(heads, named)
		}
	}
	return heads, nil
}

// head returns the newest head of a list of a known issuer, nil when there is none: from
// memory, else with one Get, whatever that finds.
func (s *Service) head(ctx context.Context, issuer string, kind Kind) (*Head, error) {
	p := s.publication(issuer, kind)
	p.mu.Lock()
	newest, absent := p.newest, p.absent
	p.mu.Unlock()
	if newest != nil {
		return &newest.head, nil
	}
	if absent {
		return nil, nil
	}
	head, err := s.heads.Get(ctx, p.name())
	if err != nil {
		return nil, err
	}
	if head == nil || head.Chunks == 0 {
		p.mu.Lock()
		p.absent = p.newest == nil
		p.mu.Unlock()
		return nil, nil
	}
	return &p.offer(&edition{head: *head}).head, nil
}

// Newest returns the head of the newest complete CRL of an issuer of the mount, without
// its body: from memory, else with one Get. The zero Head when there is none yet.
func (s *Service) Newest(ctx context.Context, issuer string) (Head, error) {
	issuer, err := s.ca(ctx, issuer)
	if err != nil {
		return Head{}, err
	}
	head, err := s.head(ctx, issuer, Complete)
	if err != nil || head == nil {
		return Head{}, err
	}
	return *head, nil
}

// Chunk returns one part of at most kv.MaxValue octets of the body of a list, counted
// from 0, and whether it is the last one. NotFound unless the list with that number is
// the newest: then Heads tells of a newer one.
func (s *Service) Chunk(ctx context.Context, issuer string, kind Kind, number int64, index int) (chunk []byte, last bool, err error) {
	issuer, err = s.ca(ctx, issuer)
	if err != nil {
		return nil, false, err
	}
	published, err := s.publishes(ctx, issuer, kind)
	if err != nil {
		return nil, false, err
	}
	var head *Head
	if published {
		if head, err = s.head(ctx, issuer, kind); err != nil {
			return nil, false, err
		}
	}
	if head == nil || head.Number != number || index < 0 || index >= head.Chunks {
		return nil, false, fault.New(fault.NotFound, "crl %d (%s) of issuer %s has no part %d, or is not the newest any more", number, kind, issuer, index)
	}
	last = index == head.Chunks-1
	if e := s.known(issuer, kind); e != nil && e.body != nil && e.head.Number == number {
		return e.body[index*kv.MaxValue : min((index+1)*kv.MaxValue, len(e.body))], last, nil
	}
	name := listName(issuer, kind)
	chunk, err = s.config.Store.Get(ctx, chunkKey(name, number, index))
	if err != nil {
		return nil, false, fmt.Errorf("reading chunk %d of crl %d of %s: %w", index, number, name, err)
	}
	if chunk == nil {
		return nil, false, fault.New(fault.NotFound, "crl %d (%s) of issuer %s is not the newest any more", number, kind, issuer)
	}
	return chunk, last, nil
}
