package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"slices"
	"sync"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// standIn takes the place of a CA key in drafts: the public half of a throwaway key
// and the one signature that it ever made, which is over no certificate. What is to be
// signed depends only on the family of the key, so one small key of each family is
// enough: RSA-2048 drafts for an RSA-4096 CA.
type standIn struct {
	public    crypto.PublicKey
	signature []byte
}

// The stand-ins of this process: made when first needed, never stored, worth nothing
// to anyone.
var (
	standInRSA = sync.OnceValues(func() (standIn, error) {
		key, err := rsa.GenerateKey(rand.Reader, cert.RSA2048.Bits)
		return signOnce(key, err, crypto.SHA256)
	})
	standInEC = sync.OnceValues(func() (standIn, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		return signOnce(key, err, crypto.SHA256)
	})
	standInEd25519 = sync.OnceValues(func() (standIn, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return signOnce(key, err, crypto.Hash(0))
	})
)

// signOnce has a fresh key make its one signature; err is that of making the key.
func signOnce(key crypto.Signer, err error, hash crypto.Hash) (standIn, error) {
	if err != nil {
		return standIn{}, err
	}
	signature, err := crypto.SignMessage(key, rand.Reader, []byte("no certificate"), hash)
	return standIn{key.Public(), signature}, err
}

// standInFor returns what takes the place of the key in drafts.
func standInFor(pub crypto.PublicKey) (standIn, error) {
	spec, err := cert.KeySpecOf(pub)
	if err != nil {
		return standIn{}, err
	}
	switch spec.Type {
	case cert.RSA:
		return standInRSA()
	case cert.EC:
		return standInEC()
	case cert.Ed25519:
		return standInEd25519()
	}
	return standIn{}, fault.New(fault.Internal, "no throwaway key of type %s", spec)
}

// scribe writes down what it is asked to sign and signs nothing. x509.CreateCertificate
// hands the whole TBSCertificate to a crypto.MessageSigner.
type scribe struct {
	public crypto.PublicKey
	tbs    []byte
}

var _ crypto.MessageSigner = (*scribe)(nil)

// errWritten is how a scribe ends x509.CreateCertificate when it has what it wanted.
var errWritten = errors.New("the message was written down, not signed")

// Public implements crypto.Signer.
func (s *scribe) Public() crypto.PublicKey { return s.public }

// Sign implements crypto.Signer: a digest cannot be written down.
func (s *scribe) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, fault.New(fault.Internal, "drafting certificate: crypto/x509 asked for the signature of a digest")
}

// SignMessage implements crypto.MessageSigner.
func (s *scribe) SignMessage(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	s.tbs = slices.Clone(message)
	return nil, errWritten
}
