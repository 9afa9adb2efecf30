package cert

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Caps on input, checked before anything is decoded (dos-1).
const (
	MaxCSR    = 64 << 10 // octets of a CSR, PEM or DER
	MaxBundle = 1 << 20  // octets of a PEM bundle
	MaxSANs   = 1000     // names in one request

	maxAttributes = 32 // attributes of one CSR
	maxExtensions = 64 // extensions in one extensionRequest
)

// Object identifiers that a CSR may carry, in dotted form.
const (
	OIDSubjectAltName   = "2.5.29.17"
	OIDKeyUsage         = "2.5.29.15"
	OIDExtKeyUsage      = "2.5.29.37"
	OIDBasicConstraints = "2.5.29.19"

	oidExtensionRequest   = "1.2.840.113549.1.9.14"
	oidMSExtensionRequest = "1.3.6.1.4.1.311.2.1.14"
)

// Request is a CSR that has been read, whose signature proves possession of the
// key, whose key passed CheckKey, and that asks for no CA rights. The embedded
// CertificateRequest knows nothing of the attributes: what they ask for is below.
type Request struct {
	*x509.CertificateRequest
	// Names are the requested subjectAltNames, normalised, without repetitions; a
	// DNS name may be a wildcard. None when NamesErr is set.
	Names Names
	// NamesErr says why the requested subjectAltNames cannot be certified: a type that
	// is not understood, or a name that breaks its rules. Whoever takes Names refuses
	// the request then; for others it has no meaning.
	NamesErr error
	// KeyUsage is the requested keyUsage, 0 when the CSR asks for none.
	KeyUsage x509.KeyUsage
	// ExtKeyUsage lists the requested extKeyUsage OIDs in dotted form.
	ExtKeyUsage []string
	// CA says that the CSR asks for CA:TRUE; only ParseCACSR lets it be true.
	CA bool
	// Unknown lists the OIDs of requested extensions other than subjectAltName,
	// keyUsage, extKeyUsage and basicConstraints, and Microsoft's attribute for
	// extensions, of which none is taken.
	Unknown []string
}

// ParseCSR reads a PEM or DER PKCS#10 request. It refuses, in this order: more than
// MaxCSR octets, trailing data, a key beyond the caps, duplicate or ill-formed
// extensions, more than MaxSANs names, CA rights, a weak or unknown key, MD5 and
// SHA-1 signatures, a signature that does not verify. A request for CA:TRUE is
// refused with ca-1's rule unless parsed by ParseCACSR. Which names are allowed is
// not its question: see NamesErr.
func ParseCSR(raw []byte) (*Request, error) {
	request, err := parseCSR(raw)
	if err != nil {
		return nil, err
	}
	if request.CA {
		return nil, fault.Field("csr", "must not ask for CA:TRUE in basicConstraints")
	}
	if request.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return nil, fault.Field("csr", "must not ask for the CA key usages keyCertSign and cRLSign")
	}
	return request, proveKey(request.CertificateRequest)
}

// ParseCACSR is ParseCSR for a request that may ask to become a CA.
func ParseCACSR(raw []byte) (*Request, error) {
	request, err := parseCSR(raw)
	if err != nil {
		return nil, err
	}
	return request, proveKey(request.CertificateRequest)
}

// parseCSR does everything except the public key's mathematics.
func parseCSR(raw []byte) (*Request, error) {
	if len(raw) > MaxCSR {
		return nil, fault.FieldOf(fault.TooLarge, "csr", "must be at most %d bytes", MaxCSR)
	}
	der, err := csrDER(raw)
	if err != nil {
		return nil, err
	}
	found, err := scanCSR(der)
	if err != nil {
		return nil, err
	}
	request := &Request{}
	if err := request.readExtensions(found.extensions); err != nil {
		return nil, err
	}
	if err := request.readMicrosoft(found.microsoft); err != nil {
		return nil, err
	}
	if request.CertificateRequest, err = parseWithoutAttributes(der, found.info); err != nil {
		return nil, fault.Field("csr", "must be a PKCS#10 request: %w", err)
	}
	if err := CheckSPKI("csr", request.RawSubjectPublicKeyInfo, request.PublicKey); err != nil {
		return nil, err
	}
	return request, nil
}

