package issuer

import (
	"context"
	"crypto/x509"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// An issuer is one certificate of a CA: a subject and a key (cert.AuthorityID). Whatever
// relying parties verify with that name and key, CRLs, their numbers, shards and OCSP
// responses, belongs to the CA and not to one of its certificates.

// CA returns the identifier of the CA that the issuer is a certificate of, "" while
// pending.
func (i *Issuer) CA() string { return i.ca }

// IDs returns the ids under which the ledger has certificates of the issuer: its own, and
// those of forgotten ones that it took over.
func (i *Issuer) IDs() []string { return append([]string{i.ID()}, i.FormerIDs...) }

// authority is what makes a CA: the subject as cert.NameKey returns it, and the key.
type authority struct {
	subject string
	key     cert.Fingerprint
}

// authorities is what a snapshot knows of CAs.
type authorities struct {
	ids       map[authority]string
	members   map[string][]*Issuer // the certificates of each CA by its id, the oldest first
	formerIDs map[string]*Issuer   // by what stands in FormerIDs
	answering []*Issuer            // see Answering
}

// authorityOf returns the identifier of the CA of a certificate: that of another issuer
// of the same CA where there is one, because it is stored and never changes, else the
// derived one.
func (n *snapshot) authorityOf(c *x509.Certificate) string {
	if id, known := n.ids[authority{cert.NameKey(c.RawSubject), keyOf(c)}]; known {
		return id
	}
	return cert.AuthorityID(c)
}

// groupByCA finds the CA of every issuer and which issuers each CA has, the oldest
// first.
func (n *snapshot) groupByCA() {
	n.members, n.ids = map[string][]*Issuer{}, map[authority]string{}
	of := func(view *Issuer) authority { return authority{view.node.subject, view.node.key} }
	for _, view := range n.ordered { // what is stored comes first
		if view.node != nil && view.record.CA != "" {
			n.ids[of(view)] = view.record.CA
		}
	}
	for _, view := range n.ordered {
		if view.node == nil {
			continue
		}
		id, known := n.ids[of(view)]
		if !known {
			id = cert.AuthorityID(view.cert)
			n.ids[of(view)] = id
		}
		view.ca = id
		n.members[id] = append(n.members[id], view)
	}
	n.findAnswering()
}

// CAs returns the identifiers of all CAs with an issuer that may be used so, deleted
// issuers included, in the order of their oldest issuers.
func (s *Set) CAs(ctx context.Context, use Usage) ([]string, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, i := range snap.ordered {
		if i.cert != nil && i.May(use) && !slices.Contains(ids, i.ca) {
			ids = append(ids, i.ca)
		}
	}
	return ids, nil
}

// CAOf returns the CA of an issuer, given by id, deleted or not. An identifier of
// something else, such as a CA, is returned as it is.
func (s *Set) CAOf(ctx context.Context, id string) (string, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return "", err
	}
	if i := snap.withID(id); i != nil && i.ca != "" {
		return i.ca, nil
	}
	return id, nil
}

// withID returns the issuer with an id, deleted or not, or the one that has taken over
// what is recorded under the id; nil for none.
func (n *snapshot) withID(id string) *Issuer {
	if i, found := n.byID[id]; found {
		return i
	}
	return n.formerIDs[id]
}

// IDs returns the ids under which the ledger has certificates of a CA: those of its
// issuers, deleted ones included, and of forgotten ones that they took over.
func (s *Set) IDs(ctx context.Context, ca string) ([]string, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return snap.recordedIDs(ca), nil
}

func (n *snapshot) recordedIDs(ca string) []string {
	ids := make([]string, 0, len(n.members[ca]))
	for _, i := range n.members[ca] {
		ids = append(ids, i.IDs()...)
	}
	return ids
}

// Members returns the issuers of a CA, deleted ones included, the oldest first. None
// for a CA that is not known.
func (s *Set) Members(ctx context.Context, ca string) ([]*Issuer, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Clone(snap.members[ca]), nil
}

