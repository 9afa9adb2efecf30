package crl

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// Shows says which list tells what became of a certificate.
type Shows struct {
	// Number is that of the list; while it is not made, the least that it can have. 0:
	// no list will tell, see Settings.Disable and Unsigned.
	Number cert.CRLNumber
	// Unsigned says that no list will be made: the CA has no issuer that may sign CRLs.
	Unsigned bool
	// Left says that the certificate has expired and the lists need not have it any more.
	Left bool
	// Due is when the list is made; zero: it is there.
	Due time.Time
}

// Shows says which list of an issuer tells what became of a certificate, for a reason:
// the newest complete list, or the newest delta, or the one of them that is made next.
// It decides as Revoked does, and costs no storage operation once the heads were read.
func (s *Service) Shows(ctx context.Context, issuer string, serial cert.Serial, reason cert.Reason) (Shows, error) {
	issuer, err := s.ca(ctx, issuer)
	if err != nil {
		return Shows{}, err
	}
	r, err := s.rules(ctx)
	if err != nil || r.settings.Disable {
		return Shows{}, err
	}
	publishers, err := s.config.Source.Publishers(ctx)
	if err != nil {
		return Shows{}, fmt.Errorf("listing CAs that publish CRLs: %w", err)
	}
	if !slices.Contains(publishers, issuer) {
		return Shows{Unsigned: true}, nil
	}
	row, found, err := s.config.Ledger.Row(serial)
	found = found && err == nil // until the ledger is loaded no list can be told to have it
	reached := s.config.Ledger.Sequence()
	next, delay := Complete, r.delay
	kinds := []Kind{Complete}
	if r.deltas() {
		kinds = append(kinds, Delta)
		if !urgent(reason) {
			next, delay = Delta, r.interval
		}
	}
	now := s.config.Now()
	least := cert.CRLNumberFrom(now.Unix()) // numbers follow the clock, so that one restored from a backup does not repeat
	for _, kind := range kinds {
		head, err := s.head(ctx, issuer, kind)
		if err != nil {
			return Shows{}, err
		}
		if head == nil {
			continue
		}
		if found && row.Sequence <= head.Through && head.Through <= reached {
			if kind == Complete && row.NotAfter.Before(head.ThisUpdate) && now.After(row.NotAfter.Add(s.retentionOf(ctx, r, row.Profile))) {
				return Shows{Left: true}, nil
			}
			return Shows{Number: head.CRLNumber()}, nil
		}
		least = least.Max(head.CRLNumber().Next()) // a delta shares the numbers of the complete list
	}
	due := now
	if p := s.find(issuer, next); p != nil && !urgent(reason) {
		due = p.due(now, delay)
	}
	return Shows{Number: least, Due: due}, nil
}

// retentionOf returns how long after their expiry the lists have certificates of a profile.
func (s *Service) retentionOf(ctx context.Context, r *rules, profile string) time.Duration {
	t := &task{Service: s, rules: r, kept: map[string]time.Duration{}}
	return t.retention(ctx, profile)
}

// due returns when the list is made that has every change noted so far.
func (p *publication) due(now time.Time, delay time.Duration) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.agenda.dirty {
		return now // it is being made
	}
	return now.Add(max(p.agenda.left(now, delay), 0))
}
