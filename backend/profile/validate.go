package profile

import (
	"maps"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// maxSeconds bounds every duration: a hundred years, far below what overflows.
const maxSeconds = 100 * 366 * day

// checkEnums holds the enum and kind tags of Config, so that the documented values
// and the accepted ones are the same list.
func checkEnums(p *Profile) error { return CheckTags(reflect.ValueOf(p.config)) }

// CheckTags refuses field values of a tagged Config that its enum tags do not list,
// and durations that are negative or beyond a hundred years.
func CheckTags(config reflect.Value) error {
	for i := range config.NumField() {
		field, value := config.Type().Field(i), config.Field(i)
		name := field.Tag.Get("json")
		if enum := field.Tag.Get("enum"); enum != "" {
			allowed := strings.Split(enum, "|")
			for _, given := range texts(value) {
				if !slices.Contains(allowed, given) {
					return fault.Field(name, "%q is not one of its values: use %s", given, fault.List(allowed))
				}
			}
		}
		if field.Tag.Get("kind") == "duration" && (value.Int() < 0 || value.Int() > maxSeconds) {
			return fault.Field(name, "must be between 0 and 100 years")
		}
	}
	return nil
}

// Detach returns a copy of a tagged Config whose lists and maps are its own, so that
// nobody who holds the original can change it.
func Detach[T any](config T) T {
	value := reflect.ValueOf(&config).Elem()
	for i := range value.NumField() {
		switch field := value.Field(i).Addr().Interface().(type) {
		case *[]string:
			*field = slices.Clone(*field)
		case *map[string]string:
			*field = maps.Clone(*field)
		}
	}
	return config
}

func texts(value reflect.Value) []string {
	switch value.Kind() {
	case reflect.Slice:
		list := make([]string, value.Len())
		for i := range list {
			list[i] = value.Index(i).String()
		}
		return list
	case reflect.Int:
		return []string{strconv.FormatInt(value.Int(), 10)}
	default:
		return []string{value.String()}
	}
}

func compileKeys(p *Profile) (err error) {
	if p.config.Preset != "" && !slices.Contains(Presets(), p.config.Preset) {
		return fault.Field("preset", "must be %s, not %q", fault.List(Presets()), p.config.Preset)
	}
	if len(p.config.KeyAlgorithms) == 0 {
		return fault.Field("key_algorithms", "must name at least one algorithm")
	}
	if p.keys, err = parseSpecs("key_algorithms", p.config.KeyAlgorithms); err != nil {
		return err
	}
	p.issuers, err = parseSpecs("issuer_key_algorithms", p.config.IssuerKeyAlgorithms)
	return err
}

func parseSpecs(field string, texts []string) ([]cert.KeySpec, error) {
	specs := make([]cert.KeySpec, len(texts))
	for i, text := range texts {
		spec, err := cert.ParseKeySpec(text)
		if err != nil {
			return nil, fault.Field(field, "%w", err)
		}
		specs[i] = spec
	}
	return specs, nil
}

func compileValidity(p *Profile) error {
	c := &p.config
	switch {
	case c.MaxTTL > 0 && c.DefaultTTL > c.MaxTTL:
		return fault.Field("default_ttl", "must not be longer than max_ttl")
	case c.MaxTTL > 0 && c.MinTTL > c.MaxTTL:
		return fault.Field("min_ttl", "must not be longer than max_ttl")
	case c.DefaultTTL > 0 && c.MinTTL > c.DefaultTTL:
		return fault.Field("min_ttl", "must not be longer than default_ttl")
	case c.MaxTTL > 0 && c.PrivateKeyUsage > c.MaxTTL:
		return fault.Field("private_key_usage_period", "must not be longer than max_ttl")
	case c.ValiditySchedule == scheduleCABFTLS && c.MinTTL > 47*day:
		return fault.Field("min_ttl", "is longer than the last step of validity_schedule, 47 days")
	}
	at, err := ParseNotAfter(c.NotAfter)
	p.notAfter = at
	return err
}

// ParseNotAfter reads not_after, an RFC 3339 time such as 2030-12-31T23:59:59Z, in
// whole seconds. The empty text is the zero time.
func ParseNotAfter(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	// RFC 5280 section 4.1.2.5.2: GeneralizedTime has four digits for the year.
	if err != nil || at.UTC().Year() > 9999 || at.IsZero() {
		return time.Time{}, fault.Field("not_after", "must be a time such as 2030-12-31T23:59:59Z")
	}
	return at.UTC().Truncate(time.Second), nil
}

func compileSubject(p *Profile) error {
	c := &p.config
	rules := subjectRules{
		required: setOf(c.SubjectRequired),
		allowed:  setOf(c.SubjectAllowed),
		fixed:    c.SubjectFixed,
		patterns: make(map[string]*regexp.Regexp, len(c.SubjectPatterns)),
		cn:       c.CNPolicy,
	}
	for attribute, expression := range c.SubjectPatterns {
		if _, known := attributeLimit(attribute); !known {
			return fault.Field("subject_patterns", "%q is not a subject attribute; use %s", attribute, fault.List(SubjectAttributes()))
		}
		pattern, err := wholeMatch(expression)
		if err != nil || len(expression) > 1024 {
			return fault.Field("subject_patterns", "the pattern for %s is not an RE2 expression of at most 1024 bytes", attribute)
		}
		rules.patterns[attribute] = pattern
	}
	for attribute, value := range c.SubjectFixed {
		limit, known := attributeLimit(attribute)
		if !known {
			return fault.Field("subject_fixed", "%q is not a subject attribute; use %s", attribute, fault.List(SubjectAttributes()))
		}
		if err := rules.check(attribute, limit, value); err != nil {
			return fault.Field("subject_fixed", "%w", err)
		}
	}
	for _, attribute := range c.SubjectRequired {
		if _, fixed := c.SubjectFixed[attribute]; !fixed && !rules.allowed[attribute] {
			return fault.Field("subject_required", "%s is required but neither allowed nor fixed", attribute)
		}
	}
	_, fixedCN := c.SubjectFixed["common_name"]
	if c.CNPolicy == CNOmit && (rules.required["common_name"] || fixedCN) {
		return fault.Field("cn_policy", "omit contradicts a required or fixed common_name")
	}
	p.subject = rules
	return nil
}

// wholeMatch compiles an expression that must match a whole value. It is compiled
// alone first: "a)|(b" would slip out of the anchors.
func wholeMatch(expression string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(expression); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + expression + `)\z`)
}

