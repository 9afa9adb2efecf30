package ceremony

import (
	"crypto/x509/pkix"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// Subject is a distinguished name, one value an attribute.
type Subject struct {
	CommonName    string `yaml:"common_name"`
	Organization  string `yaml:"organization"`
	Unit          string `yaml:"ou"`
	Country       string `yaml:"country"` // ISO 3166-1 alpha-2
	Province      string `yaml:"province"`
	Locality      string `yaml:"locality"`
	StreetAddress string `yaml:"street_address"`
	PostalCode    string `yaml:"postal_code"`
	SerialNumber  string `yaml:"serial_number"`
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
	MaxPathLength           *int     `yaml:"max_path_length"`
	ExtKeyUsage             []string `yaml:"ext_key_usage"`
	PolicyIdentifiers       []string `yaml:"policy_identifiers"`
	PermittedDNSDomains     []string `yaml:"permitted_dns_domains"`
	ExcludedDNSDomains      []string `yaml:"excluded_dns_domains"`
	PermittedIPRanges       []string `yaml:"permitted_ip_ranges"`
	ExcludedIPRanges        []string `yaml:"excluded_ip_ranges"`
	PermittedEmailAddresses []string `yaml:"permitted_email_addresses"`
	ExcludedEmailAddresses  []string `yaml:"excluded_email_addresses"`
	PermittedURIDomains     []string `yaml:"permitted_uri_domains"`
	ExcludedURIDomains      []string `yaml:"excluded_uri_domains"`
}

// The presets that ceremonies use.
const (
	rootPreset    = "root-ca"
	issuingPreset = "issuing-ca"
)

// compile returns the preset narrowed by the limits.
func (l Limits) compile(preset string) (*profile.Profile, error) {
	config, ok := profile.Preset(preset)
	if !ok {
		return nil, fault.New(fault.Internal, "the catalogue has no preset %s", preset)
	}
	if l.MaxPathLength != nil {
		limit := config.MaxPathLength // -1: none
		if *l.MaxPathLength < 0 || limit >= 0 && *l.MaxPathLength > limit {
			return nil, fault.Field("profile.max_path_length", "must be 0 or more and not above what preset %s allows (%d)", preset, limit)
		}
		config.MaxPathLength = *l.MaxPathLength
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
	compiled, err := profile.New(preset, 1, config)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "reading profile: %w", err)
	}
	return compiled, nil
}
