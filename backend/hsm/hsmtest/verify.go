package hsmtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha512" // digests of the suite
	"errors"
	"fmt"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Verify checks that the signer signs, with the standard library's eyes, in every
// way that a certification authority asks for.
func Verify(signer crypto.Signer) error { return Token{}.verify(signer) }

// verify is Verify for the ways that the token can.
func (token Token) verify(signer crypto.Signer) error {
	message := []byte("to be signed")
	hashes := []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}
	switch public := signer.Public().(type) {
	case ed25519.PublicKey:
		signature, err := signer.Sign(rand.Reader, message, crypto.Hash(0))
		if err != nil {
			return err
		}
		if !ed25519.Verify(public, message, signature) {
			return errors.New("the ed25519 signature is wrong")
		}
	case *ecdsa.PublicKey:
		for _, hash := range hashes {
			signature, err := signer.Sign(rand.Reader, digest(hash, message), hash)
			if err != nil {
				return err
			}
			if !ecdsa.VerifyASN1(public, digest(hash, message), signature) {
				return fmt.Errorf("the ECDSA signature with %v is wrong", hash)
			}
		}
	case *rsa.PublicKey:
		for _, hash := range hashes {
			err := verifyPKCS1(signer, public, hash, digest(hash, message))
			if err == nil && token.Padding == PKCS1v15Only {
				err = refusesPSS(signer, hash, digest(hash, message))
			} else if err == nil {
				err = verifyPSS(signer, public, hash, digest(hash, message))
			}
			if err != nil {
				return fmt.Errorf("%v: %w", hash, err)
			}
		}
	default:
		return fmt.Errorf("unknown key type %T", public)
	}
	return nil
}

// verifyPKCS1 signs a digest with PKCS #1 v1.5.
func verifyPKCS1(signer crypto.Signer, public *rsa.PublicKey, hash crypto.Hash, digest []byte) error {
	signature, err := signer.Sign(rand.Reader, digest, hash)
	if err != nil {
		return err
	}
	if err := rsa.VerifyPKCS1v15(public, hash, digest, signature); err != nil {
		return fmt.Errorf("PKCS #1 v1.5: %w", err)
	}
	return nil
}

// verifyPSS signs a digest with every kind of PSS salt, which must always be as long
// as the hash (RFC 4055 section 3.1).
func verifyPSS(signer crypto.Signer, public *rsa.PublicKey, hash crypto.Hash, digest []byte) error {
	for _, salt := range []int{rsa.PSSSaltLengthAuto, rsa.PSSSaltLengthEqualsHash, hash.Size()} {
		signature, err := signer.Sign(rand.Reader, digest, &rsa.PSSOptions{SaltLength: salt, Hash: hash})
		if err != nil {
			return err
		}
		exact := &rsa.PSSOptions{SaltLength: hash.Size(), Hash: hash}
		if err := rsa.VerifyPSS(public, hash, digest, signature, exact); err != nil {
			return fmt.Errorf("PSS with salt length %d: %w", salt, err)
		}
	}
	return nil
}

// refusesPSS checks that a token which cannot sign with PSS says so.
func refusesPSS(signer crypto.Signer, hash crypto.Hash, digest []byte) error {
	_, err := signer.Sign(rand.Reader, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "CKM_RSA_PKCS_PSS") {
		return fmt.Errorf("the token does not say that it cannot sign with PSS: %w", err)
	}
	return nil
}

// digest hashes a message.
func digest(hash crypto.Hash, message []byte) []byte {
	h := hash.New()
	h.Write(message)
	return h.Sum(nil)
}
