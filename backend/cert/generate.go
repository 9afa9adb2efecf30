package cert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// GenerateKey makes a key pair in memory from the system's CSPRNG.
func GenerateKey(spec KeySpec) (crypto.Signer, error) {
	var key crypto.Signer
	var err error
	switch {
	case spec.Type == RSA && slices.Contains(KeySpecs(), spec):
		key, err = rsa.GenerateKey(rand.Reader, spec.Bits)
	case spec == P256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case spec == P384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case spec == P521:
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case spec.Type == Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fault.New(fault.Invalid, "keys of algorithm %s are not generated here", spec)
	}
	if err != nil {
		return nil, fmt.Errorf("generating %s key: %w", spec, err)
	}
	return key, nil
}
