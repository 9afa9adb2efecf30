package cert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// KeyType is the family of a key, in the words of the API.
type KeyType string

// The key families.
const (
	RSA     KeyType = "rsa"
	EC      KeyType = "ec"
	Ed25519 KeyType = "ed25519"
)

// KeySpec is a key algorithm with its size in bits; the size of an Ed25519 key is
// 0, because it has only one.
type KeySpec struct {
	Type KeyType `json:"type"`
	Bits int     `json:"bits"`
}

// The key algorithms that profiles, issuers and tokens may use. RSA-8192 can be
// certified but is never generated here.
var (
	RSA2048      = KeySpec{RSA, 2048}
	RSA3072      = KeySpec{RSA, 3072}
	RSA4096      = KeySpec{RSA, 4096}
	P256         = KeySpec{EC, 256}
	P384         = KeySpec{EC, 384}
	P521         = KeySpec{EC, 521}
	Edwards25519 = KeySpec{Ed25519, 0}
)

// KeySpecs lists every key algorithm that can be generated, once. An algorithm to
// come (ML-DSA) becomes a row here.
func KeySpecs() []KeySpec {
	return []KeySpec{RSA2048, RSA3072, RSA4096, P256, P384, P521, Edwards25519}
}

// String returns "rsa-2048", "ec-256" or "ed25519".
func (k KeySpec) String() string {
	if k.Bits == 0 {
		return string(k.Type)
	}
	return fmt.Sprintf("%s-%d", k.Type, k.Bits)
}

// ParseKeySpec reads a key algorithm as String writes it.
func ParseKeySpec(text string) (KeySpec, error) {
	names := make([]string, 0, 8)
	for _, spec := range KeySpecs() {
		if spec.String() == text {
			return spec, nil
		}
		names = append(names, spec.String())
	}
	return KeySpec{}, fault.New(fault.Invalid, "key algorithm %q must be %s", text, fault.List(names))
}

// NewKeySpec returns the algorithm for key_type and key_bits as the API takes
// them; 0 bits mean RSA-2048 or P-256.
func NewKeySpec(keyType string, bits int) (KeySpec, error) {
	spec := KeySpec{KeyType(keyType), bits}
	switch {
	case spec.Type == RSA && bits == 0:
		return RSA2048, nil
	case spec.Type == EC && bits == 0:
		return P256, nil
	case spec.Type == Ed25519:
		return Edwards25519, nil
	case spec.Type != RSA && spec.Type != EC:
		return KeySpec{}, fault.Field("key_type", "must be rsa, ec or ed25519, not %q", keyType)
	}
	for _, known := range KeySpecs() {
		if known == spec {
			return spec, nil
		}
	}
	return KeySpec{}, fault.Field("key_bits", "%d is not a size for %s keys; use 2048, 3072 or 4096 for rsa, 256, 384 or 521 for ec", bits, keyType)
}

// KeySpecOf classifies a public key. RSA keys keep their true modulus length.
func KeySpecOf(pub crypto.PublicKey) (KeySpec, error) {
	switch key := pub.(type) {
	case *rsa.PublicKey:
		return KeySpec{RSA, key.N.BitLen()}, nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return P256, nil
		case elliptic.P384():
			return P384, nil
		case elliptic.P521():
			return P521, nil
		}
		return KeySpec{}, fault.New(fault.Invalid, "curve %s is not supported; use P-256, P-384 or P-521", key.Curve.Params().Name)
	case ed25519.PublicKey:
		return Edwards25519, nil
	}
	return KeySpec{}, fault.New(fault.Invalid, "key type %T is not supported; use RSA, ECDSA or Ed25519", pub)
}

// Equal reports whether two public keys are the same key.
func Equal(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
