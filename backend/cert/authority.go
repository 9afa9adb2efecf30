package cert

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
)

// AuthorityID names the CA that a CA certificate is of: the SHA-256 of its subject and
// its public key, in hexadecimal. Certificates of one CA (renewed, cross-signed) have
// the same one.
func AuthorityID(ca *x509.Certificate) string {
	hash := sha256.New()
	hash.Write(ca.RawSubject) // DER: where it ends is clear
	hash.Write(ca.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(hash.Sum(nil))
}
