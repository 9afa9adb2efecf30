package cert

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Sizes of RSA keys that are certified, in bits of the modulus.
const (
	MinRSABits = 2048
	MaxRSABits = 8192
)

var (
	oidRSA     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidEC      = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidEd25519 = asn1.ObjectIdentifier{1, 3, 101, 112}
)

// SPKI returns the canonical SubjectPublicKeyInfo of a public key in DER (RFC 5280
// section 4.1.2.7): RSA parameters are NULL (RFC 3279 section 2.3.1), curves are named
// and points uncompressed (RFC 5480 section 2), Ed25519 keys have no parameters (RFC
// 8410 section 3).
func SPKI(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	return der, nil
}

// CheckSPKI refuses a SubjectPublicKeyInfo that is not the canonical encoding of the
// key that was read from it, such as one whose BIT STRING has unused bits or ends in
// further octets: other software could read another key from it, or count it as
// another key. field is what the message blames. Types of keys that are not known pass:
// CheckKey refuses those.
func CheckSPKI(field string, raw []byte, pub crypto.PublicKey) error {
	if canonical, err := SPKI(pub); err != nil || bytes.Equal(raw, canonical) {
		return nil //nolint:nilerr // a type that is not known
	}
	return fault.Field(field, "must hold its public key in the canonical DER of SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7): "+
		"no unused bits, no further octets, the parameters of its algorithm; make the key or the request anew")
}

// scanKey looks at a SubjectPublicKeyInfo without doing any mathematics: it refuses
// unknown algorithms, explicit EC parameters (RFC 5480 section 2.1.1) and an RSA key
// beyond MaxRSABits, whose verification would cost too much.
func scanKey(spki cryptobyte.String) error {
	var algorithm, bits cryptobyte.String
	var oid, curve asn1.ObjectIdentifier
	if !spki.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) ||
		!spki.ReadASN1(&bits, cbasn1.BIT_STRING) || !spki.Empty() || len(bits) == 0 {
		return malformed("ill-formed public key")
	}
	if bits[0] != 0 {
		return malformed("the public key has unused bits")
	}
	bits = bits[1:]
	switch {
	case oid.Equal(oidRSA):
		return scanRSA(bits)
	case oid.Equal(oidEC):
		if !algorithm.ReadASN1ObjectIdentifier(&curve) || !algorithm.Empty() {
			return fault.Field("csr", "must name its curve; explicit EC parameters are refused")
		}
		return nil
	case oid.Equal(oidEd25519):
		return nil
	}
	return fault.Field("csr", "key algorithm %s is not supported; use RSA, ECDSA or Ed25519", oid)
}

func scanRSA(key cryptobyte.String) error {
	var sequence, modulus, exponent cryptobyte.String
	if !key.ReadASN1(&sequence, cbasn1.SEQUENCE) || !key.Empty() || !sequence.ReadASN1(&modulus, cbasn1.INTEGER) ||
		!sequence.ReadASN1(&exponent, cbasn1.INTEGER) || !sequence.Empty() {
		return malformed("ill-formed RSA key")
	}
	if len(modulus) > MaxRSABits/8+1 {
		return fault.Field("csr", "RSA keys must be at most %d bits", MaxRSABits)
	}
	if len(exponent) > 4 {
		return fault.Field("csr", "RSA public exponents must be below 2^31")
	}
	return nil
}

// SubjectKeyID returns the key identifier of RFC 7093 section 2, method 1: the
// leftmost 160 bits of the SHA-256 digest of the subjectPublicKey bits.
func SubjectKeyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := SPKI(pub)
	if err != nil {
		return nil, err
	}
	input := cryptobyte.String(der)
	var spki, bits cryptobyte.String
	if !input.ReadASN1(&spki, cbasn1.SEQUENCE) || !spki.SkipASN1(cbasn1.SEQUENCE) ||
		!spki.ReadASN1(&bits, cbasn1.BIT_STRING) || len(bits) == 0 {
		return nil, fault.New(fault.Internal, "reading SubjectPublicKeyInfo: not DER")
	}
	digest := sha256.Sum256(bits[1:])
	return digest[:20:20], nil
}
