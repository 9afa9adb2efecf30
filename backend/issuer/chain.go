package issuer

import (
	"bytes"
	"crypto/x509"
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
	chain := []*Issuer{start}
	seen := map[string]bool{start.ID(): true}
	for link := start; !link.SelfIssued(); {
		parent := n.parentOf(link)
		if parent == nil || seen[parent.ID()] {
			break
		}
		seen[parent.ID()] = true
		chain = append(chain, parent)
		link = parent
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
