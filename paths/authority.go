package paths

import (
	"cmp"
	"crypto/x509/pkix"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// caSubject is what a request says about the subject and names of a CA.
type caSubject struct {
	CommonName        string   `json:"common_name" max:"1024" doc:"Common name of the subject."`
	AltNames          string   `json:"alt_names" kind:"csv" max:"300000" doc:"DNS names and e-mail addresses, separated by commas."`
	IPSANs            []string `json:"ip_sans" doc:"IP addresses."`
	URISANs           []string `json:"uri_sans" doc:"URIs."`
	OtherSANs         []string `json:"other_sans" doc:"Other names, each as OID;UTF8:value."`
	ExcludeCNFromSANs bool     `json:"exclude_cn_from_sans" doc:"Whether a common name that is a host name or an e-mail address is left out of the alternative names."`
	OU                []string `json:"ou" doc:"Organizational units in the subject."`
	Organization      []string `json:"organization" doc:"Organizations in the subject."`
	Country           []string `json:"country" doc:"Countries in the subject, as ISO 3166 codes of two letters."`
	Locality          []string `json:"locality" doc:"Localities in the subject."`
	Province          []string `json:"province" doc:"Provinces in the subject."`
	StreetAddress     []string `json:"street_address" doc:"Street addresses in the subject."`
	PostalCode        []string `json:"postal_code" doc:"Postal codes in the subject."`
	SerialNumber      string   `json:"serial_number" max:"1024" doc:"serialNumber attribute of the subject; not that of the certificate."`
}

// caValidity is how long a CA certificate shall last.
type caValidity struct {
	TTL      int64  `json:"ttl" kind:"duration" doc:"Lifetime. With 0, it is the mount's default_lease_ttl. The mount's max_lease_ttl limits it."`
	NotAfter string `json:"not_after" max:"64" doc:"Expiry, RFC 3339; cannot be combined with ttl."`
}

// caShape is what a CA certificate shall be when no profile says it.
type caShape struct {
	MaxPathLength           int      `json:"max_path_length" default:"-1" min:"-1" max:"32" doc:"Path length: number of CA certificates that may follow this one in a chain; -1 for no limit."`
	NotBeforeDuration       int64    `json:"not_before_duration" kind:"duration" default:"30s" doc:"How far notBefore lies in the past."`
	KeyUsage                []string `json:"key_usage" default:"CertSign,CRLSign" doc:"Key usages of the CA; CertSign and CRLSign are needed, DigitalSignature may join them."`
	SignatureBits           int      `json:"signature_bits" enum:"0|256|384|512" default:"0" doc:"Bits of the SHA-2 hash in signatures of RSA keys; 0 for 256."`
	UsePSS                  bool     `json:"use_pss" doc:"Whether RSA keys sign with PSS."`
	PermittedDNSDomains     []string `json:"permitted_dns_domains" doc:"Name constraint: DNS domains that the CA may certify."`
	ExcludedDNSDomains      []string `json:"excluded_dns_domains" doc:"Name constraint: DNS domains that the CA must not certify."`
	PermittedIPRanges       []string `json:"permitted_ip_ranges" doc:"Name constraint: IP networks in CIDR form that the CA may certify."`
	ExcludedIPRanges        []string `json:"excluded_ip_ranges" doc:"Name constraint: IP networks in CIDR form that the CA must not certify."`
	PermittedEmailAddresses []string `json:"permitted_email_addresses" doc:"Name constraint: mailboxes, hosts or .domains that the CA may certify."`
	ExcludedEmailAddresses  []string `json:"excluded_email_addresses" doc:"Name constraint: mailboxes, hosts or .domains that the CA must not certify."`
	PermittedURIDomains     []string `json:"permitted_uri_domains" doc:"Name constraint: hosts or .domains of URIs that the CA may certify."`
	ExcludedURIDomains      []string `json:"excluded_uri_domains" doc:"Name constraint: hosts or .domains of URIs that the CA must not certify."`
}

// caKey says which key a CA gets.
type caKey struct {
	Where   string `json:"exported" in:"path" enum:"internal|existing|kms" doc:"internal: a new key in storage; existing: the key that key_ref names; kms: a new key in the token that hsm names. Keys of CAs are never exported."`
	KeyName string `json:"key_name" kind:"name" doc:"Name of the new key; no other key may have it."`
	KeyType string `json:"key_type" enum:"rsa|ec|ed25519" default:"rsa" doc:"Type of the new key."`
	KeyBits int    `json:"key_bits" default:"0" min:"0" max:"8192" doc:"Size of the new key in bits: 2048, 3072 or 4096 for rsa, 256, 384 or 521 for ec; 0 for 2048 or 256."`
	HSM     string `json:"hsm" alias:"managed_key_name" kind:"name" doc:"Token in which to generate the key, for kms only."`
	KeyRef  string `json:"key_ref" kind:"ref" doc:"Id or name of the key to use; for existing only, where it is default when not given."`
}

// caForm is how a request wants a CA's certificate or request.
type caForm struct {
	Format    string `json:"format" enum:"pem|der|pem_bundle" default:"pem" doc:"Form of certificates and requests: pem, der (base64), or pem_bundle with the chain in certificate."`
	KeyFormat string `json:"private_key_format" enum:"der|pem|pkcs8" default:"der" doc:"Accepted for clients of the built-in engine. It has no effect: private keys of CAs are not returned."`
}

func (k caKey) choice() (issuer.KeyChoice, error) {
	if err := checkHSM(k.Where, k.HSM); err != nil {
		return issuer.KeyChoice{}, err
	}
	if k.Where == "existing" {
		return issuer.KeyChoice{Existing: cmp.Or(k.KeyRef, "default")}, nil
	}
	if k.KeyRef != "" {
		return issuer.KeyChoice{}, fault.Field("key_ref", "is for existing only: use the path that ends in /existing for a key that is there")
	}
	spec, err := cert.NewKeySpec(k.KeyType, k.KeyBits)
	return issuer.KeyChoice{Name: k.KeyName, Spec: spec, Token: k.HSM}, err
}

// subject returns the distinguished name that the request spells out.
func (s caSubject) subject() pkix.Name {
	return pkix.Name{
		CommonName: s.CommonName, SerialNumber: s.SerialNumber,
		OrganizationalUnit: s.OU, Organization: s.Organization, Country: s.Country, Locality: s.Locality,
		Province: s.Province, StreetAddress: s.StreetAddress, PostalCode: s.PostalCode,
	}
}

// names returns the alternative names. As in the built-in engine, a common name
// that is a host name or an e-mail address is one of them.
func (s caSubject) names() (cert.Names, error) {
	var names cert.Names
	mixed := commaList(s.AltNames)
	if len(mixed)+len(s.IPSANs)+len(s.URISANs)+len(s.OtherSANs) > cert.MaxSANs {
		return names, fault.FieldOf(fault.TooLarge, "alt_names", "more than %d names", cert.MaxSANs)
	}
	for _, text := range mixed {
		if err := addMixed(&names, text); err != nil {
			return names, fault.Field("alt_names", "%w", err)
		}
	}
	for _, text := range s.IPSANs {
		ip, err := cert.ParseIP(text)
		if err != nil {
			return names, fault.Field("ip_sans", "%w", err)
		}
		names.IP = append(names.IP, ip)
	}
	for _, text := range s.URISANs {
		uri, err := cert.ParseURI(text)
		if err != nil {
			return names, fault.Field("uri_sans", "%w", err)
		}
		names.URI = append(names.URI, uri)
	}
	for _, text := range s.OtherSANs {
		other, err := cert.ParseOtherName(text)
		if err != nil {
			return names, fault.Field("other_sans", "%w", err)
		}
		names.Other = append(names.Other, other)
	}
	if !s.ExcludeCNFromSANs && strings.ContainsAny(s.CommonName, ".@") && !slices.Contains(mixed, s.CommonName) {
		_ = addMixed(&names, s.CommonName) // a common name that is neither is only a common name
	}
	return names, nil
}

func addMixed(names *cert.Names, text string) error {
	if strings.Contains(text, "@") {
		email, err := cert.ParseEmail(text)
		if err == nil {
			names.Email = append(names.Email, email)
		}
		return err
	}
	dns, err := cert.NormaliseDNS(text)
	if err == nil {
		names.DNS = append(names.DNS, dns)
	}
	return err
}

// config returns the profile that the request's fields spell.
func (s caShape) config(kind string) profile.Config {
	config := profile.ForCA(kind)
	config.MaxPathLength = s.MaxPathLength
	config.NotBeforeDur = s.NotBeforeDuration
	config.KeyUsage = s.KeyUsage
	config.SignatureHashBits, config.SignaturePSS = s.SignatureBits, s.UsePSS
	config.PermittedDNSDomains, config.ExcludedDNSDomains = s.PermittedDNSDomains, s.ExcludedDNSDomains
	config.PermittedIPRanges, config.ExcludedIPRanges = s.PermittedIPRanges, s.ExcludedIPRanges
	config.PermittedEmailAddresses, config.ExcludedEmailAddresses = s.PermittedEmailAddresses, s.ExcludedEmailAddresses
	config.PermittedURIDomains, config.ExcludedURIDomains = s.PermittedURIDomains, s.ExcludedURIDomains
	return config
}

// parseKeyID reads a subject key identifier, nil for an empty one.
func parseKeyID(text string) ([]byte, error) {
	octets, err := hex.DecodeString(strings.NewReplacer(":", "", "-", "").Replace(text))
	if err != nil {
		return nil, fault.Field("skid", "must be hexadecimal bytes")
	}
	return octets, nil
}

// caRequest fills what root and sign-intermediate have in common.
func (m *mount) caRequest(subject caSubject, validity caValidity, config profile.Config) (issue.CARequest, error) {
	notAfter, err := profile.ParseNotAfter(validity.NotAfter)
	if err != nil {
		return issue.CARequest{}, err
	}
	names, err := subject.names()
	return issue.CARequest{
		Subject:  subject.subject(),
		Names:    names,
		Profile:  config,
		TTL:      time.Duration(validity.TTL) * time.Second,
		NotAfter: notAfter,
		Mount:    m.leases(),
	}, err
}
