package issuer

import (
	"context"
	"fmt"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// Stored is what storage has of issuers: for fsck, which reads what a Set refuses to load.
type Stored struct {
	Any      bool            // there is an issuer, or config/issuers
	IDs      map[string]bool // of issuers, deleted ones included, and those that they took over
	CAs      map[string]bool
	Problems []Problem
}

// Problem is something wrong with the record of one issuer.
type Problem struct {
	ID     string
	Text   string
	Notice bool // nothing is lost by it
}

// reading is a CheckStored under way.
type reading struct {
	Stored

	stored map[authority]string // the identifier of each CA as the first issuer stores it
	taken  map[string]string    // who has an id of a forgotten issuer
}

func (r *reading) broken(id, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{ID: id, Text: fmt.Sprintf(format, args...)})
}

// CheckStored reads the records of all issuers and returns what is wrong with them. An
// error is that of a List; a record that cannot be read is a problem.
func CheckStored(ctx context.Context, store kv.Store) (Stored, error) {
	records := kv.NewTable[record](store, layout.Issuer, recordVersion)
	names, err := records.Names(ctx)
	if err != nil {
		return Stored{}, err
	}
	r := reading{Stored: Stored{IDs: map[string]bool{}, CAs: map[string]bool{}}, stored: map[authority]string{}, taken: map[string]string{}}
	defaults, err := store.Get(ctx, layout.ConfigIssuers)
	if err != nil {
		return Stored{}, fmt.Errorf("reading %s: %w", layout.ConfigIssuers, err)
	}
	r.Any = len(names) > 0 || defaults != nil
	for _, id := range names {
		r.IDs[id] = true
	}
	for _, id := range names {
		stored, err := records.Get(ctx, id)
		if err == nil && stored != nil {
			err = r.record(id, stored)
		}
		if err != nil {
			r.broken(id, "%v", err)
		}
	}
	for former := range r.taken {
		r.IDs[former] = true
	}
	return r.Stored, nil
}

// record checks one record.
func (r *reading) record(id string, stored *record) error {
	view, err := viewOf(stored)
	if err != nil {
		return err
	}
	if stored.ID != id {
		r.broken(id, "holds issuer %q", stored.ID)
	}
	if !slices.Contains(States(), stored.State) {
		r.broken(id, "has the state %q, which this release does not know", stored.State)
	}
	if isID(view.Name()) {
		r.Problems = append(r.Problems, Problem{
			ID: id, Notice: true,
			Text: fmt.Sprintf("the name %s has the form of an id, and finds nothing: give issuer %s another name", view.Name(), id),
		})
	}
	for _, former := range stored.FormerIDs {
		other, taken := r.taken[former]
		switch {
		case taken:
			r.broken(id, "issuers %s and %s have both taken over the certificates of %s", other, id, former)
		case r.IDs[former]:
			r.broken(id, "has taken over the certificates of issuer %s, which is there", former)
		}
		r.taken[former] = id
	}
	if view.cert == nil {
		if stored.State != Pending {
			r.broken(id, "is %s and has no certificate", stored.State)
		}
		return nil
	}
	r.group(id, view)
	return nil
}

// group finds the CA of an issuer.
func (r *reading) group(id string, view *Issuer) {
	ca := view.record.CA
	if ca == "" {
		r.CAs[cert.AuthorityID(view.cert)] = true
		return
	}
	r.CAs[ca] = true
	of := authority{cert.NameKey(view.cert.RawSubject), view.key}
	if other, known := r.stored[of]; known && other != ca {
		r.broken(id, "is stored as an issuer of CA %s, and another issuer with its subject and key as one of CA %s", ca, other)
	}
	r.stored[of] = ca
}
