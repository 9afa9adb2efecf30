package issuer

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

type extension = pkix.Extension

// link finds parents, chains and checks of all issuers. known holds the signatures
// that were verified before.
func (n *snapshot) link(known *proofs) {
	certified := slices.DeleteFunc(slices.Clone(n.ordered), func(i *Issuer) bool { return i.cert == nil })
	n.lineage = newLineage(certificates(certified), known)
	known.forget(n.lineage)
	views := make(map[*node]*Issuer, len(certified))
	for at, view := range certified {
		view.node = n.lineage.nodes[at]
		views[view.node] = view
	}
	for _, view := range certified {
		view.parents = make([]*Issuer, 0, len(view.node.parents))
		for _, parent := range view.node.parents {
			view.parents = append(view.parents, views[parent])
		}
	}
	for _, view := range certified {
		view.chain = n.chainOf(view)
		above := view.node.above()
		view.usable = sign.Usable(view.cert, above)
		if view.node.unsettled {
			view.usable = fault.New(fault.Conflict, "more than %d keys carry the name of the CA that signed issuer %s: delete the certificates that did not", maxAttempts, view.ID())
		}
		view.within = sign.Within(view.cert, above)
		if view.usable != nil {
			view.within = sign.Refuse(view.usable)
		}
	}
}

// chainOf returns the chain that clients get with certificates of an issuer: the
// manual one when it is set and complete, otherwise parents up to a self-signed
// certificate or one whose parent is not known. What may be issued does not depend
// on it.
func (n *snapshot) chainOf(start *Issuer) []*Issuer {
	if manual := n.manualChain(start); manual != nil {
		return manual
	}
	chain := []*Issuer{start}
	for link := start.Parent(); link != nil && !slices.Contains(chain, link); link = link.Parent() {
		chain = append(chain, link)
	}
	return chain
}

func (n *snapshot) manualChain(start *Issuer) []*Issuer {
	refs := start.Settings().ManualChain
	if len(refs) == 0 {
		return nil
	}
	chain := make([]*Issuer, 0, len(refs))
	for _, ref := range refs {
		if ref == selfRef {
			ref = start.ID()
		}
		link, err := n.get(ref)
		if err != nil || link.cert == nil {
			return nil
		}
		chain = append(chain, link)
	}
	return chain
}

// Parent returns the issuer that signed this one, or nil when the mount knows none. Of
// several with the same name and key (a renewed or cross-signed CA) it is the one that
// the key identifier means, then a self-signed one, so that the chain ends in a root,
// then the one that lives longest.
func (i *Issuer) Parent() *Issuer {
	var best *Issuer
	for _, candidate := range i.parents {
		if candidate.State() == Deleted && i.State() != Deleted {
			continue
		}
		if best == nil || i.prefers(candidate, best) {
			best = candidate
		}
	}
	return best
}

func (i *Issuer) prefers(a, b *Issuer) bool {
	if left, right := accords(i.cert, a.cert), accords(i.cert, b.cert); left != right {
		return left
	}
	if a.SelfSigned() != b.SelfSigned() {
		return a.SelfSigned()
	}
	return a.cert.NotAfter.After(b.cert.NotAfter)
}

// SelfSigned reports whether the certificate is signed with its own key.
func (i *Issuer) SelfSigned() bool { return i.node != nil && i.node.selfSigned }

// checkManualChain holds a manual chain to what clients can use: the issuer first, then
// only CAs that are above a certificate before them, or the same CA as one. Several
// paths may stand one after the other.
func (n *snapshot) checkManualChain(target *Issuer, refs []string) error {
	var chain []*Issuer
	for at, ref := range refs {
		if ref == selfRef {
			ref = target.ID()
		}
		link, err := n.get(ref)
		if err != nil {
			return fault.FieldOf(fault.Invalid, "manual_chain", "%w", err)
		}
		switch {
		case at == 0 && link != target:
			return fault.Field("manual_chain", "must start with the issuer itself")
		case link.cert == nil:
			return fault.Field("manual_chain", "issuer %s has no certificate yet", ref)
		case slices.Contains(chain, link):
			return fault.Field("manual_chain", "issuer %s is listed twice", ref)
		case at > 0 && !slices.ContainsFunc(chain, func(before *Issuer) bool {
			return slices.Contains(before.parents, link) || sameCA(before.node, link.node)
		}):
			return fault.Field("manual_chain", "issuer %s signed none of the certificates before it; list each certificate after one that it signed", ref)
		}
		chain = append(chain, link)
	}
	return nil
}

// sameCA reports whether two certificates are of one CA: subject and key.
func sameCA(a, b *node) bool { return a.subject == b.subject && a.key == b.key }

func certificates(chain []*Issuer) []*x509.Certificate {
	certs := make([]*x509.Certificate, 0, len(chain))
	for _, link := range chain {
		certs = append(certs, link.cert)
	}
	return certs
}