// proveKey checks the key's quality and then the proof of possession (key-1).
func proveKey(csr *x509.CertificateRequest) error {
	if err := CheckKey(csr.PublicKey); err != nil {
		return fault.Field("csr", "%w", err)
	}
	// The standard library still accepts SHA-1 here, for old CSRs.
	if !slices.Contains(proofAlgorithms, csr.SignatureAlgorithm) {
		return fault.Field("csr", "must be signed with SHA-256 or better, not %s", csr.SignatureAlgorithm)
	}
	if err := csr.CheckSignature(); err != nil {
		return fault.Field("csr", "must prove possession of its key: %w", err)
	}
	return nil
}

var proofAlgorithms = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
	x509.PureEd25519,
}

// extension is one requested extension; value aliases the CSR.
type extension struct {
	oid   string
	value cryptobyte.String
}

func malformed(what string) error {
	return fault.Field("csr", "must be a PKCS#10 request in DER: %s", what)
}

// scanned is what scanCSR finds; all of it aliases the CSR.
type scanned struct {
	info       cryptobyte.String // the content of the CertificationRequestInfo
	extensions []extension
	microsoft  cryptobyte.String // the values of Microsoft's attribute, nil for none
}

// scanCSR walks the outer structure of RFC 2986 section 4 without decoding names or
// keys, holds the caps, and returns the requested extensions.
func scanCSR(der []byte) (*scanned, error) {
	input := cryptobyte.String(der)
	var outer, info, spki, attributes cryptobyte.String
	var version int
	if !input.ReadASN1(&outer, cbasn1.SEQUENCE) {
		return nil, malformed("no outer SEQUENCE")
	}
	if !input.Empty() {
		return nil, malformed("trailing data")
	}
	if !outer.ReadASN1(&info, cbasn1.SEQUENCE) || !outer.SkipASN1(cbasn1.SEQUENCE) ||
		!outer.SkipASN1(cbasn1.BIT_STRING) || !outer.Empty() {
		return nil, malformed("not a CertificationRequest")
	}
	found := &scanned{info: info}
	if !info.ReadASN1Integer(&version) || version != 0 || !info.SkipASN1(cbasn1.SEQUENCE) ||
		!info.ReadASN1(&spki, cbasn1.SEQUENCE) {
		return nil, malformed("not a CertificationRequestInfo of version 1")
	}
	if err := scanKey(spki); err != nil {
		return nil, err
	}
	var present bool
	if !info.ReadOptionalASN1(&attributes, &present, cbasn1.Tag(0).ContextSpecific().Constructed()) || !info.Empty() {
		return nil, malformed("ill-formed attributes")
	}
	return found, found.scanAttributes(attributes)
}

// scanAttributes finds what the one extensionRequest attribute of RFC 2985
// section 5.4.2 holds. A second one, or one with several values, would let two
// readers see two requests.
func (s *scanned) scanAttributes(attributes cryptobyte.String) (err error) {
	seen := make(map[string]bool)
	for count := 0; !attributes.Empty(); count++ {
		var attribute, values, list cryptobyte.String
		var oid asn1.ObjectIdentifier
		if count == maxAttributes {
			return fault.FieldOf(fault.TooLarge, "csr", "must hold at most %d attributes", maxAttributes)
		}
		if !attributes.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&oid) ||
			!attribute.ReadASN1(&values, cbasn1.SET) || !attribute.Empty() {
			return malformed("ill-formed attribute")
		}
		name := oid.String()
		if seen[name] {
			return fault.Field("csr", "must hold attribute %s once", name)
		}
		seen[name] = true
		switch name {
		case oidMSExtensionRequest:
			s.microsoft = values
		case oidExtensionRequest:
			if !values.ReadASN1(&list, cbasn1.SEQUENCE) || !values.Empty() {
				return malformed("extensionRequest must hold one value")
			}
			if s.extensions, err = scanExtensions(list); err != nil {
				return err
			}
		}
	}
	return nil
}

