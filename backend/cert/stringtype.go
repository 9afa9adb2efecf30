package cert

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// The string types in which a subject can be encoded. RFC 5280 section 4.1.2.4 allows
// both; section 7.1 compares them as equal, but openssl ca with policy_match does not.
const (
	PrintableSubject = "printable" // PrintableString where the characters allow it, else UTF8String
	UTF8Subject      = "utf8"      // UTF8String, as openssl encodes
)

// printableOnly are the attributes that RFC 5280 appendix A.1 defines as PrintableString:
// country, serialNumber and dnQualifier.
var printableOnly = []string{"2.5.4.6", "2.5.4.5", "2.5.4.46"}

// MarshalSubject returns a distinguished name in DER, in one of the string types; "" is
// PrintableSubject.
func MarshalSubject(name pkix.Name, stringType string) ([]byte, error) {
	sequence := name.ToRDNSequence()
	switch stringType {
	case UTF8Subject:
		for _, set := range sequence {
			for i, attribute := range set {
				if text, ok := attribute.Value.(string); ok && !slices.Contains(printableOnly, attribute.Type.String()) {
					set[i].Value = asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(text)}
				}
			}
		}
	case "", PrintableSubject:
	default:
		return nil, fault.Field("subject_encoding", "must be %s or %s", PrintableSubject, UTF8Subject)
	}
	der, err := asn1.Marshal(sequence)
	if err != nil {
		return nil, fault.New(fault.Invalid, "encoding the subject: %w", err)
	}
	return der, nil
}
