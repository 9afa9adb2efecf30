package ocsp

import (
	"bytes"
	"crypto"
	"crypto/sha512"
	"crypto/x509"
	"slices"
)

// identity is the part of a CertID that names a CA. Shorter hashes end in zeros.
type identity struct {
	hash crypto.Hash
	name [sha512.Size]byte
	key  [sha512.Size]byte
}

// identityOf returns the identity that a CertID names; false when the hash is not
// one of ours or its values have another length.
func identityOf(id CertID) (identity, bool) {
	if id.Hash == 0 || len(id.NameHash) != id.Hash.Size() || len(id.KeyHash) != id.Hash.Size() {
		return identity{}, false
	}
	known := identity{hash: id.Hash}
	copy(known.name[:], id.NameHash)
	copy(known.key[:], id.KeyHash)
	return known, true
}

// authority is a CA as a CertID names it: a name and a key. Several issuers share
// one when their certificates were renewed or cross-signed, and then any of them
// may have issued the serial asked about.
type authority struct {
	issuers []string // ids, in the order of Source
}

// hashes are those by which a CertID may name a CA.
var hashes = map[string]crypto.Hash{
	oidSHA1: crypto.SHA1, oidSHA256: crypto.SHA256, oidSHA384: crypto.SHA384, oidSHA512: crypto.SHA512,
}

// table finds authorities by identity; immutable.
type table struct {
	given  []Issuer // as it came
	source []Issuer
	found  map[identity]*authority
}

// newTable hashes every issuer's name and key; failed names issuers whose
// certificate is malformed.
func newTable(source []Issuer) (t *table, failed []string) {
	t = &table{given: source, source: slices.Clone(source), found: make(map[identity]*authority, len(hashes)*len(source))}
	for _, issuer := range source {
		certificate, err := x509.ParseCertificate(issuer.DER)
		if err != nil {
			failed = append(failed, issuer.ID)
			continue
		}
		key, err := publicKeyBits(certificate)
		if err != nil {
			failed = append(failed, issuer.ID)
			continue
		}
		for _, hash := range hashes {
			id := identity{hash: hash}
			copy(id.name[:], digest(hash, certificate.RawSubject))
			copy(id.key[:], digest(hash, key))
			if t.found[id] == nil {
				t.found[id] = &authority{}
			}
			if !slices.Contains(t.found[id].issuers, issuer.ID) {
				t.found[id].issuers = append(t.found[id].issuers, issuer.ID)
			}
		}
	}
	return t, failed
}

// current reports whether the table was made from these issuers.
func (t *table) current(source []Issuer) bool {
	if len(source) > 0 && len(t.given) == len(source) && &t.given[0] == &source[0] {
		return true // the same slice, which nobody changes
	}
	return slices.EqualFunc(t.source, source, func(a, b Issuer) bool {
		return a.ID == b.ID && bytes.Equal(a.DER, b.DER)
	})
}

// issuersOf returns the ids of the issuers that all certificates of a request are
// of; nil when there are none, when its hash is not accepted, or when the request mixes CAs: a delegated responder
// speaks for one CA (RFC 6960 section 4.2.2.2), so that no response could answer
// for all with authority.
func (t *table) issuersOf(request *Request, settings *Settings) []string {
	var issuers []string
	for i, id := range request.CertIDs {
		if settings.NoSHA1 && id.Hash == crypto.SHA1 {
			return nil
		}
		known, ok := identityOf(id)
		found := t.found[known]
		if !ok || found == nil || i > 0 && !slices.Equal(issuers, found.issuers) {
			return nil
		}
		issuers = found.issuers
	}
	return issuers
}
