package cert

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"regexp"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

var (
	byteOrderMark = []byte("\xef\xbb\xbf") // of UTF-8
	fileName      = regexp.MustCompile(`(?i)^@?[^\n]{0,255}\.(pem|crt|cer|csr|der|p7b|p7c|crl|key)$`)
	replacement   = []byte("\xef\xbf\xbd") // U+FFFD, which JSON makes of what is not UTF-8
)

// Decode returns the PEM or DER that a client means: a byte order mark of UTF-8 and
// white space around are dropped, and base64 of DER, which is how the command line
// sends DER, is decoded. It refuses what it recognises as something else: a file name,
// UTF-16, DER that was sent as text. field is named in the advice. Callers hold their
// cap on the size before.
func Decode(field string, raw []byte) ([]byte, error) {
	if len(raw) > 0 && raw[0] == asn1Sequence {
		if bytes.Contains(raw[:min(len(raw), 16)], replacement) {
			return nil, fault.New(fault.Invalid, "is binary and was damaged on its way: send it in PEM, or as base64 of DER")
		}
		return raw, nil
	}
	text := bytes.TrimSpace(bytes.TrimPrefix(raw, byteOrderMark))
	switch head := text[:min(len(text), 16)]; {
	case bytes.HasPrefix(raw, []byte("\xff\xfe")), bytes.HasPrefix(raw, []byte("\xfe\xff")), bytes.IndexByte(head, 0) >= 0:
		return nil, fault.New(fault.Invalid, "is UTF-16: save the file as UTF-8")
	case bytes.Contains(text, pemBegin):
		return text, nil
	case fileName.Match(text):
		return nil, fault.New(fault.Invalid, "is a file name: did you mean %s=@%s?", field, strings.TrimPrefix(string(text), "@"))
	}
	if der, ok := decodeBase64(text); ok {
		return der, nil
	}
	return text, nil
}

// decodeBase64 returns DER that is written in base64, with or without line breaks.
func decodeBase64(text []byte) ([]byte, bool) {
	if len(text) == 0 || text[0] != 'M' { // 0x30, the first octet of a SEQUENCE
		return nil, false
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	return der, err == nil && len(der) > 0 && der[0] == asn1Sequence
}

// kindOf says what DER is, for a message about something in the wrong place; "" when
// it is nothing that is known.
func kindOf(der []byte) string {
	if _, err := x509.ParseCertificate(der); err == nil {
		return "a certificate"
	}
	if _, err := x509.ParseCertificateRequest(der); err == nil {
		return "a certificate request (CSR)"
	}
	if _, err := x509.ParseRevocationList(der); err == nil {
		return "a CRL"
	}
	if isPKCS7(der) {
		return "PKCS#7"
	}
	input := cryptobyte.String(der)
	var sequence cryptobyte.String
	var version int
	if input.ReadASN1(&sequence, cbasn1.SEQUENCE) && sequence.ReadASN1Integer(&version) && version == 3 {
		return "PKCS#12"
	}
	return ""
}

// Labels of PEM that are read as certificates and as PKCS#7.
var (
	certificateLabels = []string{pemCertificate, "X509 CERTIFICATE"}
	pkcs7Labels       = []string{"PKCS7", "PKCS #7 SIGNED DATA", "CMS"}
	requestLabels     = []string{pemRequest, "NEW " + pemRequest}
)

// oidSignedData is the content type of PKCS#7 with certificates (RFC 2315 section 9.1).
var oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}

// isPKCS7 reports whether DER is a ContentInfo of type signedData.
func isPKCS7(der []byte) bool {
	_, ok := signedData(der)
	return ok
}

func signedData(der []byte) (cryptobyte.String, bool) {
	input := cryptobyte.String(der)
	var info, explicit, content cryptobyte.String
	var kind asn1.ObjectIdentifier
	ok := input.ReadASN1(&info, cbasn1.SEQUENCE) && input.Empty() && info.ReadASN1ObjectIdentifier(&kind) && kind.Equal(oidSignedData) &&
		info.ReadASN1(&explicit, cbasn1.Tag(0).ContextSpecific().Constructed()) && info.Empty() &&
		explicit.ReadASN1(&content, cbasn1.SEQUENCE) && explicit.Empty()
	return content, ok
}

// parsePKCS7 returns the certificates of a SignedData in DER (RFC 2315 section 9.1, RFC
// 5652 section 5.1), as CAs send chains in .p7b files. Nobody signed the set: content
// and signers are not looked at.
func parsePKCS7(der []byte) ([]*x509.Certificate, error) {
	content, ok := signedData(der)
	var list cryptobyte.String
	var present bool
	if !ok || !content.SkipASN1(cbasn1.INTEGER) || !content.SkipASN1(cbasn1.SET) || !content.SkipASN1(cbasn1.SEQUENCE) ||
		!content.ReadOptionalASN1(&list, &present, cbasn1.Tag(0).ContextSpecific().Constructed()) {
		return nil, fault.New(fault.Invalid, "PKCS#7 must be SignedData in DER")
	}
	var certs []*x509.Certificate
	for !list.Empty() {
		var one cryptobyte.String
		if !list.ReadASN1Element(&one, cbasn1.SEQUENCE) {
			return nil, fault.New(fault.Invalid, "PKCS#7 must hold X.509 certificates alone")
		}
		certificate, err := parseCertificate(one)
		if err != nil {
			return nil, fault.New(fault.Invalid, "reading certificate %d of the PKCS#7: %w", len(certs)+1, err)
		}
		certs = append(certs, certificate)
	}
	if len(certs) == 0 {
		return nil, fault.New(fault.Invalid, "PKCS#7 holds no certificate")
	}
	return certs, nil
}

// parseBlock reads a PEM block that holds certificates. AD CS writes PKCS#7 under the
// label CERTIFICATE.
func parseBlock(block *pem.Block) ([]*x509.Certificate, error) {
	if isPKCS7(block.Bytes) {
		return parsePKCS7(block.Bytes)
	}
	certificate, err := parseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{certificate}, nil
}

// parseDER reads one certificate or the certificates of one PKCS#7.
func parseDER(der []byte) ([]*x509.Certificate, error) {
	if isPKCS7(der) {
		return parsePKCS7(der)
	}
	certificate, err := parseCertificate(der)
	if err == nil {
		return []*x509.Certificate{certificate}, nil
	}
	switch kind := kindOf(der); kind {
	case "", "a certificate":
		return nil, fault.New(fault.Invalid, "reading DER certificate: %w", err)
	default:
		return nil, fault.New(fault.Invalid, "is %s, where certificates are needed: %s", kind, adviceFor(kind))
	}
}

// adviceFor says what to do with what is not a certificate.
func adviceFor(kind string) string {
	switch kind {
	case "a certificate request (CSR)":
		return "have it signed by the parent CA, then give the signed certificate"
	case "PKCS#12":
		return "convert it with openssl pkcs12 -in FILE -out FILE.pem"
	}
	return "give certificates in PEM, DER or PKCS#7"
}
