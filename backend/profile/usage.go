package profile

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// keyUsages is the vocabulary of key usages: the name the built-in engine shows,
// the name of RFC 5280 section 4.2.1.3, and the families of keys that can serve the
// usage in an end-entity certificate (RFC 3279 section 2.3.1, RFC 8813 section 3,
// RFC 8410 section 5).
var keyUsages = []struct {
	bit   x509.KeyUsage
	name  string
	alias string
	keys  []cert.KeyType
}{
	{x509.KeyUsageDigitalSignature, "DigitalSignature", "digitalSignature", []cert.KeyType{cert.RSA, cert.EC, cert.Ed25519}},
	{x509.KeyUsageContentCommitment, "ContentCommitment", "nonRepudiation", []cert.KeyType{cert.RSA, cert.EC, cert.Ed25519}},
	{x509.KeyUsageKeyEncipherment, "KeyEncipherment", "keyEncipherment", []cert.KeyType{cert.RSA}},
	{x509.KeyUsageDataEncipherment, "DataEncipherment", "dataEncipherment", []cert.KeyType{cert.RSA}},
	{x509.KeyUsageKeyAgreement, "KeyAgreement", "keyAgreement", []cert.KeyType{cert.EC}},
	{x509.KeyUsageCertSign, "CertSign", "keyCertSign", []cert.KeyType{cert.RSA, cert.EC, cert.Ed25519}},
	{x509.KeyUsageCRLSign, "CRLSign", "cRLSign", []cert.KeyType{cert.RSA, cert.EC, cert.Ed25519}},
	{x509.KeyUsageEncipherOnly, "EncipherOnly", "encipherOnly", []cert.KeyType{cert.EC}},
	{x509.KeyUsageDecipherOnly, "DecipherOnly", "decipherOnly", []cert.KeyType{cert.EC}},
}

const caUsages = x509.KeyUsageCertSign | x509.KeyUsageCRLSign

// ParseKeyUsages reads names of key usages in any case, as the built-in engine
// ("KeyEncipherment") or RFC 5280 ("keyEncipherment", "nonRepudiation") writes
// them. field is named in the refusal.
func ParseKeyUsages(field string, names []string) (x509.KeyUsage, error) {
	var bits x509.KeyUsage
	for _, name := range names {
		bit := keyUsage(strings.TrimSpace(name))
		if bit == 0 {
			return 0, fault.Field(field, "unknown key usage %q; use %s", name, fault.List(KeyUsageNames(^x509.KeyUsage(0))))
		}
		bits |= bit
	}
	return bits, nil
}

func keyUsage(name string) x509.KeyUsage {
	name = strings.TrimPrefix(strings.ToLower(name), "keyusage")
	for _, u := range keyUsages {
		if strings.EqualFold(u.name, name) || strings.EqualFold(u.alias, name) {
			return u.bit
		}
	}
	return 0
}

// KeyUsageNames lists the names of the usages in bits, in the order of RFC 5280.
func KeyUsageNames(bits x509.KeyUsage) []string {
	var names []string
	for _, u := range keyUsages {
		if bits&u.bit != 0 {
			names = append(names, u.name)
		}
	}
	return names
}

// servedBy returns the usages among bits that a key of the family can serve.
func servedBy(bits x509.KeyUsage, family cert.KeyType) x509.KeyUsage {
	var served x509.KeyUsage
	for _, u := range keyUsages {
		if bits&u.bit != 0 && slices.Contains(u.keys, family) {
			served |= u.bit
		}
	}
	return served
}

