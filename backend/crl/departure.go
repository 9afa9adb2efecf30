package crl

import (
	"context"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// Departure says which revoked certificates of an issuer no list needs any more.
type Departure struct {
	complete Head
	shards   map[int][]Head // by count, then index; the zero Head: none is made
	stays    func(profile string) time.Duration
	now      time.Time
	reached  uint64 // the ledger's sequence number, see task.ahead
}

// Departure returns what decides on the revoked certificates of an issuer now. Lists
// that are made later count in the next. It costs no storage operation once the heads
// were read.
func (s *Service) Departure(ctx context.Context, issuer string) (*Departure, error) {
	issuer, err := s.ca(ctx, issuer)
	if err != nil {
		return nil, err
	}
	r, err := s.rules(ctx)
	if err != nil {
		return nil, err
	}
	d := &Departure{shards: map[int][]Head{}, now: s.config.Now(), reached: s.config.Ledger.Sequence()}
	if d.complete, err = s.Newest(ctx, issuer); err != nil {
		return nil, err
	}
	live, err := s.live(ctx, issuer)
	if err != nil {
		return nil, err
	}
	for _, scope := range live {
		heads := make([]Head, scope.count)
		for index := range heads {
			head, err := s.head(ctx, issuer, ShardKind(scope.count, index))
			if err != nil {
				return nil, err
			}
			if head != nil {
				heads[index] = *head
			}
		}
		d.shards[scope.count] = heads
	}
	t := &task{Service: s, rules: r, kept: map[string]time.Duration{}}
	d.stays = func(profile string) time.Duration { return t.retention(ctx, profile) }
	return d, nil
}

// Gone reports whether every list that a relying party may ask has shown the certificate
// after its end (RFC 5280 section 3.3), and the time is over for which it is kept.
func (d *Departure) Gone(row *ledger.Row) bool {
	shown := func(head *Head) bool {
		return head.Through <= d.reached && row.Sequence <= head.Through && head.ThisUpdate.After(row.NotAfter)
	}
	if !shown(&d.complete) {
		return false
	}
	for count, heads := range d.shards {
		if !shown(&heads[shardOf(row.Serial, count)]) {
			return false
		}
	}
	return d.now.After(row.NotAfter.Add(d.stays(row.Profile)))
}
