package sign

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"sync/atomic"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Check inspects a drafted certificate, with the signature of a throwaway key, and
// refuses it with an error that names the rule. For a root, issuer is the draft itself.
type Check func(drafted, issuer *x509.Certificate) error

// Draft is a checked certificate that the CA key has not signed yet. It is safe for
// concurrent use.
type Draft struct {
	certificate *x509.Certificate
	signer      crypto.Signer
	algorithm   x509.SignatureAlgorithm
	redeemed    atomic.Bool
}

// Draft drafts the template for the public key with the signature of a throwaway key
// of the CA key's type and runs the checks on the resulting octets. The template must hold a
// positive serial number of at most 20 octets; its signature algorithm and
// authorityKeyIdentifier are the authority's, its subjectKeyIdentifier is made by
// cert.SubjectKeyID when it has none. The template is not changed. Weak keys and the
// CA's own key are refused (key-1).
func (a *Authority) Draft(template *x509.Certificate, pub crypto.PublicKey, checks ...Check) (*Draft, error) {
	if err := a.mayIssue(); err != nil {
		return nil, err
	}
	if cert.Equal(pub, a.certificate.PublicKey) {
		return nil, fault.New(fault.Invalid, "public key must not be the issuer's own")
	}
	complete, err := completed(template, pub, a.algorithm)
	if err != nil {
		return nil, err
	}
	complete.AuthorityKeyId = a.certificate.SubjectKeyId
	der, err := encodeDraft(complete, a.certificate, pub, a.signer.Public())
	if err != nil {
		return nil, err
	}
	return newDraft(&Draft{signer: a.signer, algorithm: a.algorithm}, der, a.certificate, checks)
}

// SelfDraft drafts a self-signed certificate for the signer's own key: a root. Zero
// picks the algorithm that suits the key.
func SelfDraft(template *x509.Certificate, signer crypto.Signer, algorithm x509.SignatureAlgorithm, checks ...Check) (*Draft, error) {
	pub := signer.Public()
	algorithm, err := choose(pub, algorithm)
	if err != nil {
		return nil, err
	}
	complete, err := completed(template, pub, algorithm)
	if err != nil {
		return nil, err
	}
	der, err := encodeDraft(complete, complete, pub, pub)
	if err != nil {
		return nil, err
	}
	return newDraft(&Draft{signer: signer, algorithm: algorithm}, der, nil, checks)
}

// encodeDraft returns the DER of the template under the issuer, with a signature that
// belongs to nothing. x509.CreateCertificate insists that the issuer's key is the one
// that signs, hence the stand-in; and since it would verify what a key has signed, the
// draft is put together here, from the octets that it wanted to have signed.
func encodeDraft(template, issuer *x509.Certificate, pub, issuerKey crypto.PublicKey) ([]byte, error) {
	instead, err := standInFor(issuerKey)
	if err != nil {
		return nil, err
	}
	parent := *issuer
	parent.PublicKey = instead.public
	writer := &scribe{public: instead.public}
	if _, err := x509.CreateCertificate(rand.Reader, template, &parent, pub, writer); !errors.Is(err, errWritten) {
		return nil, fault.New(fault.Invalid, "drafting certificate: %w", err)
	}
	return assemble(writer.tbs, template.SignatureAlgorithm, instead.signature)
}

// completed returns a copy of the template with the algorithm and key identifier.
func completed(template *x509.Certificate, pub crypto.PublicKey, algorithm x509.SignatureAlgorithm) (*x509.Certificate, error) {
	if err := cert.CheckKey(pub); err != nil {
		return nil, err
	}
	serial := template.SerialNumber
	if serial == nil || serial.Sign() <= 0 || serial.BitLen() > 8*cert.MaxSerialOctets-1 {
		return nil, fault.New(fault.Internal, "serial number must be positive and at most %d bytes (RFC 5280 section 4.1.2.2)", cert.MaxSerialOctets)
	}
	complete := *template
	complete.SignatureAlgorithm = algorithm
	if len(complete.SubjectKeyId) == 0 {
		id, err := cert.SubjectKeyID(pub)
		if err != nil {
			return nil, err
		}
		complete.SubjectKeyId = id
	}
	return &complete, nil
}

// newDraft parses the drafted octets and runs the checks on them, in order; the
// first refusal wins. A nil issuer means self-signed.
func newDraft(draft *Draft, der []byte, issuer *x509.Certificate, checks []Check) (*Draft, error) {
	drafted, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fault.New(fault.Invalid, "reading drafted certificate: %w", err)
	}
	if issuer == nil {
		issuer = drafted
	}
	for _, check := range checks {
		if err := check(drafted, issuer); err != nil {
			return nil, err
		}
	}
	draft.certificate = drafted
	return draft, nil
}

// Certificate returns the draft, with the signature of a throwaway key, which is over
// something else: no key verifies it.
func (d *Draft) Certificate() *x509.Certificate { return d.certificate }

// Sign redeems the draft with the real key: it signs the very octets that were
// checked, and proves that the certificate it returns holds them. A second call is
// refused, after a failure as well: draft anew.
func (d *Draft) Sign() (*x509.Certificate, error) {
	if !d.redeemed.CompareAndSwap(false, true) {
		return nil, fault.New(fault.Conflict, "signing certificate %s: its draft was already redeemed", cert.SerialOf(d.certificate.SerialNumber))
	}
	stream := newStream(d.signer, d.algorithm)
	if _, err := stream.Write(d.certificate.RawTBSCertificate); err != nil {
		return nil, err
	}
	signature, err := stream.Sign()
	if err != nil {
		return nil, err
	}
	der, err := assemble(d.certificate.RawTBSCertificate, d.algorithm, signature)
	if err != nil {
		return nil, err
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fault.New(fault.Internal, "reading signed certificate: %w", err)
	}
	if !bytes.Equal(signed.RawTBSCertificate, d.certificate.RawTBSCertificate) {
		return nil, fault.New(fault.Internal, "signed certificate %s differs from its draft", cert.SerialOf(signed.SerialNumber))
	}
	return signed, nil
}

// assemble writes Certificate ::= SEQUENCE { tbs, algorithm, signature } (RFC 5280
// section 4.1).
func assemble(tbs []byte, algorithm x509.SignatureAlgorithm, signature []byte) ([]byte, error) {
	identifier, err := algorithms[algorithm].identifier()
	if err != nil {
		return nil, err
	}
	builder := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(identifier)+len(signature)+16))
	builder.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(identifier)
		b.AddASN1BitString(signature)
	})
	der, err := builder.Bytes()
	if err != nil {
		return nil, fault.New(fault.Internal, "encoding certificate: %w", err)
	}
	return der, nil
}
