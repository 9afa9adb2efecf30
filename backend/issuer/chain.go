package issuer

import (
	"bytes"
	"crypto/x509"
	"slices"
)

// chainOf returns the chain of an issuer: the manual one when it is set and whole,
// otherwise parents found by name and signature until a self-issued certificate
// or one whose parent is not known.
func (n *snapshot) chainOf(start *Issuer) []*Issuer {
	if start.cert == nil {
		return nil
	}
	if manual := n.manualChain(start); manual != nil {
		return manual
	}
	return n.extend([]*Issuer{start})
}

// extend adds to a chain the parents found by name and signature.
func (n *snapshot) extend(chain []*Issuer) []*Issuer {
	for link := chain[len(chain)-1]; !link.SelfIssued(); {
		parent := n.parentOf(link)
		if parent == nil || slices.Contains(chain, parent) {
			break
		}
		chain = append(chain, parent)
		link = parent
	}
	return chain
}

// whole returns the chain under which certificates of an issuer are verified: its
// own, and the CAs above it that a manual chain leaves out, because their
// constraints hold all the same (ca-2).
func (n *snapshot) whole(view *Issuer) []*x509.Certificate {
	return certificates(n.extend(slices.Clone(view.chain)))
}

func (n *snapshot) manualChain(start *Issuer) []*Issuer {
	refs := start.Settings().ManualChain
	if len(refs) == 0 {
		return nil
	}
	chain := make([]*Issuer, 0, len(refs))
	for _, ref := range refs {
		if ref == "self" {
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

// parentOf returns the issuer whose key signed the certificate. Of several with the
// same name and key (a renewed or cross-signed CA) it prefers a self-issued one, so
// that the chain ends in a root, and then the one that lives longest.
func (n *snapshot) parentOf(child *Issuer) *Issuer {
	var best *Issuer
	for _, candidate := range n.ordered {
		if candidate.cert == nil || candidate == child || !signedBy(child.cert, candidate.cert) {
			continue
		}
		if best == nil || better(candidate, best) {
			best = candidate
		}
	}
	return best
}

func better(a, b *Issuer) bool {
	if a.SelfIssued() != b.SelfIssued() {
		return a.SelfIssued()
	}
	return a.cert.NotAfter.After(b.cert.NotAfter)
}

func signedBy(child, parent *x509.Certificate) bool {
	return bytes.Equal(child.RawIssuer, parent.RawSubject) && child.CheckSignatureFrom(parent) == nil
}
