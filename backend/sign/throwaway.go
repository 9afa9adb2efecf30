package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"sync"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// The throwaway keys of this process: made when first needed, never stored, worth
// nothing to anyone. What is to be signed depends only on the family of the key, so
// one small key of each family is enough: RSA-2048 drafts for an RSA-4096 CA.
var (
	throwawayRSA = sync.OnceValues(func() (crypto.Signer, error) {
		return rsa.GenerateKey(rand.Reader, cert.RSA2048.Bits)
	})
	throwawayEC = sync.OnceValues(func() (crypto.Signer, error) {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	})
	throwawayEd25519 = sync.OnceValues(func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	})
)

// throwaway returns the key that signs drafts in place of the key's owner.
func throwaway(pub crypto.PublicKey) (crypto.Signer, error) {
	spec, err := cert.KeySpecOf(pub)
	if err != nil {
		return nil, err
	}
	switch spec.Type {
	case cert.RSA:
		return throwawayRSA()
	case cert.EC:
		return throwawayEC()
	case cert.Ed25519:
		return throwawayEd25519()
	}
	return nil, fault.New(fault.Internal, "no throwaway key of type %s", spec)
}