func setOf(list []string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, item := range list {
		set[item] = true
	}
	return set
}

func attributeLimit(name string) (limit int, known bool) {
	for _, a := range attributes {
		if a.name == name {
			return a.max, true
		}
	}
	return 0, false
}

func checkNameRules(p *Profile) error {
	c := &p.config
	for _, t := range c.SANRequiredTypes {
		if !slices.Contains(c.SANTypes, t) {
			return fault.Field("san_required_types", "%s is required but not in san_types", t)
		}
	}
	has := func(t string) bool { return slices.Contains(c.SANTypes, t) }
	switch {
	case c.SANMax < 0 || c.SANMax > cert.MaxSANs:
		return fault.Field("san_max", "must be between 0 and %d", cert.MaxSANs)
	case c.SANMin < 0 || c.SANMin > c.SANMax:
		return fault.Field("san_min", "must be between 0 and san_max")
	case c.SANURIMax < 0 || c.SANURIMax > cert.MaxSANs:
		return fault.Field("san_uri_max", "must be between 0 and %d", cert.MaxSANs)
	case len(c.SANTypes) == 0 && c.SANMin > 0:
		return fault.Field("san_min", "needs san_types")
	case len(c.SANRequiredTypes) > c.SANMax:
		return fault.Field("san_max", "is less than san_required_types needs")
	case c.AllowWildcards && !has(SANDNS):
		return fault.Field("allow_wildcards", "needs dns in san_types")
	case len(c.URISchemes) > 0 && !has(SANURI):
		return fault.Field("uri_schemes", "needs uri in san_types")
	case len(c.SANTypes) == 0 && (c.CNPolicy == CNFirstSAN || c.CNPolicy == CNMustBeInSAN):
		return fault.Field("cn_policy", "%s needs san_types", c.CNPolicy)
	}
	for _, scheme := range c.URISchemes {
		if !schemePattern.MatchString(scheme) {
			return fault.Field("uri_schemes", "%q is not a URI scheme such as spiffe", scheme)
		}
	}
	return nil
}

