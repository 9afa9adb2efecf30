package issuer

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// relations is what an import would make of the mount: its certificates and those of
// the bundle, each with the ones that signed it.
type relations struct {
	*lineage
	snap   *snapshot
	plan   *plan
	bundle []*node // the certificates of the bundle, known ones included
	fresh  map[*node]*record
}

// relate finds how the certificates of a bundle and of the mount are related.
func (s *Set) relate(snap *snapshot, p *plan, certs []*x509.Certificate) *relations {
	all := make([]*x509.Certificate, 0, len(snap.lineage.nodes)+len(p.records))
	for _, n := range snap.lineage.nodes {
		all = append(all, n.cert)
	}
	place := make([]int, len(p.records)) // in all
	for i, record := range p.records {
		if back := snap.byID[record.ID]; back != nil && back.node != nil { // deleted, and returns
			place[i] = slices.Index(snap.lineage.nodes, back.node)
			continue
		}
		place[i] = len(all)
		all = append(all, p.added[i])
	}
	r := &relations{lineage: newLineage(all, &s.proofs), snap: snap, plan: p, fresh: map[*node]*record{}}
	for i, record := range p.records {
		r.fresh[r.nodes[place[i]]] = record
	}
	for _, n := range r.nodes {
		if slices.ContainsFunc(certs, n.cert.Equal) {
			r.bundle = append(r.bundle, n)
		}
	}
	return r
}

// check refuses a bundle whose certificates do not belong together, or after which a
// relying party would reject what an issuer signs.
func (r *relations) check(request ImportRequest) error {
	for at, n := range r.nodes {
		known := at < len(r.snap.lineage.nodes)
		if n.unsettled && !(known && r.snap.lineage.nodes[at].unsettled) {
			return fault.Field("certificate", "more than %d keys carry the name of the CA that signed %q: import fewer certificates with the subject %q",
				maxAttempts, n.cert.Subject, n.cert.Issuer)
		}
		if err := r.checkIdentifier(n); err != nil {
			return err
		}
		if err := r.checkUsable(at, n); err != nil {
			return err
		}
	}
	return r.checkRelated(request)
}

// checkIdentifier refuses a certificate whose authorityKeyIdentifier is not that of the
// CA that signed it: openssl and GnuTLS find no path there, though the signature is
// right. It says so for the certificate that comes second, whichever that is.
func (r *relations) checkIdentifier(n *node) error {
	signers := n.parents
	if n.selfSigned {
		signers = []*node{n}
	}
	isNew := r.fresh[n] != nil || slices.ContainsFunc(signers, func(parent *node) bool { return r.fresh[parent] != nil })
	if len(signers) == 0 || !isNew || slices.ContainsFunc(signers, func(parent *node) bool { return accords(n.cert, parent.cert) }) {
		return nil
	}
	signer := signers[0].cert
	if !bytes.Equal(n.cert.AuthorityKeyId, signer.SubjectKeyId) {
		return fault.Field("certificate", "%q has the authorityKeyIdentifier %s, but %q, which signed it, has the subjectKeyIdentifier %s: "+
			"openssl and GnuTLS reject this chain, have the certificate issued again", n.cert.Subject, hex.EncodeToString(n.cert.AuthorityKeyId),
			signer.Subject, hex.EncodeToString(signer.SubjectKeyId))
	}
	return fault.Field("certificate", "the authorityKeyIdentifier of %q names the serial number %s, but %q, which signed it, has %s: "+
		"openssl rejects this chain, have the certificate issued again", n.cert.Subject, cert.SerialOf(authoritySerial(n.cert)),
		signer.Subject, cert.SerialOf(signer.SerialNumber))
}

// checkUsable refuses an import after which an issuer with a key could issue nothing,
// because of its certificate or of a CA above.
func (r *relations) checkUsable(at int, n *node) error {
	if record := r.fresh[n]; record != nil {
		if record.KeyID == "" {
			return nil
		}
	} else if view := r.snap.of(at); view == nil || view.usable != nil || view.KeyID() == "" {
		return nil //nolint:nilerr // it could issue nothing before
	}
	if err := sign.Usable(n.cert, n.above()); err != nil {
		return fault.FieldOf(fault.Invalid, "certificate", "%q could issue nothing: %w", n.cert.Subject.String(), err)
	}
	return nil
}

