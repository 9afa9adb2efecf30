package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// row says how one signature algorithm is computed and written.
type row struct {
	hash   crypto.Hash // 0: the message itself is signed (RFC 8410)
	pss    bool
	oid    asn1.ObjectIdentifier
	null   bool                  // parameters NULL (RFC 4055 section 5); absent for EC and Ed25519
	digest asn1.ObjectIdentifier // inside PSS parameters
}

var (
	oidPSS    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidMGF1   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
)

var algorithms = map[x509.SignatureAlgorithm]row{
	x509.SHA256WithRSA:    {hash: crypto.SHA256, oid: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, null: true},
	x509.SHA384WithRSA:    {hash: crypto.SHA384, oid: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}, null: true},
	x509.SHA512WithRSA:    {hash: crypto.SHA512, oid: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}, null: true},
	x509.SHA256WithRSAPSS: {hash: crypto.SHA256, pss: true, oid: oidPSS, digest: oidSHA256},
	x509.SHA384WithRSAPSS: {hash: crypto.SHA384, pss: true, oid: oidPSS, digest: oidSHA384},
	x509.SHA512WithRSAPSS: {hash: crypto.SHA512, pss: true, oid: oidPSS, digest: oidSHA512},
	x509.ECDSAWithSHA256:  {hash: crypto.SHA256, oid: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}},
	x509.ECDSAWithSHA384:  {hash: crypto.SHA384, oid: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}},
	x509.ECDSAWithSHA512:  {hash: crypto.SHA512, oid: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}},
	x509.PureEd25519:      {oid: asn1.ObjectIdentifier{1, 3, 101, 112}},
}

// options returns what a crypto.Signer is told. The PSS salt is as long as the hash
// (RFC 4055 section 3.1), which tokens support and AlgorithmIdentifier announces.
func (r row) options() crypto.SignerOpts {
	if r.pss {
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: r.hash}
	}
	return r.hash
}

// verify checks a signature over a digest, or over the message for Ed25519.
func (r row) verify(pub crypto.PublicKey, digest, signature []byte) error {
	ok := false
	switch key := pub.(type) {
	case *rsa.PublicKey:
		if r.pss {
			return rsa.VerifyPSS(key, r.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.VerifyPKCS1v15(key, r.hash, digest, signature)
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(key, digest, signature)
	case ed25519.PublicKey:
		ok = ed25519.Verify(key, digest, signature)
	}
	if !ok {
		return fault.New(fault.Internal, "signature does not verify")
	}
	return nil
}

// identifier returns the AlgorithmIdentifier in DER, octet for octet what crypto/x509
// writes.
func (r row) identifier() ([]byte, error) {
	builder := cryptobyte.NewBuilder(nil)
	builder.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(r.oid)
		switch {
		case r.pss:
			r.addPSS(b)
		case r.null:
			b.AddASN1NULL()
		}
	})
	der, err := builder.Bytes()
	if err != nil {
		return nil, fault.New(fault.Internal, "encoding AlgorithmIdentifier: %w", err)
	}
	return der, nil
}

// addPSS writes RSASSA-PSS-params (RFC 4055 section 3.1).
func (r row) addPSS(b *cryptobyte.Builder) {
	hash := func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(r.digest)
			b.AddASN1NULL()
		})
	}
	explicit := func(number uint8) cbasn1.Tag { return cbasn1.Tag(number).ContextSpecific().Constructed() }
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(explicit(0), hash)
		b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidMGF1)
				hash(b)
			})
		})
		b.AddASN1(explicit(2), func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(r.hash.Size())) })
	})
}

// choose returns the algorithm for a key: the wanted one if it suits, the key's
// usual one for zero.
func choose(pub crypto.PublicKey, wanted x509.SignatureAlgorithm) (x509.SignatureAlgorithm, error) {
	spec, err := cert.KeySpecOf(pub)
	if err != nil {
		return 0, err
	}
	if wanted == x509.UnknownSignatureAlgorithm {
		return cert.SignatureAlgorithm(spec, 0, "")
	}
	if !cert.SuitsKey(wanted, spec.Type) {
		return 0, fault.New(fault.Invalid, "signature algorithm %s does not suit a key of type %s", wanted, spec)
	}
	return wanted, nil
}
