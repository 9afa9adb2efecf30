package issuer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Live says what lives of the certificates that some issuers have signed.
type Live struct {
	Count int       // certificates that have not expired, revoked or not
	Until time.Time // when the last of them expires
}

// DeleteOptions say how an issuer is deleted.
type DeleteOptions struct {
	// Force deletes the last usable issuer of a CA although certificates of it live.
	Force bool
}

// Deletion is what became of a deleted issuer.
type Deletion struct {
	ID         string
	CA         string // "" of one that was pending
	WasDefault bool
	// Kept says that the certificate goes on being served, and CRLs and OCSP responses
	// being signed, until the last certificate of the CA expires.
	Kept bool
	// Gone says that nothing is left of the CA: its certificate has expired.
	Gone bool
	Live Live
}

// Delete removes an issuer from what is listed and issues; its key stays.
//
// Relying parties go on asking about certificates that it has signed. So its certificate
// stays, hidden, and its CA goes on signing CRLs and OCSP responses, until Purge finds
// that nobody needs it. Conflict for the last issuer of a CA that can sign while
// certificates of that CA live, unless forced (ca-6). A revoked one stays until its
// certificate expires: deleted, it could be imported as if nothing had happened (ca-4).
func (s *Set) Delete(ctx context.Context, ref string, options DeleteOptions) (Deletion, error) {
	var done Deletion
	err := s.change(ctx, func(snap *snapshot) error {
		target, err := snap.get(ref)
		if err != nil {
			return err
		}
		done = Deletion{ID: target.ID(), CA: target.ca}
		if target.State() == Revoked && s.Now().Before(target.cert.NotAfter) {
			return fault.New(fault.Conflict, "issuer %s was revoked and stays until its certificate expires at %s",
				target.ID(), target.cert.NotAfter.UTC().Format(time.RFC3339))
		}
		expired := target.cert != nil && !s.Now().Before(target.cert.NotAfter)
		if target.cert != nil && !expired {
			if done.Live, err = s.live(ctx, snap, target.ca); err != nil {
				return err
			}
			if err := snap.checkDelete(target, done.Live, options); err != nil {
				return err
			}
		}
		if snap.defaults.Default == target.ID() {
			done.WasDefault = true
			if err := s.defaults.Put(ctx, single, &Defaults{FollowsLatest: snap.defaults.FollowsLatest}); err != nil {
				return err
			}
		}
		done.Gone = expired && s.ended(snap.members[target.ca], target)
		if target.cert == nil || done.Gone { // nobody asks any more
			return s.remove(ctx, snap.members[target.ca], target)
		}
		// One that has expired is hidden too while its CA has other issuers: rows name it,
		// such as those of an imported CRL, and the CRL goes on listing them.
		done.Kept = done.Live.Count > 0
		next := target.record
		next.CA, next.State, next.DeletedAt = target.ca, Deleted, s.Now().Unix()
		next.NamesFree = !done.Kept // a certificate that is being issued may carry them
		return s.records.Put(ctx, next.ID, &next)
	})
	return done, err
}

// ended reports whether all issuers of a CA but one are deleted and expired.
func (s *Set) ended(members []*Issuer, but *Issuer) bool {
	return !slices.ContainsFunc(members, func(i *Issuer) bool {
		return i != but && (i.State() != Deleted || s.Now().Before(i.cert.NotAfter))
	})
}

// remove removes the record of an issuer, after those of the hidden issuers of its CA: if
// we crash in between, the same call does the rest.
func (s *Set) remove(ctx context.Context, hidden []*Issuer, target *Issuer) error {
	for _, i := range hidden {
		if i == target {
			continue
		}
		if err := s.records.Delete(ctx, i.ID()); err != nil {
			return fmt.Errorf("deleting issuer %s: %w", i.ID(), err)
		}
	}
	return s.records.Delete(ctx, target.ID())
}

// checkDelete refuses to end a CA that live certificates depend on.
func (n *snapshot) checkDelete(target *Issuer, live Live, options DeleteOptions) error {
	if live.Count == 0 || options.Force || target.KeyID() == "" {
		return nil
	}
	for _, other := range n.members[target.ca] {
		if other != target && other.KeyID() != "" && other.State() != Deleted && other.State() != Revoked {
			return nil
		}
	}
	return fault.New(fault.Conflict, "issuer %s is the last one of its CA, and %d certificates of it have not expired, the last until %s: "+
		"retire it instead (issuer/%s/retire), or delete it with force=true. Then nothing is issued any more; its CRL and OCSP go on while its key stays",
		target.ID(), live.Count, live.Until.UTC().Format(time.RFC3339), target.ID())
}

// live returns what lives of the certificates of a CA.
func (s *Set) live(ctx context.Context, snap *snapshot, ca string) (Live, error) {
	if s.Config.Live == nil {
		return Live{}, nil
	}
	return s.Config.Live(ctx, snap.recordedIDs(ca))
}

// purgeAfter is how long a deleted issuer is kept at least: a request that began before
// the deletion may still record a certificate of it.
const purgeAfter = time.Hour

// Purge removes deleted issuers that nobody needs any more: none of whose CA's
// certificates is on record. It returns the CAs of which nothing is left.
func (s *Set) Purge(ctx context.Context, recorded func(issuers []string) (bool, error)) (gone []string, err error) {
	snap, err := s.current(ctx)
	if err != nil || !slices.ContainsFunc(snap.ordered, func(i *Issuer) bool { return i.State() == Deleted }) {
		return nil, err
	}
	err = s.change(ctx, func(snap *snapshot) error {
		for ca, members := range snap.members {
			deleted := 0
			for _, i := range members {
				if i.State() == Deleted && !s.Now().Before(time.Unix(i.DeletedAt, 0).Add(purgeAfter)) {
					deleted++
				}
			}
			if deleted < len(members) {
				continue
			}
			needed, err := recorded(snap.recordedIDs(ca))
			if err != nil {
				return err
			}
			if needed || snap.above(members) {
				continue
			}
			for _, i := range members {
				if err := s.records.Delete(ctx, i.ID()); err != nil {
					return fmt.Errorf("deleting issuer %s: %w", i.ID(), err)
				}
			}
			gone = append(gone, ca)
		}
		return nil
	})
	return gone, err
}