// of returns the issuer of a node of the snapshot's lineage.
func (n *snapshot) of(at int) *Issuer {
	i := slices.IndexFunc(n.ordered, func(view *Issuer) bool { return view.node == n.lineage.nodes[at] })
	if i < 0 {
		return nil
	}
	return n.ordered[i]
}

// checkRelated refuses certificates that are not above the CAs whose keys are here, by
// any path. A bundle without such a CA is a collection of trust anchors and
// intermediates, which need no relation; with private keys it must have one.
func (r *relations) checkRelated(request ImportRequest) error {
	anchors := r.anchors()
	if len(anchors) == 0 {
		if len(r.plan.keys) > 0 && len(r.bundle) > 0 {
			return fault.Field("pem_bundle", "none of the certificates has the public key of the private key")
		}
		return nil
	}
	related := map[*node]bool{}
	for queue := anchors; len(queue) > 0; queue = queue[1:] {
		if !related[queue[0]] {
			related[queue[0]] = true
			queue = append(queue, queue[0].parents...)
		}
	}
	for _, n := range r.bundle {
		if !related[n] {
			return fault.Field(request.field(), "%q (serial number %s) is not above the imported CA %q on any path: leave it out of the bundle. "+
				"A CA that is meant to be trusted by itself goes through issuers/import/cert", n.cert.Subject, cert.SerialOf(n.cert.SerialNumber), anchors[0].cert.Subject)
		}
	}
	return nil
}

// anchors returns the certificates whose keys are in the mount or in the bundle: of the
// bundle all, of the mount those that the bundle's private keys belong to.
func (r *relations) anchors() []*node {
	imported := map[cert.Fingerprint]bool{}
	for _, key := range r.plan.keys {
		imported[key.public] = true
	}
	var found []*node
	for _, n := range r.nodes {
		inBundle := slices.Contains(r.bundle, n)
		if imported[n.key] || inBundle && r.hasKey(n) {
			found = append(found, n)
		}
	}
	return found
}

// hasKey reports whether the mount has the key of a certificate of the bundle.
func (r *relations) hasKey(n *node) bool {
	if record := r.fresh[n]; record != nil {
		return record.KeyID != ""
	}
	return slices.ContainsFunc(slices.Concat(r.plan.existing, r.plan.bound), func(known *record) bool {
		return known.KeyID != "" && bytes.Equal(known.Certificate, n.cert.Raw)
	})
}

// warnings says what relying parties may stumble over.
func (r *relations) warnings() []string {
	var texts []string
	add := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	for _, n := range r.bundle {
		if r.fresh[n] == nil {
			continue
		}
		if top := n.missing(); top != nil {
			add("The chain of %q is incomplete: the certificate of %q is not in this mount. Import it with issuers/import/cert.", n.cert.Subject, top.Issuer)
		}
		if len(n.parents) > 0 && !slices.ContainsFunc(n.parents, func(parent *node) bool { return bytes.Equal(parent.cert.RawSubject, n.cert.RawIssuer) }) {
			add("%q names its issuer in another encoding than that CA names itself. The names are equal by RFC 5280, "+
				"but clients that compare them byte by byte, such as Go and GnuTLS, find no chain.", n.cert.Subject)
		}
		if record := r.fresh[n]; record.KeyID != "" && !signsCRLs(n.cert) {
			add("%q lacks the key usage cRLSign: this issuer does not sign CRLs, and its usage has no crl-signing.", n.cert.Subject)
		}
	}
	return texts
}

// missing returns a certificate at which all paths end before a self-signed one, nil
// when a path is complete.
func (n *node) missing() *x509.Certificate {
	top := n.cert
	seen := map[*node]bool{}
	for queue := []*node{n}; len(queue) > 0; queue = queue[1:] {
		if queue[0].selfSigned {
			return nil
		}
		if seen[queue[0]] {
			continue
		}
		seen[queue[0]], top = true, queue[0].cert
		queue = append(queue, queue[0].parents...)
	}
	return top
}
