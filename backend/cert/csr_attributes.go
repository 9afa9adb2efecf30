package cert

import (
	"crypto/x509"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// parseWithoutAttributes has the standard library read subject, key and signature. It
// would refuse the whole request for a name in the attributes that it does not like,
// used or not; those are read here. What the signature covers is the request as it came.
func parseWithoutAttributes(der []byte, info cryptobyte.String) (*x509.CertificateRequest, error) {
	input := cryptobyte.String(der)
	var outer, whole, subject, spki, algorithm, signature cryptobyte.String
	if !input.ReadASN1(&outer, cbasn1.SEQUENCE) || !outer.ReadASN1Element(&whole, cbasn1.SEQUENCE) ||
		!outer.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) || !outer.ReadASN1Element(&signature, cbasn1.BIT_STRING) ||
		!info.SkipASN1(cbasn1.INTEGER) || !info.ReadASN1Element(&subject, cbasn1.SEQUENCE) || !info.ReadASN1Element(&spki, cbasn1.SEQUENCE) {
		return nil, malformed("not a CertificationRequest")
	}
	builder := cryptobyte.NewBuilder(make([]byte, 0, len(der)))
	builder.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(0)
			b.AddBytes(subject)
			b.AddBytes(spki)
			b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(*cryptobyte.Builder) {})
		})
		b.AddBytes(algorithm)
		b.AddBytes(signature)
	})
	bare, err := builder.Bytes()
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificateRequest(bare)
	if err != nil {
		return nil, err
	}
	parsed.Raw, parsed.RawTBSCertificateRequest = der, whole
	return parsed, nil
}

// readMicrosoft looks at Microsoft's own attribute for extensions, an older form of
// extensionRequest. None of them is taken; but a request that asks for CA:TRUE there, or
// in a way that another reader could take for it, asks to become a CA (ca-1).
func (r *Request) readMicrosoft(values cryptobyte.String) error {
	if values == nil {
		return nil
	}
	r.Unknown = append(r.Unknown, oidMSExtensionRequest)
	var list cryptobyte.String
	if !values.ReadASN1(&list, cbasn1.SEQUENCE) || !values.Empty() {
		return malformed("attribute " + oidMSExtensionRequest + " must hold one value")
	}
	extensions, err := scanExtensions(list)
	if err != nil {
		return err
	}
	for _, ext := range extensions {
		if ext.oid != OIDBasicConstraints {
			continue
		}
		ca, err := readBasicConstraints(ext.value)
		if err != nil {
			return err
		}
		r.CA = r.CA || ca
	}
	return nil
}
