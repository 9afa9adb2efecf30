package profile

// Config is a profile as an operator declares it: the record that is stored, sent
// and read back. All fields are flat so that the vault CLI can set each one.
// Tags: json is the API and storage name, doc the description that path-help,
// OpenAPI and the reference show, enum the allowed values, default the default,
// kind "duration" marks seconds that also accept "720h".
//
// Start from DefaultConfig or FromPreset: the zero Config is not valid.
type Config struct {
	Preset      string `json:"preset" doc:"Preset from which this profile was created. It sets every field that the first write omits."`
	Description string `json:"description" doc:"Description of the profile. It has no effect on certificates."`
	Kind        string `json:"kind" doc:"Kind of certificate: end entity (leaf), subordinate CA (subca), self-signed CA (root) or OCSP responder (ocsp)." enum:"leaf|subca|root|ocsp" default:"leaf"`

	KeyAlgorithms        []string `json:"key_algorithms" blank:"refuse" doc:"Key algorithms that may be certified; an RSA size is the smallest allowed, an EC size is exact. The engine generates the first one unless a request names another." enum:"rsa-2048|rsa-3072|rsa-4096|ec-256|ec-384|ec-521|ed25519" default:"ec-256,ec-384,rsa-2048"`
	AllowEngineGenerated bool     `json:"allow_engine_generated" doc:"Whether the engine may generate the key; otherwise requests must bring a CSR." default:"true"`
	UniqueKey            bool     `json:"unique_key" doc:"Whether a key that was certified for another owner before is refused."`
	IssuerKeyAlgorithms  []string `json:"issuer_key_algorithms" blank:"refuse" doc:"Key algorithms of issuers that may sign this profile, read like key_algorithms; empty allows every issuer." enum:"rsa-2048|rsa-3072|rsa-4096|ec-256|ec-384|ec-521|ed25519"`

	SignatureHashBits int  `json:"signature_hash_bits" doc:"Bits of the SHA-2 hash in signatures of RSA issuers, 0 for 256; ECDSA issuers always use the hash that fits their curve." enum:"0|256|384|512" default:"0"`
	SignaturePSS      bool `json:"signature_pss" doc:"Whether RSA issuers sign with PSS instead of PKCS #1 v1.5."`

	DefaultTTL       int64  `json:"default_ttl" doc:"Lifetime if the request gives none. With 0, it is the mount's default_lease_ttl." kind:"duration" default:"0"`
	MaxTTL           int64  `json:"max_ttl" doc:"Longest lifetime. A longer ttl is shortened with a warning. A later not_after is refused. With 0, only the mount's max_lease_ttl limits it." kind:"duration" default:"0"`
	MinTTL           int64  `json:"min_ttl" doc:"Shortest lifetime; a shorter one is refused." kind:"duration" default:"0"`
	NotBeforeDur     int64  `json:"not_before_duration" doc:"How far notBefore lies in the past, for clients whose clocks are slow; never before the issuer's own notBefore." kind:"duration" default:"30"`
	NotAfter         string `json:"not_after" doc:"Fixed expiry of all certificates, RFC 3339. A request can give an earlier one only. Empty for none."`
	ValiditySchedule string `json:"validity_schedule" doc:"Schedule of falling lifetimes to obey: none, or cabf_tls for 200 days, 100 days from 2027-03-15 and 47 days from 2029-03-15." enum:"none|cabf_tls" default:"none"`

	SubjectRequired []string          `json:"subject_required" blank:"refuse" doc:"Subject attributes that must be present." enum:"common_name|organization|ou|country|locality|province|street_address|postal_code|serial_number|user_id"`
	SubjectAllowed  []string          `json:"subject_allowed" blank:"refuse" doc:"Subject attributes that may be present." enum:"common_name|organization|ou|country|locality|province|street_address|postal_code|serial_number|user_id" default:"common_name"`
	SubjectFixed    map[string]string `json:"subject_fixed" doc:"Subject attributes with a fixed value (attribute=value); a request for another value is refused."`
	SubjectPatterns map[string]string `json:"subject_patterns" doc:"Regular expressions (RE2) that the entire value of a subject attribute must match (attribute=expression)."`
	CNPolicy        string            `json:"cn_policy" doc:"Common name: left out (omit), the requested one or else the first alternative name (first_san), one of the alternative names when present (must_be_in_san), or any text (free). All but free refuse a requested common name that is not an alternative name." enum:"omit|first_san|must_be_in_san|free" default:"must_be_in_san"`

	SANTypes         []string `json:"san_types" blank:"refuse" doc:"Types of subject alternative names that may be present." enum:"dns|ip|uri|email|other" default:"dns"`
	SANRequiredTypes []string `json:"san_required_types" blank:"refuse" doc:"Types of subject alternative names of which at least one each must be present." enum:"dns|ip|uri|email|other"`
	SANMin           int      `json:"san_min" doc:"Smallest number of subject alternative names." default:"0"`
	SANMax           int      `json:"san_max" doc:"Largest number of subject alternative names." default:"100"`
	SANURIMax        int      `json:"san_uri_max" doc:"Largest number of URIs among the subject alternative names." default:"100"`
	URISchemes       []string `json:"uri_schemes" blank:"refuse" doc:"Schemes that URIs may have, such as spiffe; empty allows every scheme."`
	AllowWildcards   bool     `json:"allow_wildcards" doc:"Whether the left-most label of a DNS name may be a wildcard (*)."`

	KeyUsage            []string `json:"key_usage" blank:"refuse" doc:"Key usages of every certificate, always critical. A usage that the key's algorithm does not support is omitted. If empty, the extension is omitted." default:"DigitalSignature"`
	KeyUsageOptional    []string `json:"key_usage_optional" blank:"refuse" doc:"Key usages that a CSR or a role may add."`
	ExtKeyUsage         []string `json:"ext_key_usage" blank:"refuse" doc:"Extended key usages by name (ServerAuth, ClientAuth, CodeSigning, EmailProtection, TimeStamping, OCSPSigning ...) or OID."`
	ExtKeyUsageCritical bool     `json:"ext_key_usage_critical" doc:"Whether the extended key usage extension is critical."`

	PolicyIdentifiers []string `json:"policy_identifiers" blank:"refuse" doc:"Certificate policy OIDs, each alone, as OID=URI of the practice statement, or as JSON with oid, cps and notice."`
	AIA               string   `json:"aia" doc:"Authority information access: the issuer's URLs (full) or none." enum:"full|none" default:"full"`
	CRLDistribution   string   `json:"crl_distribution" doc:"CRL distribution points: the issuer's URLs (full) or none." enum:"full|none" default:"full"`
	OCSPNoCheck       bool     `json:"ocsp_nocheck" doc:"Whether relying parties need not check a responder's certificate for revocation (RFC 6960, id-pkix-ocsp-nocheck)."`
	NoRevAvail        bool     `json:"no_rev_avail" doc:"Whether certificates have the extension noRevAvail (RFC 9608). Requires crl_distribution=none."`
	MustStaple        bool     `json:"must_staple" doc:"Whether certificates demand a stapled OCSP response (RFC 7633)."`
	PrivateKeyUsage   int64    `json:"private_key_usage_period" doc:"How long from notBefore the private key may sign (private key usage period). With 0, the extension is omitted." kind:"duration" default:"0"`
	CustomExtensions  []string `json:"custom_extensions" blank:"refuse" doc:"Further extensions of every certificate, each as OID=critical:BASE64 or OID=noncritical:BASE64 of its DER value."`
	NoStore           bool     `json:"no_store" doc:"Whether certificates are not stored; they can be listed but not read back, and only revoked with the certificate in hand."`
	BCForNonCA        bool     `json:"basic_constraints_valid_for_non_ca" doc:"Whether end-entity certificates have basic constraints with CA:FALSE."`

	MaxPathLength           int      `json:"max_path_length" doc:"Number of CA certificates that may follow this one on a path, -1 for no limit; only for CAs." default:"-1"`
	PermittedDNSDomains     []string `json:"permitted_dns_domains" blank:"refuse" doc:"Name constraint of a CA: DNS domains it may certify."`
	ExcludedDNSDomains      []string `json:"excluded_dns_domains" blank:"refuse" doc:"Name constraint of a CA: DNS domains it must not certify."`
	PermittedIPRanges       []string `json:"permitted_ip_ranges" blank:"refuse" doc:"Name constraint of a CA: IP networks in CIDR form it may certify."`
	ExcludedIPRanges        []string `json:"excluded_ip_ranges" blank:"refuse" doc:"Name constraint of a CA: IP networks in CIDR form it must not certify."`
	PermittedEmailAddresses []string `json:"permitted_email_addresses" blank:"refuse" doc:"Name constraint of a CA: mailboxes, hosts or .domains it may certify."`
	ExcludedEmailAddresses  []string `json:"excluded_email_addresses" blank:"refuse" doc:"Name constraint of a CA: mailboxes, hosts or .domains it must not certify."`
	PermittedURIDomains     []string `json:"permitted_uri_domains" blank:"refuse" doc:"Name constraint of a CA: hosts or .domains of URIs it may certify."`
	ExcludedURIDomains      []string `json:"excluded_uri_domains" blank:"refuse" doc:"Name constraint of a CA: hosts or .domains of URIs it must not certify."`

	AllowedRevocationReasons []string          `json:"allowed_revocation_reasons" blank:"refuse" doc:"Reasons for which certificates may be revoked; keyCompromise, cACompromise and privilegeWithdrawn are always allowed. Empty allows every reason but certificateHold, which must be listed to allow suspension." enum:"unspecified|keyCompromise|cACompromise|affiliationChanged|superseded|cessationOfOperation|certificateHold|privilegeWithdrawn|aACompromise"`
	CRLRetention             int64             `json:"crl_retention" doc:"How long the CRL lists a revoked certificate after it has expired, for signatures that are verified later. With 0, keep_after_expiry of config/crl applies." kind:"duration" default:"0"`
	CSRExtra                 string            `json:"csr_extra" doc:"Handling of extensions, key usages and subject attributes in a CSR that the profile does not permit: refuse the request, or drop them." enum:"refuse|drop" default:"refuse"`
	LintSets                 []string          `json:"lint_sets" blank:"refuse" doc:"Sets of lint rules that run before a signature; empty runs those of the RFCs."`
	LintFailLevel            string            `json:"lint_fail_level" doc:"Severity from which a lint finding refuses the request." enum:"error|warn" default:"error"`
	LintIgnore               map[string]string `json:"lint_ignore" doc:"Lint rules to ignore, each with the reason (rule=reason)."`
}

