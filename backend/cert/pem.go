package cert

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

const (
	pemCertificate = "CERTIFICATE"
	pemRequest     = "CERTIFICATE REQUEST"

	asn1Sequence = 0x30 // the first octet of any certificate or CSR in DER
)

var pemBegin = []byte("-----BEGIN ")

// ParseCertificates reads certificates in the forms that CAs send them: PEM, DER, base64
// of DER, and PKCS#7 in each (RFC 2315), capped at MaxBundle octets. PEM blocks of other
// types are returned by type in others. A block that cannot be decoded refuses the whole
// bundle: an import is all or nothing. A public key that is not canonically encoded is
// refused as CheckSPKI does.
func ParseCertificates(raw []byte) (certs []*x509.Certificate, others []string, err error) {
	if len(raw) > MaxBundle {
		return nil, nil, fault.New(fault.TooLarge, "certificates must be at most %d bytes", MaxBundle)
	}
	if raw, err = Decode("certificate", raw); err != nil {
		return nil, nil, err
	}
	if len(raw) > 0 && raw[0] == asn1Sequence {
		certs, err = parseDER(raw)
		return certs, nil, err
	}
	blocks := 0
	for rest := raw; ; blocks++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if !slices.Contains(certificateLabels, block.Type) && !slices.Contains(pkcs7Labels, block.Type) {
			others = append(others, block.Type)
			continue
		}
		found, err := parseBlock(block)
		if err != nil {
			return nil, nil, fault.New(fault.Invalid, "reading certificate %d of the bundle: %w", len(certs)+1, err)
		}
		certs = append(certs, found...)
	}
	if blocks != bytes.Count(raw, pemBegin) {
		return nil, nil, fault.New(fault.Invalid, "reading bundle: PEM block %d of it is damaged", blocks+1)
	}
	if blocks == 0 {
		return nil, nil, fault.New(fault.Invalid, "certificates must be in PEM, PKCS#7, or one in DER")
	}
	return certs, others, nil
}

// NotCertificates refuses PEM blocks that stand where certificates are needed.
func NotCertificates(labels []string) error {
	if slices.ContainsFunc(labels, func(label string) bool { return slices.Contains(requestLabels, label) }) {
		return fault.New(fault.Invalid, "is a certificate request (CSR), where certificates are needed: %s", adviceFor("a certificate request (CSR)"))
	}
	return fault.New(fault.Invalid, "holds %s besides certificates", strings.Join(labels, ", "))
}

// parseCertificate reads a certificate whose public key has the canonical encoding.
func parseCertificate(der []byte) (*x509.Certificate, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return certificate, CheckSPKI("certificate", certificate.RawSubjectPublicKeyInfo, certificate.PublicKey)
}

// csrDER returns the DER of a request in PEM, DER or base64 of DER.
func csrDER(raw []byte) ([]byte, error) {
	raw, err := Decode("csr", raw)
	if err != nil {
		return nil, fault.Field("csr", "%w", err)
	}
	if len(raw) > 0 && raw[0] == asn1Sequence {
		return raw, nil
	}
	block, rest := pem.Decode(raw)
	switch {
	case block != nil && slices.Contains(certificateLabels, block.Type):
		return nil, fault.Field("csr", "is a certificate, not a request (CSR): give one PEM block %q, or DER", pemRequest)
	case block == nil || !slices.Contains(requestLabels, block.Type):
		return nil, fault.Field("csr", "must be one PEM block %q, or DER", pemRequest)
	case len(bytes.TrimSpace(rest)) != 0:
		return nil, fault.Field("csr", "must be one PEM block: trailing data")
	}
	return block.Bytes, nil
}

// CertificatePEM returns the PEM form without a trailing newline, as the built-in
// engine answers it.
func CertificatePEM(der []byte) string { return encodePEM(pemCertificate, der) }

// CSRPEM returns the PEM form of a request without a trailing newline.
func CSRPEM(der []byte) string { return encodePEM(pemRequest, der) }

func encodePEM(kind string, der []byte) string {
	return strings.TrimSuffix(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})), "\n")
}
