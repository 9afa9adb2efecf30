package role

import (
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// narrow returns the base narrowed by the role. What the role leaves at its neutral
// value is the base's; what would widen the base is refused by the role's field.
func narrow(c *Config, base profile.Config) (profile.Config, error) {
	if base.Kind == profile.KindSubCA || base.Kind == profile.KindRoot {
		return base, fault.Field("profile", "kind %s is for CA certificates, which no role issues", base.Kind)
	}
	effective := base
	for _, step := range []func(*Config, *profile.Config) error{
		narrowKeys, narrowSignature, narrowValidity, narrowUsage, narrowExtKeyUsage,
		narrowPolicies, narrowSwitches, narrowSubject, narrowNames,
	} {
		if err := step(c, &effective); err != nil {
			return base, err
		}
	}
	return effective, nil
}

func widens(field, format string, args ...any) error {
	return fault.Field(field, "widens the profile: "+format, args...)
}

func narrowKeys(c *Config, p *profile.Config) error {
	if c.KeyType == keyTypeAny && c.KeyBits == 0 {
		return nil
	}
	have := make([]cert.KeySpec, len(p.KeyAlgorithms))
	for i, text := range p.KeyAlgorithms {
		spec, err := cert.ParseKeySpec(text)
		if err != nil {
			return fault.Field("profile", "%w", err)
		}
		have[i] = spec
	}
	wanted := wantedKeys(c)
	var narrowed []cert.KeySpec
	for _, spec := range have {
		if met, ok := meet(spec, wanted); ok && !slices.Contains(narrowed, met) {
			narrowed = append(narrowed, met)
		}
	}
	if len(narrowed) == 0 {
		return widens("key_type", "its keys are %s (key_algorithms)", fault.List(p.KeyAlgorithms))
	}
	exact := cert.KeySpec{Type: cert.KeyType(c.KeyType), Bits: c.KeyBits}
	if c.KeyBits != 0 && (exact.Type == cert.RSA || exact.Type == cert.EC) && !profile.AllowsKey(have, exact) {
		return widens("key_bits", "its keys are %s (key_algorithms)", fault.List(p.KeyAlgorithms))
	}
	p.KeyAlgorithms = specNames(narrowed)
	return nil
}

// meet returns what a key algorithm of the profile and the wanted ones have in
// common; RSA sizes are minimums, so the larger one holds.
func meet(have cert.KeySpec, wanted []cert.KeySpec) (cert.KeySpec, bool) {
	for _, want := range wanted {
		switch {
		case want == have:
			return have, true
		case want.Type == cert.RSA && have.Type == cert.RSA:
			return cert.KeySpec{Type: cert.RSA, Bits: max(want.Bits, have.Bits)}, true
		}
	}
	return cert.KeySpec{}, false
}

func narrowSignature(c *Config, p *profile.Config) error {
	if c.SignatureBits != 0 {
		if p.SignatureHashBits != 0 && p.SignatureHashBits != c.SignatureBits {
			return widens("signature_bits", "it signs with SHA-%d (signature_hash_bits)", p.SignatureHashBits)
		}
		p.SignatureHashBits = c.SignatureBits
	}
	if c.UsePSS && !p.SignaturePSS {
		return widens("use_pss", "it signs with PKCS #1 v1.5 (signature_pss)")
	}
	return nil
}

func narrowValidity(c *Config, p *profile.Config) error {
	switch {
	case c.MaxTTL > 0 && p.MaxTTL > 0 && c.MaxTTL > p.MaxTTL:
		return widens("max_ttl", "its max_ttl is %s", time.Duration(p.MaxTTL)*time.Second)
	case c.TTL > 0 && p.MaxTTL > 0 && c.TTL > p.MaxTTL:
		return widens("ttl", "its max_ttl is %s", time.Duration(p.MaxTTL)*time.Second)
	case c.TTL > 0 && c.TTL < p.MinTTL:
		return widens("ttl", "its min_ttl is %s", time.Duration(p.MinTTL)*time.Second)
	case c.MaxTTL > 0 && c.MaxTTL < p.MinTTL:
		return widens("max_ttl", "its min_ttl is %s", time.Duration(p.MinTTL)*time.Second)
	case c.NotBeforeDuration > p.NotBeforeDur:
		return widens("not_before_duration", "its not_before_duration is %s", time.Duration(p.NotBeforeDur)*time.Second)
	}
	if c.MaxTTL > 0 {
		p.MaxTTL = c.MaxTTL
		p.PrivateKeyUsage = min(p.PrivateKeyUsage, c.MaxTTL)
	}
	if c.TTL > 0 {
		p.DefaultTTL = c.TTL
	} else if p.MaxTTL > 0 {
		p.DefaultTTL = min(p.DefaultTTL, p.MaxTTL)
	}
	if c.NotBeforeDuration > 0 {
		p.NotBeforeDur = c.NotBeforeDuration
	}
	if c.NotAfter == "" {
		return nil
	}
	wanted, err := profile.ParseNotAfter(c.NotAfter)
	if err != nil {
		return err
	}
	limit, err := profile.ParseNotAfter(p.NotAfter)
	if err == nil && !limit.IsZero() && wanted.After(limit) {
		return widens("not_after", "its not_after is %s", p.NotAfter)
	}
	p.NotAfter = c.NotAfter
	return nil
}

func narrowUsage(c *Config, p *profile.Config) error {
	wanted, err := profile.ParseKeyUsages("key_usage", c.KeyUsage)
	if err != nil || wanted == 0 {
		return err
	}
	always, err := profile.ParseKeyUsages("key_usage", p.KeyUsage)
	if err != nil {
		return err
	}
	optional, err := profile.ParseKeyUsages("key_usage_optional", p.KeyUsageOptional)
	if err != nil {
		return err
	}
	if extra := wanted &^ (always | optional); extra != 0 {
		return widens("key_usage", "%s is not among its key usages", fault.List(profile.KeyUsageNames(extra)))
	}
	p.KeyUsage, p.KeyUsageOptional = profile.KeyUsageNames(wanted), nil
	return nil
}

func narrowExtKeyUsage(c *Config, p *profile.Config) error {
	have, err := profile.ParseExtKeyUsages("profile", p.ExtKeyUsage)
	if err != nil {
		return err
	}
	sources := []struct {
		field  string
		usages []string
	}{{"ext_key_usage", c.ExtKeyUsage}, {"ext_key_usage_oids", c.ExtKeyUsageOIDs}}
	for _, flag := range c.flags() {
		if flag.set {
			sources = append(sources, struct {
				field  string
				usages []string
			}{flag.field, []string{flag.usage}})
		}
	}
	var narrowed []string
	for _, source := range sources {
		wanted, err := profile.ParseExtKeyUsages(source.field, source.usages)
		if err != nil {
			return err
		}
		for _, oid := range wanted {
			if !slices.Contains(have, oid) {
				return widens(source.field, "%s is not among its extended key usages", oid)
			}
		}
		narrowed = append(narrowed, wanted...)
	}
	if len(narrowed) > 0 {
		p.ExtKeyUsage = narrowed
	}
	return nil
}

func narrowPolicies(c *Config, p *profile.Config) error {
	wanted, err := profile.ParsePolicies("policy_identifiers", c.PolicyIdentifiers)
	if err != nil || len(wanted) == 0 {
		return err
	}
	have, err := profile.ParsePolicies("policy_identifiers", p.PolicyIdentifiers)
	if err != nil {
		return err
	}
	var kept []string
	for _, policy := range wanted {
		at := slices.IndexFunc(have, func(h profile.Policy) bool { return h.OID == policy.OID })
		if at < 0 {
			return widens("policy_identifiers", "%s is not among its policies", policy.OID)
		}
		// The practice statement is the profile's word, not the role's.
		if policy != have[at] && (policy.CPS != "" || policy.Notice != "") {
			return widens("policy_identifiers", "the qualifiers of %s differ from its own", policy.OID)
		}
		kept = append(kept, have[at].String())
	}
	p.PolicyIdentifiers = kept
	return nil
}

// narrowSwitches refuses what a role may turn on only where the profile does.
func narrowSwitches(c *Config, p *profile.Config) error {
	switch {
	case c.NoStore && !p.NoStore:
		return widens("no_store", "its certificates are stored")
	case c.BCForNonCA && !p.BCForNonCA:
		return widens("basic_constraints_valid_for_non_ca", "its certificates have no basic constraints")
	}
	return nil
}

// narrowSubject holds the role's attributes against the profile's rules, so that a
// role that could never issue is refused now.
func narrowSubject(c *Config, p *profile.Config) error {
	given := c.subject()
	fromRequest := map[string]bool{
		"common_name": true, "serial_number": len(c.AllowedSerialNumbers) > 0, "user_id": len(c.AllowedUserIDs) > 0,
	}
	for _, attribute := range profile.SubjectAttributes() {
		values := profile.AttributeValues(&given, attribute)
		fixed, isFixed := p.SubjectFixed[attribute]
		allowed := slices.Contains(p.SubjectAllowed, attribute)
		switch {
		case isFixed && len(values) > 0 && !slices.Equal(values, []string{fixed}):
			return widens(attribute, "it fixes the value to %q (subject_fixed)", fixed)
		case !isFixed && !allowed && len(values) > 0:
			return widens(attribute, "it does not allow the attribute (subject_allowed)")
		case !isFixed && len(values) == 0 && slices.Contains(p.SubjectRequired, attribute) && !fromRequest[attribute]:
			return fault.Field(attribute, "the profile requires it (subject_required)")
		}
	}
	switch {
	case fromRequest["serial_number"] && !slices.Contains(p.SubjectAllowed, "serial_number"):
		return widens("allowed_serial_numbers", "it does not allow serial_number (subject_allowed)")
	case fromRequest["user_id"] && !slices.Contains(p.SubjectAllowed, "user_id"):
		return widens("allowed_user_ids", "it does not allow user_id (subject_allowed)")
	}
	return nil
}

// narrowNames refuses grants of names that the profile cannot certify.
func narrowNames(c *Config, p *profile.Config) error {
	has := func(t string) bool { return slices.Contains(p.SANTypes, t) }
	switch {
	case c.AllowIPSANs && !has(profile.SANIP):
		return widens("allow_ip_sans", "it allows no IP addresses (san_types)")
	case len(c.AllowedURISANs) > 0 && !has(profile.SANURI):
		return widens("allowed_uri_sans", "it allows no URIs (san_types)")
	case len(c.AllowedOtherSANs) > 0 && !has(profile.SANOther):
		return widens("allowed_other_sans", "it allows no other names (san_types)")
	case c.AllowWildcardCertificates && !p.AllowWildcards:
		return widens("allow_wildcard_certificates", "it allows no wildcards (allow_wildcards)")
	}
	if !c.AllowWildcardCertificates {
		p.AllowWildcards = false
	}
	return nil
}