// DefaultConfig returns a profile of a leaf that takes every default: the values
// of the default tags.
func DefaultConfig() Config {
	return Config{
		Kind:                 KindLeaf,
		KeyAlgorithms:        []string{"ec-256", "ec-384", "rsa-2048"},
		AllowEngineGenerated: true,
		NotBeforeDur:         30,
		ValiditySchedule:     "none",
		SubjectAllowed:       []string{"common_name"},
		CNPolicy:             CNMustBeInSAN,
		SANTypes:             []string{SANDNS},
		SANMax:               100,
		SANURIMax:            100,
		KeyUsage:             []string{"DigitalSignature"},
		AIA:                  "full",
		CRLDistribution:      "full",
		MaxPathLength:        -1,
		CSRExtra:             CSRRefuse,
		LintFailLevel:        "error",
	}
}

// The values of Config.Kind.
const (
	KindLeaf  = "leaf"
	KindSubCA = "subca"
	KindRoot  = "root"
	KindOCSP  = "ocsp"
)

// The values of Config.CNPolicy.
const (
	CNOmit        = "omit"
	CNFirstSAN    = "first_san"
	CNMustBeInSAN = "must_be_in_san"
	CNFree        = "free"
)

// The values in Config.SANTypes.
const (
	SANDNS   = "dns"
	SANIP    = "ip"
	SANURI   = "uri"
	SANEmail = "email"
	SANOther = "other"
)

// The values of Config.CSRExtra.
const (
	CSRRefuse = "refuse"
	CSRDrop   = "drop"
)