// extKeyUsages is the vocabulary of extended key usages, with the names that the
// built-in engine takes.
var extKeyUsages = []struct {
	name string
	oid  string
	std  x509.ExtKeyUsage
}{
	{"Any", oidAnyEKU, x509.ExtKeyUsageAny},
	{"ServerAuth", "1.3.6.1.5.5.7.3.1", x509.ExtKeyUsageServerAuth},
	{"ClientAuth", "1.3.6.1.5.5.7.3.2", x509.ExtKeyUsageClientAuth},
	{"CodeSigning", "1.3.6.1.5.5.7.3.3", x509.ExtKeyUsageCodeSigning},
	{"EmailProtection", "1.3.6.1.5.5.7.3.4", x509.ExtKeyUsageEmailProtection},
	{"IPSECEndSystem", "1.3.6.1.5.5.7.3.5", x509.ExtKeyUsageIPSECEndSystem},
	{"IPSECTunnel", "1.3.6.1.5.5.7.3.6", x509.ExtKeyUsageIPSECTunnel},
	{"IPSECUser", "1.3.6.1.5.5.7.3.7", x509.ExtKeyUsageIPSECUser},
	{"TimeStamping", "1.3.6.1.5.5.7.3.8", x509.ExtKeyUsageTimeStamping},
	{"OCSPSigning", oidOCSPSigning, x509.ExtKeyUsageOCSPSigning},
	{"MicrosoftServerGatedCrypto", "1.3.6.1.4.1.311.10.3.3", x509.ExtKeyUsageMicrosoftServerGatedCrypto},
	{"NetscapeServerGatedCrypto", "2.16.840.1.113730.4.1", x509.ExtKeyUsageNetscapeServerGatedCrypto},
	{"MicrosoftCommercialCodeSigning", "1.3.6.1.4.1.311.2.1.22", x509.ExtKeyUsageMicrosoftCommercialCodeSigning},
	{"MicrosoftKernelCodeSigning", "1.3.6.1.4.1.311.61.1.1", x509.ExtKeyUsageMicrosoftKernelCodeSigning},
}

const (
	oidAnyEKU      = "2.5.29.37.0"
	oidOCSPSigning = "1.3.6.1.5.5.7.3.9"
)

// ParseExtKeyUsages reads extended key usages, each a name in any case or an OID,
// and returns their OIDs in dotted form, each once, in order. field is named in
// the refusal.
func ParseExtKeyUsages(field string, names []string) ([]string, error) {
	oids := make([]string, 0, len(names))
	for _, name := range names {
		oid, ok := extKeyUsage(strings.TrimSpace(name))
		if !ok {
			return nil, fault.Field(field, "unknown extended key usage %q; use %s, or an OID", name, fault.List(extKeyUsageNames()))
		}
		if !slices.Contains(oids, oid) {
			oids = append(oids, oid)
		}
	}
	return oids, nil
}

func extKeyUsage(name string) (oid string, ok bool) {
	bare := name
	if len(name) > len("ExtKeyUsage") && strings.EqualFold(name[:len("ExtKeyUsage")], "ExtKeyUsage") {
		bare = name[len("ExtKeyUsage"):]
	}
	for _, u := range extKeyUsages {
		if strings.EqualFold(u.name, bare) || u.oid == name {
			return u.oid, true
		}
	}
	_, err := cert.ParseOID(name)
	return name, err == nil
}

func extKeyUsageNames() []string {
	names := make([]string, len(extKeyUsages))
	for i, u := range extKeyUsages {
		names[i] = u.name
	}
	return names
}

// extKeyUsageName returns the name of an OID, or the OID when it has none.
func extKeyUsageName(oid string) string {
	for _, u := range extKeyUsages {
		if u.oid == oid {
			return u.name
		}
	}
	return oid
}

// splitExtKeyUsages sorts OIDs into those that crypto/x509 knows and the others.
func splitExtKeyUsages(oids []string) (known []x509.ExtKeyUsage, unknown []asn1.ObjectIdentifier) {
next:
	for _, oid := range oids {
		for _, u := range extKeyUsages {
			if u.oid == oid {
				known = append(known, u.std)
				continue next
			}
		}
		// The OID was parsed when the profile was made.
		parsed, _ := cert.ParseOID(oid)
		unknown = append(unknown, parsed)
	}
	return known, unknown
}
