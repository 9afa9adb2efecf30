package crl

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// maxEarlier bounds how many complete lists before the newest a delta can be about.
const maxEarlier = 8

// earlier returns the complete lists up to last that a relying party may still hold and
// of which it is known what changed since, see ahead.
func (t *task) earlier(last *Head) []Earlier {
	if last == nil || last.CRL != nil {
		return nil // numbers of so many octets are no base of a delta
	}
	all := append(slices.Clone(last.Before), Earlier{Number: last.Number, Through: last.Through, NextUpdate: last.NextUpdate})
	all = slices.DeleteFunc(all, func(e Earlier) bool { return !e.NextUpdate.After(t.now) || t.ahead(e.Through) })
	return all[max(0, len(all)-maxEarlier):]
}

// base returns the list that a delta is about: the oldest that a relying party may still
// hold, so that the delta can be combined with every one of them (RFC 5280 section 5.2.4:
// the number of the complete list is equal to or greater than the base number).
func base(held []Earlier) (oldest Earlier, found bool) {
	if len(held) == 0 {
		return Earlier{}, false
	}
	return held[0], true
}

// delta drafts what has changed since a complete list (RFC 5280 section 5.2.4): what was
// revoked since, whether or not it has ended, and as removeFromCRL what was on hold and
// is not any more. A certificate that was suspended and resumed between the two is listed
// too, as that section allows.
func (t *task) delta(ctx context.Context, since Earlier) (*draft, error) {
	d := t.draft()
	d.list.Base = cert.CRLNumberFrom(since.Number)
	// A relying party asks again at nextUpdate: the next delta is there by then.
	d.list.NextUpdate = t.now.UTC().Truncate(time.Second).Add(min(2*t.rules.interval, t.rules.expiry))
	d.head.Through = t.config.Ledger.Sequence()
	issuers, err := t.config.Source.Issuers(ctx, t.issuer)
	if err != nil {
		return nil, fmt.Errorf("finding the issuers of CA %s: %w", t.issuer, err)
	}
	rows, err := t.config.Ledger.IssuedBy(issuers...)
	if err != nil {
		return nil, fmt.Errorf("reading certificates of issuer %s: %w", t.issuer, err)
	}
	own := ownSerial(t.authority.Certificate())
	var entries []Entry
	for row := range rows {
		switch {
		case row.Sequence <= since.Through || row.Serial == own:
		case !row.RevokedAt.IsZero():
			entries = append(entries, entryOf(&row))
		case !row.Resumed.IsZero():
			entries = append(entries, Entry{Serial: row.Serial, RevokedAt: row.Resumed, Reason: cert.RemoveFromCRL, removed: true})
		}
	}
	d.entries = slices.Values(entries)
	if d.extent, err = measure(d.entries); err != nil {
		return nil, fmt.Errorf("measuring the delta crl of issuer %s: %w", t.issuer, err)
	}
	return d, t.limit(d)
}

// both drafts a complete list and the delta to the one before it from the same state of
// the ledger: issued at the same time, they have the same number and must say the same
// (RFC 5280 section 5.2.3). No delta when no base is held any more, or when the ledger
// changes too often to see one state; the next delta then has its own number.
func (t *task) both(ctx context.Context, last *Head) (complete, delta *draft, err error) {
	since, found := base(t.earlier(last))
	if !t.rules.deltas() || !found {
		complete, err = t.complete(ctx, last)
		return complete, nil, err
	}
	const looks = 3
	for range looks {
		before := t.config.Ledger.Sequence()
		if complete, err = t.complete(ctx, last); err != nil {
			return nil, nil, err
		}
		if delta, err = t.delta(ctx, since); err != nil {
			return nil, nil, err
		}
		if t.config.Ledger.Sequence() == before {
			return complete, delta, nil
		}
	}
	return complete, nil, nil
}

// rebuildDelta makes the next delta. In the second in which the complete list was issued
// it makes both anew, since two lists of one time have one number.
func (s *Service) rebuildDelta(ctx context.Context, p *publication) (Head, error) {
	t, err := s.task(ctx, p.issuer)
	if err != nil {
		return Head{}, err
	}
	if !t.rules.deltas() {
		return Head{}, nil // what was noted before they were turned off
	}
	complete := s.publication(p.issuer, Complete)
	last, err := s.survey(ctx, complete)
	if err != nil {
		return Head{}, err
	}
	if last.head == nil || t.ahead(last.head.Through) || !t.now.Truncate(time.Second).After(last.head.made()) {
		return s.rebuildComplete(ctx, complete)
	}
	before, err := s.survey(ctx, p)
	if err != nil {
		return Head{}, err
	}
	since, found := base(t.earlier(last.head))
	if !found {
		return s.rebuildComplete(ctx, complete) // the newest has ended
	}
	d, err := t.delta(ctx, since)
	if err != nil {
		return Head{}, err
	}
	return t.publish(ctx, p, d, before, p.next(t.now))
}

// RebuildDeltas makes the delta of every issuer anew and joins the errors. Conflict when
// deltas are not published.
func (s *Service) RebuildDeltas(ctx context.Context) error {
	r, err := s.rules(ctx)
	if err != nil {
		return err
	}
	if !r.deltas() {
		return fault.New(fault.Conflict, "delta CRLs are not published: set enable_delta in config/crl")
	}
	return s.each(ctx, func(issuer string) error {
		_, err := s.make(ctx, s.publication(issuer, Delta))
		return err
	})
}

// dropDelta removes the delta of an issuer that publishes none any more.
func (s *Service) dropDelta(ctx context.Context, issuer string) error {
	p := s.publication(issuer, Delta)
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the crl of issuer %s: %w", issuer, ctx.Err())
	}
	defer func() { <-p.turn }()
	// The next list counts on from the delta's number.
	if _, err := s.survey(ctx, p); err != nil {
		return err
	}
	return s.remove(ctx, p)
}