func scanExtensions(list cryptobyte.String) ([]extension, error) {
	var extensions []extension
	for !list.Empty() {
		var item, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		if len(extensions) == maxExtensions {
			return nil, fault.FieldOf(fault.TooLarge, "csr", "must request at most %d extensions", maxExtensions)
		}
		if !list.ReadASN1(&item, cbasn1.SEQUENCE) || !item.ReadASN1ObjectIdentifier(&oid) ||
			!skipCritical(&item) || !item.ReadASN1(&value, cbasn1.OCTET_STRING) || !item.Empty() {
			return nil, malformed("ill-formed extension")
		}
		name := oid.String()
		for _, earlier := range extensions {
			if earlier.oid == name {
				return nil, fault.Field("csr", "must request extension %s once", name)
			}
		}
		extensions = append(extensions, extension{name, value})
	}
	return extensions, nil
}

// skipCritical passes over the optional critical flag; an explicit FALSE is not
// DER, but requests with it exist and it says nothing.
func skipCritical(item *cryptobyte.String) bool {
	var critical bool
	return !item.PeekASN1Tag(cbasn1.BOOLEAN) || item.ReadASN1Boolean(&critical)
}

func (r *Request) readExtensions(extensions []extension) (err error) {
	for _, ext := range extensions {
		switch ext.oid {
		case OIDSubjectAltName:
			if r.Names, r.NamesErr = ParseSAN(ext.value); fault.Is(r.NamesErr, fault.TooLarge) {
				err = r.NamesErr
			}
		case OIDBasicConstraints:
			r.CA, err = readBasicConstraints(ext.value)
		case OIDKeyUsage:
			r.KeyUsage, err = readKeyUsage(ext.value)
		case OIDExtKeyUsage:
			r.ExtKeyUsage, err = readExtKeyUsage(ext.value)
		default:
			r.Unknown = append(r.Unknown, ext.oid)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readBasicConstraints accepts only the DER of RFC 5280 section 4.2.1.9, so that no
// other reader can see CA:TRUE where this one saw none.
func readBasicConstraints(value cryptobyte.String) (ca bool, err error) {
	var sequence cryptobyte.String
	ok := value.ReadASN1(&sequence, cbasn1.SEQUENCE) && value.Empty()
	if ok && sequence.PeekASN1Tag(cbasn1.BOOLEAN) {
		ok = sequence.ReadASN1Boolean(&ca)
	}
	if ok && !sequence.Empty() {
		var pathLen uint
		ok = ca && sequence.ReadASN1Integer(&pathLen) && sequence.Empty()
	}
	if !ok {
		return false, fault.Field("csr", "must hold well-formed basicConstraints")
	}
	return ca, nil
}

func readKeyUsage(value cryptobyte.String) (x509.KeyUsage, error) {
	var flags asn1.BitString
	if !value.ReadASN1BitString(&flags) || !value.Empty() || flags.BitLength == 0 || flags.BitLength > 9 {
		return 0, fault.Field("csr", "must hold a well-formed keyUsage")
	}
	var usage x509.KeyUsage
	for bit := range flags.BitLength {
		if flags.At(bit) == 1 {
			usage |= 1 << bit
		}
	}
	return usage, nil
}

// MarshalKeyUsage encodes keyUsage, critical, as a request or a certificate carries it
// (RFC 5280 section 4.2.1.3): a named bit list, so without trailing zero bits.
func MarshalKeyUsage(usage x509.KeyUsage) (pkix.Extension, error) {
	var flags asn1.BitString
	for bit := range 9 {
		if usage&(1<<bit) == 0 {
			continue
		}
		for len(flags.Bytes) <= bit/8 {
			flags.Bytes = append(flags.Bytes, 0)
		}
		flags.Bytes[bit/8] |= 0x80 >> (bit % 8)
		flags.BitLength = bit + 1
	}
	value, err := asn1.Marshal(flags)
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("encoding keyUsage: %w", err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: value}, nil
}

func readExtKeyUsage(value cryptobyte.String) ([]string, error) {
	var sequence cryptobyte.String
	ok := value.ReadASN1(&sequence, cbasn1.SEQUENCE) && value.Empty() && !sequence.Empty()
	var usages []string
	for ok && !sequence.Empty() {
		var oid asn1.ObjectIdentifier
		ok = sequence.ReadASN1ObjectIdentifier(&oid)
		usages = append(usages, oid.String())
	}
	if !ok || len(usages) > maxExtensions {
		return nil, fault.Field("csr", "must hold a well-formed extKeyUsage")
	}
	return usages, nil
}
