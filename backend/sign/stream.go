package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"hash"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Stream signs a to-be-signed structure (tbsCertList, tbsResponseData) that is
// written to it piece by piece. The message is hashed as it comes, so that a CRL of
// any length needs no more memory than its hash; only Ed25519, which signs the
// message itself (RFC 8032 section 5.1.6), keeps it. For one goroutine, one message.
type Stream struct {
	signer  crypto.Signer
	row     row
	hash    hash.Hash // nil for Ed25519
	message []byte    // Ed25519 only
	done    bool
	trusted bool // what it signs need not be proven
}

// Stream returns a new stream under the authority's key and algorithm.
func (a *Authority) Stream() *Stream {
	stream := newStream(a.signer, a.algorithm)
	stream.trusted = !a.certificate.IsCA && isLibraryECDSA(a.signer)
	return stream
}

// isLibraryECDSA reports whether a key signs inside this process by crypto/ecdsa. Its
// signatures are as right as a proof by the same library would be, and a fault in one
// does not give the key away, as its nonces are not those of the message alone. An
// OCSP responder, which signs answers for a day with a key for two weeks, spares the
// proof, half of what an answer costs. All that a CA signs is proven, and what
// a token signs.
func isLibraryECDSA(signer crypto.Signer) bool {
	_, is := signer.(*ecdsa.PrivateKey)
	return is
}

func newStream(signer crypto.Signer, algorithm x509.SignatureAlgorithm) *Stream {
	stream := &Stream{signer: signer, row: algorithms[algorithm]}
	if stream.row.hash != 0 {
		stream.hash = stream.row.hash.New()
	}
	return stream
}

// Write adds octets to the message. It never fails before Sign.
func (s *Stream) Write(octets []byte) (int, error) {
	switch {
	case s.done:
		return 0, fault.New(fault.Internal, "writing to a stream that was signed")
	case s.hash != nil:
		return s.hash.Write(octets)
	}
	s.message = append(s.message, octets...)
	return len(octets), nil
}

// Sign signs what was written, proves the signature with the public key unless that
// is needless, and returns the content of the signature BIT STRING. A second call is refused. A signer that
// cannot sign now keeps its own kind of error; one that signs wrongly is Internal.
func (s *Stream) Sign() ([]byte, error) {
	if s.done {
		return nil, fault.New(fault.Internal, "signing a stream twice")
	}
	s.done = true
	digest := s.message
	if s.hash != nil {
		digest = s.hash.Sum(nil)
	}
	signature, err := s.signer.Sign(rand.Reader, digest, s.row.options())
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "signing with the issuer's key: %w", err)
	}
	if s.trusted {
		return signature, nil
	}
	pub := s.signer.Public()
	if err := s.row.verify(pub, digest, signature); err != nil {
		fingerprint, _ := cert.KeyFingerprint(pub)
		return nil, fault.New(fault.Internal, "key %s returned a signature that is wrong: %w", fingerprint, err)
	}
	return signature, nil
}