// Signer returns the issuer in whose name a CA signs CRLs, OCSP responses or responder
// certificates: of those that may, the one that is nearest to being active, and then the
// one that lives longest. Denied when the CA has none.
func (s *Set) Signer(ctx context.Context, ca string, use Usage) (*Issuer, error) {
	members, err := s.Members(ctx, ca)
	if err != nil {
		return nil, err
	}
	if best := signerOf(members, use); best != nil {
		return best, nil
	}
	return nil, fault.New(fault.Denied, "no issuer of CA %s may be used for %s: see its usage, its state, and whether its key is in this mount", ca, use)
}

// signerOf chooses among the issuers of one CA as Signer does; nil for none.
func signerOf(members []*Issuer, use Usage) *Issuer {
	states := States()
	rank := func(i *Issuer) int { return slices.Index(states, i.State()) }
	var best *Issuer
	for _, i := range members {
		if !i.May(use) {
			continue
		}
		if best == nil || rank(i) < rank(best) || rank(i) == rank(best) && i.cert.NotAfter.After(best.cert.NotAfter) {
			best = i
		}
	}
	return best
}

// Answering returns the issuers whose certificates may be asked about by OCSP, deleted
// ones included, as far as they are in memory: those of one CA together, first the one in
// whose name it signs. Nil, not empty, when they are not loaded; the same slice while
// nothing changed, which nobody changes.
func (s *Set) Answering() []*Issuer {
	snap := s.snap.Load()
	if snap == nil {
		return nil
	}
	return snap.answering
}

// findAnswering fills in what Answering returns.
func (n *snapshot) findAnswering() {
	n.answering = []*Issuer{}
	for _, i := range n.ordered {
		members := n.members[i.ca]
		if i.cert == nil || i != members[0] {
			continue
		}
		best := signerOf(members, OCSPSigning)
		if best == nil {
			continue
		}
		n.answering = append(n.answering, best)
		for _, other := range members {
			if other != best {
				n.answering = append(n.answering, other)
			}
		}
	}
}

// Belongs reports whether an issuer, given by id, is a certificate of a CA. It touches
// no storage: Unavailable while the issuers are not loaded.
func (s *Set) Belongs(id, ca string) (bool, error) {
	snap := s.snap.Load()
	if snap == nil {
		return false, errLoading
	}
	i := snap.withID(id)
	return i != nil && i.ca == ca, nil
}

var errLoading = fault.New(fault.Unavailable, "the issuers are still loading; ask again in a moment")

// Current returns the issuer that has what is recorded under an id now: the one with the
// id, or the one that took it over. Nil for an id that is not known.
func (s *Set) Current(ctx context.Context, id string) (*Issuer, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return snap.withID(id), nil
}

// Published finds an issuer for those who fetch what certificates point to: a
// certificate, a CRL, OCSP. Beside what Get takes, it takes the identifier of a CA, an
// earlier name, and issuers that were deleted while certificates of theirs lived,
// because the URLs in these certificates do not change. NotFound when there is none, or
// it has no certificate yet.
func (s *Set) Published(ctx context.Context, ref string) (*Issuer, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	i, err := snap.get(ref)
	if fault.Is(err, fault.NotFound) {
		if former := snap.former(ref); former != nil {
			return former, nil
		}
	}
	if err == nil && i.cert == nil {
		return nil, fault.New(fault.NotFound, "issuer %s has no certificate yet", ref)
	}
	return i, err
}

// former finds what Published takes and get does not; nil for none.
func (n *snapshot) former(ref string) *Issuer {
	if i := n.withID(ref); i != nil && i.cert != nil {
		return i
	}
	if members := n.members[ref]; len(members) > 0 {
		for _, use := range []Usage{CRLSigning, OCSPSigning} {
			if i := signerOf(members, use); i != nil {
				return i
			}
		}
		return members[len(members)-1]
	}
	for _, i := range n.ordered {
		if i.State() == Deleted && i.Name() == ref {
			return i
		}
	}
	for _, i := range n.ordered {
		if slices.Contains(i.FormerNames, ref) {
			return i
		}
	}
	return nil
}