// above reports whether a CA has signed the certificate of an issuer of another one.
func (n *snapshot) above(members []*Issuer) bool {
	return slices.ContainsFunc(n.ordered, func(child *Issuer) bool {
		return child.State() != Deleted && slices.ContainsFunc(child.parents, func(parent *Issuer) bool { return slices.Contains(members, parent) })
	})
}

// Revoke ends an issuer and every other one that has its key: a CA is revoked as
// compromised, and what is compromised is the key. They never issue again and are no
// longer the default. Relying parties learn it from the CRLs of their parent CAs, of
// issuers that were deleted too. The issuer that was named comes first.
//
// If we crash in between, some of them are not called revoked, and issue no more all
// the same (Issuer.May): the same call does the rest.
func (s *Set) Revoke(ctx context.Context, ref string) ([]*Issuer, error) {
	var ids []string
	err := s.change(ctx, func(snap *snapshot) error {
		target, err := snap.get(ref)
		if err != nil {
			return err
		}
		ids = []string{target.ID()}
		if err := s.end(ctx, snap, target); err != nil {
			return err
		}
		for _, twin := range snap.ordered {
			if twin == target || twin.key != target.key || twin.KeyID() == "" || twin.cert == nil {
				continue
			}
			ids = append(ids, twin.ID())
			if twin.State() == Deleted { // it stays so: the key bars its way back (checkKey)
				continue
			}
			if err := s.end(ctx, snap, twin); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("moving issuer %s to %s: %w", ref, Revoked, err)
	}
	ended := make([]*Issuer, 0, len(ids))
	for _, id := range ids {
		i, err := s.Current(ctx, id) // Get finds no deleted one
		if err != nil {
			return nil, err
		}
		if i != nil {
			ended = append(ended, i)
		}
	}
	return ended, nil
}

// end writes that one issuer is revoked.
func (s *Set) end(ctx context.Context, snap *snapshot, target *Issuer) error {
	if target.State() == Revoked {
		return nil
	}
	next := target.record
	next.RevokedAt = s.Now().Unix()
	next.Settings.Usage = slices.DeleteFunc(slices.Clone(next.Settings.Usage), func(u string) bool { return u == string(Issuing) })
	return s.transit(ctx, snap, target, &next, Revoked)
}

// transitions says which states may follow which by an operator's word. Every one but
// the last has a way back.
var transitions = map[State][]State{
	Active:   {Retiring, Retired, Revoked},
	Retiring: {Active, Retired, Revoked},
	Retired:  {Active, Retiring, Revoked},
}

// Retire lets an issuer issue no more: to names the state, Retiring or Retired. Asking
// again changes nothing, and Retiring leaves an issuer that is Retired as it is.
// Conflict for Retired while certificates of its CA live.
func (s *Set) Retire(ctx context.Context, ref string, to State) (*Issuer, error) {
	if to != Retiring && to != Retired {
		return nil, fault.Field("state", "must be retiring or retired")
	}
	target, err := s.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	if target.State() == Retired {
		return target, nil
	}
	return s.move(ctx, target.ID(), to)
}

// Activate moves a retiring or retired issuer back to active.
func (s *Set) Activate(ctx context.Context, ref string) (*Issuer, error) {
	return s.move(ctx, ref, Active)
}

func (s *Set) move(ctx context.Context, ref string, to State) (*Issuer, error) {
	var id string
	err := s.change(ctx, func(snap *snapshot) error {
		target, err := snap.get(ref)
		if err != nil {
			return err
		}
		id = target.ID()
		if target.State() == to {
			return nil
		}
		next := target.record
		return s.transit(ctx, snap, target, &next, to)
	})
	if err != nil {
		return nil, fmt.Errorf("moving issuer %s to %s: %w", ref, to, err)
	}
	return s.Get(ctx, id)
}

// transit writes next, the record of target, with another state.
func (s *Set) transit(ctx context.Context, snap *snapshot, target *Issuer, next *record, to State) error {
	if err := s.checkMove(ctx, snap, target, to); err != nil {
		return err
	}
	next.State = to
	if to != Active && snap.defaults.Default == target.ID() {
		if err := s.defaults.Put(ctx, single, &Defaults{FollowsLatest: snap.defaults.FollowsLatest}); err != nil {
			return err
		}
	}
	return s.records.Put(ctx, next.ID, next)
}

// checkMove refuses a change of state that is none, or that live certificates forbid.
func (s *Set) checkMove(ctx context.Context, snap *snapshot, target *Issuer, to State) error {
	if !slices.Contains(transitions[target.State()], to) {
		return fault.New(fault.Conflict, "issuer %s is %s and cannot become %s", target.ID(), target.State(), to)
	}
	if to == Active && !s.Now().Before(target.cert.NotAfter) {
		return fault.New(fault.Conflict, "the certificate of issuer %s expired at %s", target.ID(), target.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if to != Retired {
		return nil
	}
	live, err := s.live(ctx, snap, target.ca)
	if err != nil {
		return err
	}
	if live.Count > 0 {
		return fault.New(fault.Conflict, "%d certificates of the CA of issuer %s have not expired, the last until %s: it stays retiring until then",
			live.Count, target.ID(), live.Until.UTC().Format(time.RFC3339))
	}
	return nil
}
