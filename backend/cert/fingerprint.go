package cert

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
)

// Fingerprint is a SHA-256 digest: of a certificate's DER, or of a public key's
// SubjectPublicKeyInfo.
type Fingerprint [sha256.Size]byte

// String returns lower-case hexadecimal octets separated by ":".
func (f Fingerprint) String() string { return colonHex(f[:]) }

// Hex returns lower-case hexadecimal without separators.
func (f Fingerprint) Hex() string { return hex.EncodeToString(f[:]) }

// FingerprintOf returns the SHA-256 digest of DER octets.
func FingerprintOf(der []byte) Fingerprint { return sha256.Sum256(der) }

// KeyFingerprint returns the identity of a public key: the SHA-256 digest of its SPKI.
// Two keys are the same key when their fingerprints are equal, however the encodings
// that they were read from differ. Nothing else may be compared in its place: one key
// has many encodings that parsers accept.
func KeyFingerprint(pub crypto.PublicKey) (Fingerprint, error) {
	spki, err := SPKI(pub)
	if err != nil {
		return Fingerprint{}, err
	}
	return sha256.Sum256(spki), nil
}
