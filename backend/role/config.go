package role

import (
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// Config is a role as an operator declares it; tags as in profile.Config. The
// defaults are those of the built-in engine for a role without a profile. Start from
// DefaultConfig, or from DefaultConfigFor when the role names a profile.
type Config struct {
	Profile   string `json:"profile" doc:"Profile of the role, as name or name@version. If empty, the role's own fields define its certificates, as in the built-in engine."`
	IssuerRef string `json:"issuer_ref" doc:"Name or id of the issuer that signs, or default." default:"default"`

	TTL               int64  `json:"ttl" doc:"Lifetime if the request gives none. With 0, it is the profile's, or the mount's." kind:"duration" default:"0"`
	MaxTTL            int64  `json:"max_ttl" doc:"Longest lifetime. A longer ttl is shortened with a warning. A later not_after is refused. With 0, profile and mount limit it." kind:"duration" default:"0"`
	NotBeforeDuration int64  `json:"not_before_duration" doc:"How far notBefore is in the past, for clients with slow clocks. With a profile, 0 means the profile's value." kind:"duration" default:"30"`
	NotAfter          string `json:"not_after" doc:"Fixed expiry of all certificates, RFC 3339. A request can give an earlier one only. Empty for none."`

	AllowLocalhost            bool     `json:"allow_localhost" doc:"Whether localhost and localdomain may be certified." default:"true"`
	AllowedDomains            []string `json:"allowed_domains" doc:"Domains that the role grants, with allow_bare_domains, allow_subdomains and allow_glob_domains."`
	AllowedDomainsTemplate    bool     `json:"allowed_domains_template" doc:"Whether allowed_domains may contain identity templates. The value of a template is used as plain labels, never as a pattern."`
	AllowBareDomains          bool     `json:"allow_bare_domains" doc:"Whether the allowed domains themselves may be certified."`
	AllowSubdomains           bool     `json:"allow_subdomains" doc:"Whether names below the allowed domains may be certified, wildcards included where those are allowed."`
	AllowGlobDomains          bool     `json:"allow_glob_domains" doc:"Whether * in allowed_domains matches any characters within one label."`
	AllowWildcardCertificates bool     `json:"allow_wildcard_certificates" doc:"Whether the left-most label of a name may be a wildcard (*, RFC 6125)." default:"true"`
	AllowAnyName              bool     `json:"allow_any_name" doc:"Whether any DNS name and e-mail address may be certified."`
	EnforceHostnames          bool     `json:"enforce_hostnames" doc:"Whether names must be host names; otherwise underscores are allowed, and any text as a common name that the role grants." default:"true"`
	DeniedDomains             []string `json:"denied_domains" blank:"refuse" doc:"Domains that are never certified, nor any name below them, whatever else is allowed."`

	AllowIPSANs            bool     `json:"allow_ip_sans" doc:"Whether IP addresses may be certified. With a profile, allowed_ip_sans_cidr must list their networks as well." default:"true"`
	AllowedIPSANsCIDR      []string `json:"allowed_ip_sans_cidr" blank:"refuse" doc:"Networks in CIDR form in which IP addresses must lie. Empty grants no address to a role with a profile, and every address to a role without one where allow_ip_sans is true."`
	AllowedURISANs         []string `json:"allowed_uri_sans" doc:"Patterns of permitted URIs. * matches any characters, and within a host the characters of one label."`
	AllowedURISANsTemplate bool     `json:"allowed_uri_sans_template" doc:"Whether allowed_uri_sans may contain identity templates. The value of a template is never a pattern, and never adds a path segment."`
	AllowedOtherSANs       []string `json:"allowed_other_sans" doc:"Other names that may be certified, as OID;UTF8:pattern, or * for all."`
	AllowedSerialNumbers   []string `json:"allowed_serial_numbers" doc:"Patterns of values that the subject's serialNumber attribute may have; empty allows none."`
	AllowedUserIDs         []string `json:"allowed_user_ids" doc:"Patterns of values that the subject's userId attribute may have; empty allows none."`

	ServerFlag          bool     `json:"server_flag" doc:"Whether certificates are for TLS servers." default:"true"`
	ClientFlag          bool     `json:"client_flag" doc:"Whether certificates are for TLS clients." default:"true"`
	CodeSigningFlag     bool     `json:"code_signing_flag" doc:"Whether certificates are for code signing."`
	EmailProtectionFlag bool     `json:"email_protection_flag" doc:"Whether certificates are for e-mail protection."`
	KeyUsage            []string `json:"key_usage" doc:"Key usages. A usage that the key's algorithm does not support is omitted. With a profile, empty means the profile's value." default:"DigitalSignature,KeyAgreement,KeyEncipherment"`
	ExtKeyUsage         []string `json:"ext_key_usage" doc:"Additional extended key usages by name. With a profile, no flag and no name means the profile's value."`
	ExtKeyUsageOIDs     []string `json:"ext_key_usage_oids" doc:"Further extended key usages by OID."`

	KeyType       string `json:"key_type" doc:"Key type of CSRs and generated keys. any permits all types in CSRs. With a profile, any means the profile's value." enum:"rsa|ec|ed25519|any" default:"rsa"`
	KeyBits       int    `json:"key_bits" doc:"Smallest key size in bits. With 0, it is 2048 for rsa and 256 for ec, or the profile's value." enum:"0|256|384|521|2048|3072|4096" default:"0"`
	SignatureBits int    `json:"signature_bits" doc:"Bits of the SHA-2 hash in signatures of RSA issuers, 0 for 256 or the profile's." enum:"0|256|384|512" default:"0"`
	UsePSS        bool   `json:"use_pss" doc:"Whether RSA issuers sign with PSS."`

	UseCSRCommonName   bool   `json:"use_csr_common_name" doc:"Whether the common name of a CSR is used before that of the request." default:"true"`
	UseCSRSANs         bool   `json:"use_csr_sans" doc:"Whether the alternative names of a CSR are used instead of those of the request." default:"true"`
	SerialNumberSource string `json:"serial_number_source" doc:"Source of the subject's serialNumber: the request, then the CSR (json-csr), or the request alone (json)." enum:"json-csr|json" default:"json-csr"`

	OU            []string `json:"ou" doc:"Organizational units in the subject."`
	Organization  []string `json:"organization" doc:"Organizations in the subject."`
	Country       []string `json:"country" doc:"Countries in the subject, as ISO 3166 codes of two letters."`
	Locality      []string `json:"locality" doc:"Localities in the subject."`
	Province      []string `json:"province" doc:"Provinces in the subject."`
	StreetAddress []string `json:"street_address" doc:"Street addresses in the subject."`
	PostalCode    []string `json:"postal_code" doc:"Postal codes in the subject."`

	RequireCN         bool     `json:"require_cn" doc:"Whether a request must have a common name." default:"true"`
	CNValidations     []string `json:"cn_validations" doc:"Permitted form of common names: email, hostname, or both. disabled permits any text, but host names, e-mail addresses and IP addresses must still be granted." enum:"email|hostname|disabled" default:"email,hostname"`
	PolicyIdentifiers []string `json:"policy_identifiers" doc:"Certificate policy OIDs, each alone, as OID=URI of the practice statement, or as JSON with oid, cps and notice."`
	BCForNonCA        bool     `json:"basic_constraints_valid_for_non_ca" doc:"Whether certificates carry basic constraints with CA:FALSE."`
	GenerateLease     bool     `json:"generate_lease" doc:"Whether a certificate gets a lease, and is revoked when the lease ends. Requires stored certificates."`
	NoStore           bool     `json:"no_store" doc:"Whether certificates are not stored. With a profile, the profile must permit it."`

	AllowedGroups    []string `json:"allowed_groups" blank:"refuse" doc:"Names or ids of identity groups whose entities may use the role; once set, everybody else is refused, root tokens included."`
	AllowedEntities  []string `json:"allowed_entities" blank:"refuse" doc:"Ids of entities that may use the role; once set, everybody else is refused, root tokens included."`
	Owner            string   `json:"owner" doc:"Owner recorded with certificates whose request names none."`
	OwnerRequired    bool     `json:"owner_required" doc:"Whether every certificate must have an owner, from the request or the role."`
	MetadataRequired []string `json:"metadata_required" blank:"refuse" doc:"Keys that the metadata of every request must have."`
	AllowBatch       bool     `json:"allow_batch" doc:"Whether many requests may be signed at once." default:"true"`
}

// The values of Config.KeyType, SerialNumberSource and CNValidations that decide.
const (
	keyTypeAny   = "any"
	sourceBoth   = "json-csr"
	cnEmail      = "email"
	cnHostname   = "hostname"
	cnDisabled   = "disabled"
	defaultIssue = "default"
)

// DefaultConfig returns the defaults of a role without a profile: those of the
// built-in engine, which the default tags show.
func DefaultConfig() Config {
	return Config{
		IssuerRef:                 defaultIssue,
		NotBeforeDuration:         30,
		AllowLocalhost:            true,
		AllowWildcardCertificates: true,
		EnforceHostnames:          true,
		AllowIPSANs:               true,
		ServerFlag:                true,
		ClientFlag:                true,
		KeyUsage:                  []string{"DigitalSignature", "KeyAgreement", "KeyEncipherment"},
		KeyType:                   "rsa",
		UseCSRCommonName:          true,
		UseCSRSANs:                true,
		SerialNumberSource:        sourceBoth,
		RequireCN:                 true,
		CNValidations:             []string{cnEmail, cnHostname},
		AllowBatch:                true,
	}
}

// DefaultConfigFor returns the defaults of a role that names the profile base, by ref
// (name or name@version): technical fields narrow nothing, and grants do not exceed
// what the profile can certify.
func DefaultConfigFor(ref string, base profile.Config) Config {
	c := DefaultConfig()
	c.Profile = ref
	c.NotBeforeDuration = 0
	c.ServerFlag, c.ClientFlag, c.KeyUsage = false, false, nil
	c.KeyType, c.RequireCN = keyTypeAny, false
	c.AllowIPSANs = slices.Contains(base.SANTypes, profile.SANIP)
	c.AllowWildcardCertificates = base.AllowWildcards
	return c
}
