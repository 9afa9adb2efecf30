package ceremony

import (
	"crypto/x509/pkix"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// Subject is a distinguished name, one value an attribute.
type Subject struct {
	CommonName    string `yaml:"common_name" required:"true" doc:"Common name (CN)." example:"Example Root CA G1"`
	Organization  string `yaml:"organization" doc:"Organization (O)." example:"Example Corporation"`
	Unit          string `yaml:"ou" doc:"Organizational unit (OU)."`
	Country       string `yaml:"country" doc:"Country (C), ISO 3166-1 alpha-2." example:"DE"`
	Province      string `yaml:"province" doc:"State or province (ST)."`
	Locality      string `yaml:"locality" doc:"Locality (L)."`
	StreetAddress string `yaml:"street_address" doc:"Street address."`
	PostalCode    string `yaml:"postal_code" doc:"Postal code."`
	SerialNumber  string `yaml:"serial_number" doc:"Attribute serialNumber of the name, not the number of the certificate."`
}

func (s Subject) name() pkix.Name {
	return pkix.Name{
		CommonName:         s.CommonName,
		SerialNumber:       s.SerialNumber,
		Organization:       oneOrNone(s.Organization),
		OrganizationalUnit: oneOrNone(s.Unit),
		Country:            oneOrNone(s.Country),
		Province:           oneOrNone(s.Province),
		Locality:           oneOrNone(s.Locality),
		StreetAddress:      oneOrNone(s.StreetAddress),
		PostalCode:         oneOrNone(s.PostalCode),
	}
}

func oneOrNone(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

// Limits narrow a preset: what an order may say about a CA beyond its name and its
// validity. An absent field leaves the preset's value.
type Limits struct {
	MaxPathLength           *int     `yaml:"max_path_length" doc:"Number of CA certificates that may follow this one on a path. Root: 1 for two tiers, 2 for three. Issuing CA: 0. Intermediate CA: 1 or more." example:"0"`
	ExtKeyUsage             []string `yaml:"ext_key_usage" doc:"Extended key usages that the CA may certify. Refused for a root." example:"[ServerAuth, ClientAuth]"`
	PolicyIdentifiers       []string `yaml:"policy_identifiers" doc:"Certificate policies, OIDs."`
	PermittedDNSDomains     []string `yaml:"permitted_dns_domains" doc:"DNS domains that names below must be in." example:"[example.com]"`
	ExcludedDNSDomains      []string `yaml:"excluded_dns_domains" doc:"DNS domains that names below must not be in."`
	PermittedIPRanges       []string `yaml:"permitted_ip_ranges" doc:"IP ranges in CIDR notation that names below must be in."`
	ExcludedIPRanges        []string `yaml:"excluded_ip_ranges" doc:"IP ranges in CIDR notation that names below must not be in."`
	PermittedEmailAddresses []string `yaml:"permitted_email_addresses" doc:"E-mail addresses or domains that names below must be in."`
	ExcludedEmailAddresses  []string `yaml:"excluded_email_addresses" doc:"E-mail addresses or domains that names below must not be in."`
	PermittedURIDomains     []string `yaml:"permitted_uri_domains" doc:"Domains of URIs that names below must be in."`
	ExcludedURIDomains      []string `yaml:"excluded_uri_domains" doc:"Domains of URIs that names below must not be in."`
}

// The presets that ceremonies use. intermediate-ca is not in the catalogue of the engine,
// which makes no such CA by itself: it is issuing-ca with a path length and a longer life.
const (
	rootPreset         = "root-ca"
	issuingPreset      = "issuing-ca"
	intermediatePreset = "intermediate-ca"
)

// The tiers that an IssuingOrder may name.
const (
	tierIssuing      = "issuing"
	tierIntermediate = "intermediate"
)

// The intermediate preset: CAs that may follow by default and at most, and the longest
// validity: 15 years, so that issuing CAs below live their whole life.
const (
	intermediateTTL     = 5479 * 24 * time.Hour
	intermediateDefault = 1
	intermediateMost    = 8
)

// preset returns a preset by name, and the largest path length that an order may give
// it; -1: any.
func preset(name string) (config profile.Config, most int, err error) {
	known := name
	if name == intermediatePreset {
		known = issuingPreset
	}
	config, ok := profile.Preset(known)
	if !ok {
		return profile.Config{}, 0, fault.New(fault.Internal, "the catalogue has no preset %s", name)
	}
	if name == intermediatePreset {
		config.MaxTTL, config.MaxPathLength = int64(intermediateTTL/time.Second), intermediateDefault
		return config, intermediateMost, nil
	}
	return config, config.MaxPathLength, nil
}

// checkValidity refuses a validity that the preset does not allow, in the order's own
// terms.
func checkValidity(name string, validity Period, now time.Time) error {
	config, _, err := preset(name)
	if err != nil {
		return err
	}
	if validity.IsZero() {
		return fault.Field("validity", "must be given, such as 1826d or 20y")
	}
	life := validity.From(now).Sub(now)
	if longest := time.Duration(config.MaxTTL) * time.Second; life > longest {
		return fault.Field("validity", "%s is longer than preset %s allows, %d days", validity, name, longest/(24*time.Hour))
	}
	if shortest := time.Duration(config.MinTTL) * time.Second; life < shortest {
		return fault.Field("validity", "%s is shorter than preset %s allows, %d days", validity, name, shortest/(24*time.Hour))
	}
	return nil
}

// compile returns the preset narrowed by the limits.
func (l Limits) compile(name string) (*profile.Profile, error) {
	config, most, err := preset(name)
	if err != nil {
		return nil, err
	}
	if l.MaxPathLength != nil {
		given := *l.MaxPathLength
		switch {
		case given < 0 || most >= 0 && given > most:
			return nil, fault.Field("profile.max_path_length", "%d is not within 0 to %d, which preset %s allows%s", given, most, name, tierHint(name, given))
		case name == intermediatePreset && given == 0:
			return nil, fault.Field("profile.max_path_length", "0 allows no CA below; tier: intermediate must have 1 or more")
		}
		config.MaxPathLength = given
	}
	if len(l.ExtKeyUsage) > 0 {
		config.ExtKeyUsage = l.ExtKeyUsage
	}
	config.PolicyIdentifiers = l.PolicyIdentifiers
	config.PermittedDNSDomains = l.PermittedDNSDomains
	config.ExcludedDNSDomains = l.ExcludedDNSDomains
	config.PermittedIPRanges = l.PermittedIPRanges
	config.ExcludedIPRanges = l.ExcludedIPRanges
	config.PermittedEmailAddresses = l.PermittedEmailAddresses
	config.ExcludedEmailAddresses = l.ExcludedEmailAddresses
	config.PermittedURIDomains = l.PermittedURIDomains
	config.ExcludedURIDomains = l.ExcludedURIDomains
	compiled, err := profile.New(name, 1, config)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "reading profile: %w", err)
	}
	return compiled, nil
}

// tierHint names the field that a CA above issuing CAs needs.
func tierHint(name string, given int) string {
	if name == issuingPreset && given > 0 {
		return "; say tier: intermediate for a CA above issuing CAs"
	}
	return ""
}
