package cert

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
)

// authorityOctets is the length of an AuthorityID before it is written as text: 160
// bits, so that nobody finds two CAs with one identifier.
const authorityOctets = 20

// AuthorityID returns the identifier of the certification authority that a CA
// certificate belongs to: 40 hexadecimal digits derived from its subject, compared as
// RFC 5280 section 7.1 says, and its public key. All certificates of one CA have the
// same: renewed with the same key, cross-signed, deleted and imported again. CRLs and
// OCSP responses are verified with that name and key, so revocations belong to them and
// not to one certificate.
func AuthorityID(c *x509.Certificate) string {
	key, err := KeyFingerprint(c.PublicKey)
	if err != nil { // a key of an unknown kind is known by its encoding
		key = FingerprintOf(c.RawSubjectPublicKeyInfo)
	}
	name := NameKey(c.RawSubject)
	h := sha256.New()
	_ = binary.Write(h, binary.BigEndian, uint64(len(name))) // a hash never fails
	h.Write([]byte(name))
	h.Write(key[:])
	return hex.EncodeToString(h.Sum(nil)[:authorityOctets])
}

// SameAuthority reports whether two CA certificates belong to one CA, see AuthorityID.
func SameAuthority(a, b *x509.Certificate) bool {
	return SameName(a.RawSubject, b.RawSubject) && Equal(a.PublicKey, b.PublicKey)
}
