package issuer

import (
	"context"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// planReturn brings a deleted issuer back whose certificate is imported again: with its
// id and names, which URLs in certificates carry.
func (s *Set) planReturn(ctx context.Context, snap *snapshot, p *plan, deleted *Issuer) error {
	key, err := s.Ring.FindPublic(ctx, deleted.cert.PublicKey)
	if err != nil {
		return err
	}
	back := deleted.record
	back.State, back.KeyID, back.DeletedAt, back.NamesFree = External, "", 0, false
	if key != nil {
		back.State, back.KeyID = Active, key.ID
	}
	// Meanwhile another issuer of the CA may have taken the name.
	if snap.checkName(deleted, back.Settings.Name) != nil || p.names(back.Settings.Name) {
		back.Settings.Name = ""
	}
	p.add(&back, deleted.cert)
	return nil
}

// names reports whether an issuer of the plan has a name.
func (p *plan) names(name string) bool {
	return slices.ContainsFunc(p.records, func(r *record) bool { return strings.EqualFold(r.Settings.Name, name) })
}

// maxFormerNames bounds the names that an issuer has had.
const maxFormerNames = 16

// keepName notes the name that an issuer had, while certificates live whose URLs may
// carry it.
func (s *Set) keepName(ctx context.Context, snap *snapshot, target *Issuer, next *record) error {
	had := target.Name()
	next.FormerNames = slices.DeleteFunc(slices.Clone(next.FormerNames), func(name string) bool { return name == next.Settings.Name })
	if had == "" || had == next.Settings.Name || target.cert == nil {
		return nil
	}
	live, err := s.live(ctx, snap, target.ca)
	if err != nil && !fault.Is(err, fault.Unavailable) {
		return err
	}
	if err == nil && live.Count == 0 {
		return nil
	}
	if len(next.FormerNames) >= maxFormerNames {
		return fault.Field("issuer_name", "issuer %s has had %d names that certificates may carry in URLs: keep to %q", target.ID(), maxFormerNames+1, had)
	}
	next.FormerNames = append(next.FormerNames, had)
	return nil
}

// TakeOver makes an issuer the one of what the ledger has recorded under the id of an
// issuer that storage has forgotten. Doing it again changes nothing.
func (s *Set) TakeOver(ctx context.Context, id, lost string) error {
	return s.change(ctx, func(snap *snapshot) error {
		heir, found := snap.byID[id]
		if !found || heir.cert == nil || snap.withID(lost) != nil {
			return nil
		}
		next := heir.record
		next.CA, next.FormerIDs = heir.ca, append(slices.Clone(next.FormerIDs), lost)
		return s.records.Put(ctx, id, &next)
	})
}
