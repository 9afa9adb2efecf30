package issuer

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// maxAttempts is how many different keys of CAs with the right name are tried for one
// certificate (dos-1). Its own key and the key with the right identifier come first.
const maxAttempts = 8

// node is one CA certificate among others.
type node struct {
	cert            *x509.Certificate
	der, key        cert.Fingerprint
	subject, issuer string // as cert.NameKey returns them
	// parents are the certificates of the CA that signed this one, in the order of
	// the lineage: all with its name and key. Nil for a self-signed certificate, where
	// every path ends, and for one whose CA is not known.
	parents    []*node
	selfSigned bool
	// unsettled says that maxAttempts keys were tried in vain and more are there.
	unsettled bool
}

// lineage is a set of CA certificates of which each knows the ones that signed it.
type lineage struct {
	nodes     []*node
	bySubject map[string][]*node
}

// signature is a certificate and a public key with which it may be signed.
type signature struct{ child, key cert.Fingerprint }

// proofs remembers which key signed which certificate, so that no signature is
// verified twice, however often issuers are loaded.
type proofs struct {
	known    map[signature]bool
	verified int // signatures verified so far
}

// signed reports whether the parent's key signed the child.
func (p *proofs) signed(child, parent *node) bool {
	pair := signature{child.der, parent.key}
	if verdict, ok := p.known[pair]; ok {
		return verdict
	}
	if p.known == nil {
		p.known = map[signature]bool{}
	}
	p.verified++
	c := child.cert
	verdict := parent.cert.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
	p.known[pair] = verdict
	return verdict
}

// forget drops what is remembered of certificates that are not in the lineage, such
// as those of refused imports.
func (p *proofs) forget(but *lineage) {
	stays := make(map[cert.Fingerprint]bool, len(but.nodes))
	for _, n := range but.nodes {
		stays[n.der] = true
	}
	for pair := range p.known {
		if !stays[pair.child] {
			delete(p.known, pair)
		}
	}
}

// newLineage finds who signed whom. The order of certificates is the order in which
// candidates are tried: oldest first, so that later imports displace nobody.
func newLineage(certs []*x509.Certificate, known *proofs) *lineage {
	l := &lineage{bySubject: map[string][]*node{}}
	for _, c := range certs {
		n := &node{cert: c, der: cert.FingerprintOf(c.Raw), key: keyOf(c), subject: cert.NameKey(c.RawSubject)}
		n.issuer = n.subject
		if !bytes.Equal(c.RawIssuer, c.RawSubject) {
			n.issuer = cert.NameKey(c.RawIssuer)
		}
		l.nodes = append(l.nodes, n)
		l.bySubject[n.subject] = append(l.bySubject[n.subject], n)
	}
	for _, n := range l.nodes {
		l.settle(n, known)
	}
	return l
}

// keyOf identifies the public key of a certificate. One of a kind that is not known is
// like no other.
func keyOf(c *x509.Certificate) cert.Fingerprint {
	key, err := cert.KeyFingerprint(c.PublicKey)
	if err != nil {
		return cert.FingerprintOf(c.Raw)
	}
	return key
}

// settle finds the parents of a certificate by name, key identifier and signature.
// The identifier only orders the candidates: a constraint of the CA that really signed
// must not vanish because of it.
func (l *lineage) settle(n *node, known *proofs) {
	candidates := l.bySubject[n.issuer]
	ranks := []func(*node) bool{
		func(c *node) bool { return c.key == n.key },
		func(c *node) bool { return len(n.cert.AuthorityKeyId) > 0 && accords(n.cert, c.cert) },
		func(*node) bool { return true },
	}
	tried := map[cert.Fingerprint]bool{}
	named := len(n.cert.AuthorityKeyId) > 0
	for rank, fits := range ranks {
		for _, candidate := range candidates {
			if tried[candidate.key] || !fits(candidate) {
				continue
			}
			if len(tried) == maxAttempts {
				// Beyond the identifier only certificates of earlier releases have their
				// parent, and that one is older than what else has its name.
				n.unsettled = !named || rank < len(ranks)-1
				return
			}
			tried[candidate.key] = true
			if !known.signed(n, candidate) {
				continue
			}
			if n.selfSigned = candidate.key == n.key; !n.selfSigned {
				n.parents = slices.DeleteFunc(slices.Clone(candidates), func(c *node) bool { return c.key != candidate.key })
			}
			return
		}
	}
}

// above returns the CA certificates above one on all known paths, nearest first.
func (n *node) above() []sign.Ancestor {
	var found []sign.Ancestor
	seen := map[*node]bool{n: true}
	for level, distance := n.parents, 1; len(level) > 0; distance++ {
		var next []*node
		for _, parent := range level {
			if seen[parent] {
				continue
			}
			seen[parent] = true
			found = append(found, sign.Ancestor{Certificate: parent.cert, Distance: distance})
			next = append(next, parent.parents...)
		}
		level = next
	}
	return found
}

// accords reports whether the authorityKeyIdentifier of a certificate, as far as it
// has one, is that of its issuer (RFC 5280 section 4.2.1.1).
func accords(child, parent *x509.Certificate) bool {
	if len(child.AuthorityKeyId) > 0 && len(parent.SubjectKeyId) > 0 && !bytes.Equal(child.AuthorityKeyId, parent.SubjectKeyId) {
		return false
	}
	serial := authoritySerial(child)
	return serial == nil || serial.Cmp(parent.SerialNumber) == 0
}

// authoritySerial returns authorityCertSerialNumber of the authorityKeyIdentifier, nil
// without one.
func authoritySerial(c *x509.Certificate) *big.Int {
	at := slices.IndexFunc(c.Extensions, func(e extension) bool { return e.Id.Equal(oidAuthorityKeyID) })
	if at < 0 {
		return nil
	}
	var identifier struct {
		KeyID  []byte        `asn1:"optional,tag:0"`
		Issuer asn1.RawValue `asn1:"optional,tag:1"`
		Serial *big.Int      `asn1:"optional,tag:2"`
	}
	if _, err := asn1.Unmarshal(c.Extensions[at].Value, &identifier); err != nil {
		return nil
	}
	return identifier.Serial
}

var oidAuthorityKeyID = asn1.ObjectIdentifier{2, 5, 29, 35}
