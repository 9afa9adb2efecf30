package ocsp

import (
	"crypto"
	"crypto/fips140"
	_ "crypto/sha1"   // for crypto.Hash
	_ "crypto/sha256" // for crypto.Hash
	_ "crypto/sha512" // for crypto.Hash
	"crypto/x509"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// State is a CertStatus (RFC 6960 section 4.2.1): its number is its tag.
type State uint8

// The states of a certificate.
const (
	Good    State = 0
	Revoked State = 1
	Unknown State = 2 // never issued, or not by this CA
)

// Single is what a response says about one certificate.
type Single struct {
	CertID    []byte // DER, as the request has it
	State     State
	RevokedAt time.Time   // Revoked only
	Reason    cert.Reason // Revoked only; Unspecified is omitted
	// ArchiveCutoff is the end of the oldest certificates that are answered for (RFC
	// 6960 section 4.4.4); zero: omitted.
	ArchiveCutoff time.Time
}

// Response is a ResponseData. Times count in whole seconds.
type Response struct {
	ThisUpdate time.Time // also producedAt
	NextUpdate time.Time // zero: omitted
	Singles    []Single
	Nonce      []byte // nil: omitted
	// ExtendedRevoked says that revoked may mean never issued (RFC 6960 section 4.4.8).
	ExtendedRevoked bool
}

// Signer signs responses in the name of one responder. It is immutable.
type Signer struct {
	authority *sign.Authority
	algorithm []byte // AlgorithmIdentifier
	keyHash   []byte // responderID byKey
}

// NewSigner returns the signer of a delegated responder, or of a CA that answers
// for itself.
func NewSigner(authority *sign.Authority) (*Signer, error) {
	algorithm, err := authority.AlgorithmIdentifier()
	if err != nil {
		return nil, fmt.Errorf("making OCSP signer: %w", err)
	}
	key, err := publicKeyBits(authority.Certificate())
	if err != nil {
		return nil, fmt.Errorf("making OCSP signer: %w", err)
	}
	// RFC 6960 section 4.2.1 defines KeyHash with SHA-1.
	return &Signer{authority: authority, algorithm: algorithm, keyHash: digest(crypto.SHA1, key)}, nil
}

// Certificate returns the certificate in whose name the signer signs.
func (s *Signer) Certificate() *x509.Certificate { return s.authority.Certificate() }

// digest hashes for identification, not for security: RFC 6960 fixes SHA-1, which
// strict FIPS 140-3 mode would otherwise refuse.
func digest(hash crypto.Hash, data []byte) (sum []byte) {
	fips140.WithoutEnforcement(func() {
		h := hash.New()
		h.Write(data)
		sum = h.Sum(nil)
	})
	return sum
}

// publicKeyBits returns the content of the subjectPublicKey BIT STRING, which is
// what issuerKeyHash and KeyHash are taken over (RFC 6960 section 4.1.1).
func publicKeyBits(certificate *x509.Certificate) ([]byte, error) {
	spki := cryptobyte.String(certificate.RawSubjectPublicKeyInfo)
	var key []byte
	if !spki.ReadASN1(&spki, asn1.SEQUENCE) || !spki.SkipASN1(asn1.SEQUENCE) || !spki.ReadASN1BitStringAsBytes(&key) {
		return nil, fault.New(fault.Invalid, "subjectPublicKeyInfo is malformed")
	}
	return key, nil
}

// Encode signs a response and returns the whole OCSPResponse in DER.
func (s *Signer) Encode(response Response) ([]byte, error) {
	tbs, err := s.data(response)
	if err != nil {
		return nil, fmt.Errorf("encoding OCSP response: %w", err)
	}
	stream := s.authority.Stream()
	if _, err := stream.Write(tbs); err != nil {
		return nil, fmt.Errorf("hashing OCSP response: %w", err)
	}
	signature, err := stream.Sign()
	if err != nil {
		return nil, fmt.Errorf("signing OCSP response: %w", err)
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(int64(Successful))
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(oidBasic)) })
				b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) { s.addBasic(b, tbs, signature) })
			})
		})
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding OCSP response: %w", err)
	}
	return der, nil
}

// addBasic adds a BasicOCSPResponse. A CA that answers for itself need not be
// included: whoever asks has its certificate.
func (s *Signer) addBasic(b *cryptobyte.Builder, tbs, signature []byte) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(s.algorithm)
		b.AddASN1BitString(signature)
		if certificate := s.authority.Certificate(); !certificate.IsCA {
			b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(certificate.Raw) })
			})
		}
	})
}

// data returns the ResponseData; its version is the default and left out.
func (s *Signer) data(response Response) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(explicit(2), func(b *cryptobyte.Builder) { b.AddASN1OctetString(s.keyHash) })
		b.AddASN1GeneralizedTime(response.ThisUpdate.UTC())
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, single := range response.Singles {
				response.addSingle(b, single)
			}
		})
		if response.Nonce != nil || response.ExtendedRevoked {
			b.AddASN1(explicit(1), response.addExtensions)
		}
	})
	return b.Bytes()
}

// addSingle adds a SingleResponse.
func (r Response) addSingle(b *cryptobyte.Builder, single Single) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(single.CertID)
		if single.State == Revoked {
			b.AddASN1(explicit(uint8(Revoked)), func(b *cryptobyte.Builder) {
				b.AddASN1GeneralizedTime(single.RevokedAt.UTC())
				if single.Reason != cert.Unspecified {
					b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1Enum(int64(single.Reason)) })
				}
			})
		} else {
			b.AddASN1(asn1.Tag(single.State).ContextSpecific(), func(*cryptobyte.Builder) {})
		}
		b.AddASN1GeneralizedTime(r.ThisUpdate.UTC())
		if !r.NextUpdate.IsZero() {
			b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1GeneralizedTime(r.NextUpdate.UTC()) })
		}
		if !single.ArchiveCutoff.IsZero() {
			b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					addExtension(b, oidCutoff, func(b *cryptobyte.Builder) { b.AddASN1GeneralizedTime(single.ArchiveCutoff.UTC()) })
				})
			})
		}
	})
}

// addExtensions adds responseExtensions: the nonce of the request (RFC 9654), and
// extended-revoked.
func (r Response) addExtensions(b *cryptobyte.Builder) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		if r.Nonce != nil {
			addExtension(b, oidNonce, func(b *cryptobyte.Builder) { b.AddASN1OctetString(r.Nonce) })
		}
		if r.ExtendedRevoked {
			addExtension(b, oidExtended, func(b *cryptobyte.Builder) { b.AddASN1NULL() })
		}
	})
}

// addExtension adds an Extension that is not critical.
func addExtension(b *cryptobyte.Builder, oid string, value cryptobyte.BuilderContinuation) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(oid)) })
		b.AddASN1(asn1.OCTET_STRING, value)
	})
}