// schemePattern is the scheme of RFC 3986 section 3.1.
var schemePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*$`)

func compileUsage(p *Profile) (err error) {
	u := &p.usage
	if u.key, err = ParseKeyUsages("key_usage", p.config.KeyUsage); err != nil {
		return err
	}
	if u.optional, err = ParseKeyUsages("key_usage_optional", p.config.KeyUsageOptional); err != nil {
		return err
	}
	if u.extended, err = ParseExtKeyUsages("ext_key_usage", p.config.ExtKeyUsage); err != nil {
		return err
	}
	u.known, u.unknown = splitExtKeyUsages(u.extended)
	switch {
	case p.config.ExtKeyUsageCritical && len(u.extended) == 0:
		return fault.Field("ext_key_usage_critical", "needs ext_key_usage")
	case p.config.ExtKeyUsageCritical && slices.Contains(u.extended, oidAnyEKU):
		// RFC 5280 section 4.2.1.12
		return fault.Field("ext_key_usage_critical", "must be false where ext_key_usage holds Any")
	}
	return nil
}

func compileConstraints(p *Profile) (err error) {
	c := &p.config
	if p.limits.permitted, err = parseRanges("permitted_ip_ranges", c.PermittedIPRanges); err != nil {
		return err
	}
	if p.limits.excluded, err = parseRanges("excluded_ip_ranges", c.ExcludedIPRanges); err != nil {
		return err
	}
	for _, list := range c.nameConstraints() {
		if len(list.entries) > 0 && c.Kind != KindSubCA && c.Kind != KindRoot {
			return fault.Field(list.field, "only a CA (kind=subca or root) has name constraints")
		}
		for _, entry := range list.entries {
			if list.check != nil && !list.check(entry) {
				return fault.Field(list.field, "%q is not %s", entry, list.want)
			}
		}
	}
	return nil
}

type constraintList struct {
	field   string
	entries []string
	want    string
	check   func(string) bool
}

func (c *Config) nameConstraints() []constraintList {
	const dns, mail, uri = "a domain such as example.com", "a mailbox, host or .domain", "a host or .domain"
	return []constraintList{
		{"permitted_dns_domains", c.PermittedDNSDomains, dns, isDomain},
		{"excluded_dns_domains", c.ExcludedDNSDomains, dns, isDomain},
		{"permitted_email_addresses", c.PermittedEmailAddresses, mail, isMailConstraint},
		{"excluded_email_addresses", c.ExcludedEmailAddresses, mail, isMailConstraint},
		{"permitted_uri_domains", c.PermittedURIDomains, uri, isDomain},
		{"excluded_uri_domains", c.ExcludedURIDomains, uri, isDomain},
		{"permitted_ip_ranges", c.PermittedIPRanges, "", nil},
		{"excluded_ip_ranges", c.ExcludedIPRanges, "", nil},
	}
}

// isDomain accepts a normalised domain, with or without the leading dot that
// RFC 5280 section 4.2.1.10 gives a meaning for e-mail and URIs.
func isDomain(text string) bool {
	bare := strings.TrimPrefix(text, ".")
	normal, err := cert.NormaliseDNS(bare)
	return err == nil && normal == bare
}

func isMailConstraint(text string) bool {
	if !strings.Contains(text, "@") {
		return isDomain(text)
	}
	normal, err := cert.ParseEmail(text)
	return err == nil && normal == text
}

func parseRanges(field string, entries []string) ([]*net.IPNet, error) {
	var ranges []*net.IPNet
	for _, entry := range entries {
		address, network, err := net.ParseCIDR(entry)
		if err != nil || !address.Equal(network.IP) {
			return nil, fault.Field(field, "%q is not a network such as 10.0.0.0/8", entry)
		}
		ranges = append(ranges, network)
	}
	return ranges, nil
}
