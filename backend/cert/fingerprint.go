package cert

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
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

// KeyFingerprint returns the SHA-256 digest of the key's SubjectPublicKeyInfo.
func KeyFingerprint(pub crypto.PublicKey) (Fingerprint, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return Fingerprint{}, fmt.Errorf("encoding public key: %w", err)
	}
	return sha256.Sum256(spki), nil
}
