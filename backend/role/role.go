// Package role promises that nobody gets a name that the role does not grant: it
// says who may ask, completes and validates the final set of names from parameters
// and CSR alike, and narrows a profile, never widens it. Pure.
//
// Every role has an effective profile. Without a profile of its own it makes one
// that does what the built-in engine's role does; so there is one way for all:
// Authorize, Names, then Profile().Template.
package role

import (
	"crypto/x509/pkix"
	"maps"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// Role is a validated, immutable role bound to its effective profile. It is safe
// for concurrent use.
type Role struct {
	name     string
	config   Config
	profile  *profile.Profile
	fixed    pkix.Name // the subject attributes of the role
	pinned   map[string]string
	domains  domains
	uris     uris
	others   []otherPattern
	networks []*net.IPNet
	freeCN   bool // cn_validations is disabled
}

// New validates a role. base is the profile that the role narrows and baseName
// its name@version; with a nil base the role's own fields make the profile, as in
// the built-in engine. A field that would widen the base is refused by its name.
func New(name string, config Config, base *profile.Config, baseName string) (*Role, error) {
	r := &Role{name: name, config: profile.Detach(config)}
	if err := checkFields(&r.config, base); err != nil {
		return nil, err
	}
	effective, profileName, version := builtIn(&r.config), "", 0
	if base != nil {
		var err error
		if profileName, version, err = splitName(baseName); err != nil {
			return nil, err
		}
		if effective, err = narrow(&r.config, *base); err != nil {
			return nil, err
		}
	}
	made, err := profile.New(profileName, version, effective)
	if err != nil {
		return nil, err
	}
	r.profile, r.pinned = made, maps.Clone(effective.SubjectFixed)
	return r, r.compile()
}

// compile prepares the rules on names.
func (r *Role) compile() (err error) {
	c := &r.config
	r.freeCN = slices.Contains(c.CNValidations, cnDisabled)
	r.fixed = c.subject()
	if r.domains, err = compileDomains(c); err != nil {
		return err
	}
	if r.uris, err = compileURIs(c); err != nil {
		return err
	}
	if r.others, err = compileOthers(c.AllowedOtherSANs); err != nil {
		return err
	}
	r.networks, err = parseNetworks(c)
	return err
}

func splitName(text string) (name string, version int, err error) {
	name, number, _ := strings.Cut(text, "@")
	if version, err = strconv.Atoi(number); err != nil || name == "" {
		return "", 0, fault.New(fault.Internal, "binding role to profile %q: not name@version", text)
	}
	return name, version, nil
}

// checkFields refuses values that make no sense with or without a profile.
func checkFields(c *Config, base *profile.Config) error {
	if len(c.CNValidations) == 0 {
		c.CNValidations = []string{cnEmail, cnHostname}
	}
	if c.SerialNumberSource == "" {
		c.SerialNumberSource = sourceBoth
	}
	if err := profile.CheckTags(reflect.ValueOf(*c)); err != nil {
		return err
	}
	switch {
	case c.Profile == "" && base != nil:
		return fault.New(fault.Internal, "binding role: it names no profile")
	case c.Profile != "" && base == nil:
		return fault.FieldOf(fault.NotFound, "profile", "there is no profile %q; vault list MOUNT/profiles and MOUNT/presets show the names", c.Profile)
	case c.IssuerRef == "":
		return fault.Field("issuer_ref", "must not be empty; use default")
	case c.MaxTTL > 0 && c.TTL > c.MaxTTL:
		return fault.Field("ttl", "must not be longer than max_ttl")
	case len(c.CNValidations) > 1 && slices.Contains(c.CNValidations, cnDisabled):
		return fault.Field("cn_validations", "disabled must stand alone")
	}
	if c.KeyType != keyTypeAny && c.KeyBits != 0 {
		if _, err := cert.NewKeySpec(c.KeyType, c.KeyBits); err != nil {
			return err
		}
	}
	if err := checkSubject(c); err != nil {
		return err
	}
	for _, key := range c.MetadataRequired {
		if strings.TrimSpace(key) == "" {
			return fault.Field("metadata_required", "keys must not be empty")
		}
	}
	return checkCallers(c)
}

// checkSubject refuses a role whose subject no certificate can have: otherwise each of
// its requests would be refused.
func checkSubject(c *Config) error {
	fixed := c.subject()
	for _, attribute := range profile.SubjectAttributes() {
		for _, value := range profile.AttributeValues(&fixed, attribute) {
			if err := profile.CheckAttribute(attribute, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// subject returns the subject attributes that the role fixes.
func (c *Config) subject() pkix.Name {
	return pkix.Name{
		OrganizationalUnit: c.OU, Organization: c.Organization, Country: c.Country, Locality: c.Locality,
		Province: c.Province, StreetAddress: c.StreetAddress, PostalCode: c.PostalCode,
	}
}

// Name returns the role's name.
func (r *Role) Name() string { return r.name }

// Config returns what the operator declared. The caller owns the result.
func (r *Role) Config() Config { return profile.Detach(r.config) }

// Profile returns the effective profile: the base narrowed by the role.
func (r *Role) Profile() *profile.Profile { return r.profile }

// IssuerRef returns the name or id of the issuer that signs, or "default".
func (r *Role) IssuerRef() string { return r.config.IssuerRef }

// AllowsBatch reports whether many requests may be signed at once.
func (r *Role) AllowsBatch() bool { return r.config.AllowBatch }

// LeasesCertificates reports whether answers carry a lease whose end revokes the
// certificate. What is not stored cannot be leased.
func (r *Role) LeasesCertificates() bool { return r.config.GenerateLease && !r.profile.NoStore() }

// Accountable returns the owner to record: the request's or else the role's. It
// refuses a request without an owner or metadata that the role requires.
func (r *Role) Accountable(owner string, metadata map[string]string) (string, error) {
	if owner = strings.TrimSpace(owner); owner == "" {
		owner = r.config.Owner
	}
	if owner == "" && r.config.OwnerRequired {
		return "", fault.Field("owner", "is required (owner_required)")
	}
	for _, key := range r.config.MetadataRequired {
		if strings.TrimSpace(metadata[key]) == "" {
			return "", fault.Field("metadata", "needs the key %q (metadata_required)", key)
		}
	}
	return owner, nil
}

// EngineKey returns the algorithm of a key that the engine is to generate;
// keyType "" and bits 0 leave the choice to the role.
func (r *Role) EngineKey(keyType string, bits int) (cert.KeySpec, error) {
	if r.config.Profile == "" && r.config.KeyType == keyTypeAny && keyType == "" {
		return cert.KeySpec{}, fault.Field("key_type", "the role allows any key: name the type, or bring a CSR")
	}
	return r.profile.EngineKey(keyType, bits)
}

// Extra lists the subject attributes of a CSR that the given subject does not have, by
// name or OID. The common name and the serialNumber have fields of their own that say
// what becomes of them, so of these only a second one is extra.
func (r *Role) Extra(csr *cert.Request, given *pkix.Name) []string {
	var extra []string
	count := map[string]int{}
	for _, attribute := range profile.Attributes(&csr.Subject) {
		count[attribute.Name]++
		gone := count[attribute.Name] > 1
		if attribute.Name != "common_name" && attribute.Name != "serial_number" {
			gone = attribute.Value == "" || attribute.Value != r.pinned[attribute.Name] && !slices.Contains(profile.AttributeValues(given, attribute.Name), attribute.Value)
		}
		if gone && !slices.Contains(extra, attribute.Name) {
			extra = append(extra, attribute.Name)
		}
	}
	return extra
}
