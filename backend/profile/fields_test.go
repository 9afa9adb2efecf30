package profile_test

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// mutation shows that one field matters: outcome differs between the base Config
// and the flipped one.
type mutation struct {
	base    func(*profile.Config) // what both sides share; nil: the defaults
	flip    func(*profile.Config)
	ask     func(*profile.Ask)
	outcome func(*testing.T, profile.Config, profile.Ask) string // nil: issued
}

// issued is the certificate as text, or the refusal.
func issued(t *testing.T, config profile.Config, ask profile.Ask) string {
	p, err := profile.New("web", 3, config)
	if err != nil {
		return "profile refused: " + err.Error()
	}
	template, err := p.Template(ask, now)
	if err != nil {
		return "request refused: " + err.Error()
	}
	issuer := ecIssuer()
	if ask.Issuer == rsaIssuer().cert {
		issuer = rsaIssuer()
	}
	c := issuer.sign(t, template)
	var out strings.Builder
	for _, extension := range c.Extensions {
		text, err := json.Marshal(extension)
		require.NoError(t, err)
		out.Write(text)
	}
	return strings.Join([]string{
		c.Subject.String(), c.NotBefore.String(), c.NotAfter.String(), c.SignatureAlgorithm.String(), out.String(),
	}, "\n")
}

// told is what other rooms are told to enforce.
func told(t *testing.T, config profile.Config, _ profile.Ask) string {
	p, err := profile.New("web", 3, config)
	require.NoError(t, err)
	reasons := ""
	for _, reason := range cert.Reasons() {
		if p.AllowsReason(reason) {
			reasons += reason.String() + " "
		}
	}
	text, err := json.Marshal([]any{p.NoStore(), p.UniqueKey(), p.CSRExtra(), p.Kind(), p.LintPolicy(), reasons, p.CRLRetention()})
	require.NoError(t, err)
	return string(text)
}

// started is the profile that a new one starts from.
func started(t *testing.T, config profile.Config, _ profile.Ask) string {
	start, err := profile.FromPreset(config.Preset)
	require.NoError(t, err)
	text, err := json.Marshal(start)
	require.NoError(t, err)
	return string(text)
}

func withTypes(types ...string) func(*profile.Ask) {
	return func(a *profile.Ask) { a.Names = names(types...) }
}

func subca(c *profile.Config) {
	p, _ := profile.Preset("issuing-ca")
	*c = p
	c.KeyAlgorithms = []string{"ec-256"}
}

func asCA(a *profile.Ask) {
	a.Names, a.TTL = cert.Names{}, 365*24*time.Hour
	a.Subject.CommonName = "Issuing CA 1"
}

var mutations = map[string]mutation{
	"preset": {flip: func(c *profile.Config) { c.Preset = "tls-server" }, outcome: started},
	"kind": {
		base: func(c *profile.Config) { subca(c); c.AIA, c.CRLDistribution = "none", "none" },
		flip: func(c *profile.Config) { c.Kind = profile.KindRoot },
		ask:  asCA,
	},
	"key_algorithms":         {flip: func(c *profile.Config) { c.KeyAlgorithms = []string{"ec-384"} }},
	"allow_engine_generated": {flip: func(c *profile.Config) { c.AllowEngineGenerated = false }, ask: func(a *profile.Ask) { a.EngineKey = true }},
	"unique_key":             {flip: func(c *profile.Config) { c.UniqueKey = true }, outcome: told},
	"issuer_key_algorithms":  {flip: func(c *profile.Config) { c.IssuerKeyAlgorithms = []string{"rsa-4096"} }},
	"signature_hash_bits":    {flip: func(c *profile.Config) { c.SignatureHashBits = 384 }, ask: func(a *profile.Ask) { a.Issuer = rsaIssuer().cert }},
	"signature_pss":          {flip: func(c *profile.Config) { c.SignaturePSS = true }, ask: func(a *profile.Ask) { a.Issuer = rsaIssuer().cert }},
	"default_ttl":            {flip: func(c *profile.Config) { c.DefaultTTL = 7200 }, ask: func(a *profile.Ask) { a.TTL, a.Mount.Default = 0, time.Hour }},
	"max_ttl":                {flip: func(c *profile.Config) { c.MaxTTL = 60 }},
	"min_ttl":                {flip: func(c *profile.Config) { c.MinTTL = 7200 }},
	"not_before_duration":    {flip: func(c *profile.Config) { c.NotBeforeDur = 120 }},
	"not_after":              {flip: func(c *profile.Config) { c.NotAfter = "2026-12-24T18:00:00Z" }, ask: func(a *profile.Ask) { a.TTL, a.Mount.Default = 0, time.Hour }},
	"validity_schedule":      {flip: func(c *profile.Config) { c.ValiditySchedule = "cabf_tls" }, ask: func(a *profile.Ask) { a.TTL = 300 * 24 * time.Hour }},
	"subject_required":       {flip: func(c *profile.Config) { c.SubjectRequired = []string{"common_name"} }},
	"subject_allowed":        {flip: func(c *profile.Config) { c.SubjectAllowed = nil }, ask: func(a *profile.Ask) { a.Subject.CommonName = "web.example.com" }},
	"subject_fixed":          {flip: func(c *profile.Config) { c.SubjectFixed = map[string]string{"organization": "Example"} }},
	"subject_patterns": {
		flip: func(c *profile.Config) { c.SubjectPatterns = map[string]string{"common_name": "api[.].*"} },
		ask:  func(a *profile.Ask) { a.Subject.CommonName = "web.example.com" },
	},
	"cn_policy":          {flip: func(c *profile.Config) { c.CNPolicy = profile.CNFirstSAN }},
	"san_types":          {flip: func(c *profile.Config) { c.SANTypes = []string{"dns", "ip"} }, ask: withTypes("dns", "ip")},
	"san_required_types": {base: allTypes, flip: func(c *profile.Config) { c.SANRequiredTypes = []string{"ip"} }},
	"san_min":            {flip: func(c *profile.Config) { c.SANMin = 2 }},
	"san_max":            {flip: func(c *profile.Config) { c.SANMax = 1 }, ask: withTypes("dns", "dns")},
	"san_uri_max":        {base: allTypes, flip: func(c *profile.Config) { c.SANURIMax = 1 }, ask: withTypes("uri", "uri2")},
	"uri_schemes":        {base: allTypes, flip: func(c *profile.Config) { c.URISchemes = []string{"spiffe"} }, ask: withTypes("uri2")},
	"allow_wildcards":    {flip: func(c *profile.Config) { c.AllowWildcards = true }, ask: withTypes("wildcard")},
	"key_usage":          {flip: func(c *profile.Config) { c.KeyUsage = []string{"DigitalSignature", "KeyAgreement"} }},
	"key_usage_optional": {
		flip: func(c *profile.Config) { c.KeyUsageOptional = []string{"nonRepudiation"} },
		ask:  func(a *profile.Ask) { a.CSR.KeyUsage = 1 | 2 },
	},
	"ext_key_usage": {flip: func(c *profile.Config) { c.ExtKeyUsage = []string{"ServerAuth", "1.3.6.1.4.1.311.20.2.2"} }},
	"ext_key_usage_critical": {
		base: func(c *profile.Config) { c.ExtKeyUsage = []string{"TimeStamping"} },
		flip: func(c *profile.Config) { c.ExtKeyUsageCritical = true },
	},
	"policy_identifiers":                 {flip: func(c *profile.Config) { c.PolicyIdentifiers = []string{"1.3.6.1.4.1.99999.1"} }},
	"aia":                                {flip: func(c *profile.Config) { c.AIA = "none" }},
	"crl_distribution":                   {flip: func(c *profile.Config) { c.CRLDistribution = "none" }},
	"ocsp_nocheck":                       {base: responder, flip: func(c *profile.Config) { c.OCSPNoCheck = false }, ask: asResponder},
	"no_rev_avail":                       {base: func(c *profile.Config) { c.CRLDistribution = "none" }, flip: func(c *profile.Config) { c.NoRevAvail = true }},
	"must_staple":                        {flip: func(c *profile.Config) { c.MustStaple = true }},
	"private_key_usage_period":           {flip: func(c *profile.Config) { c.PrivateKeyUsage = 60 }},
	"custom_extensions":                  {flip: func(c *profile.Config) { c.CustomExtensions = []string{"1.3.6.1.4.1.99999.2=noncritical:BQA="} }},
	"no_store":                           {flip: func(c *profile.Config) { c.NoStore = true }, outcome: told},
	"basic_constraints_valid_for_non_ca": {flip: func(c *profile.Config) { c.BCForNonCA = true }},
	"max_path_length":                    {base: subca, flip: func(c *profile.Config) { c.MaxPathLength = 2 }, ask: asCA},
	"permitted_dns_domains":              constraint(func(c *profile.Config) { c.PermittedDNSDomains = []string{"example.com"} }),
	"excluded_dns_domains":               constraint(func(c *profile.Config) { c.ExcludedDNSDomains = []string{"example.com"} }),
	"permitted_ip_ranges":                constraint(func(c *profile.Config) { c.PermittedIPRanges = []string{"10.0.0.0/8"} }),
	"excluded_ip_ranges":                 constraint(func(c *profile.Config) { c.ExcludedIPRanges = []string{"10.0.0.0/8"} }),
	"permitted_email_addresses":          constraint(func(c *profile.Config) { c.PermittedEmailAddresses = []string{"example.com"} }),
	"excluded_email_addresses":           constraint(func(c *profile.Config) { c.ExcludedEmailAddresses = []string{"root@example.com"} }),
	"permitted_uri_domains":              constraint(func(c *profile.Config) { c.PermittedURIDomains = []string{".example.com"} }),
	"excluded_uri_domains":               constraint(func(c *profile.Config) { c.ExcludedURIDomains = []string{"example.com"} }),
	"crl_retention":                      {flip: func(c *profile.Config) { c.CRLRetention = 3600 }, outcome: told},
	"allowed_revocation_reasons":         {flip: func(c *profile.Config) { c.AllowedRevocationReasons = []string{"keyCompromise"} }, outcome: told},
	"csr_extra":                          {flip: func(c *profile.Config) { c.CSRExtra = profile.CSRDrop }, ask: func(a *profile.Ask) { a.CSR.Unknown = []string{"1.2.3.4"} }},
	"lint_sets":                          {flip: func(c *profile.Config) { c.LintSets = []string{"cabf_br"} }, outcome: told},
	"lint_fail_level":                    {flip: func(c *profile.Config) { c.LintFailLevel = "warn" }, outcome: told},
	"lint_ignore":                        {flip: func(c *profile.Config) { c.LintIgnore = map[string]string{"w_rule": "agreed"} }, outcome: told},
}

func allTypes(c *profile.Config) { c.SANTypes = []string{"dns", "ip", "uri", "email", "other"} }

func responder(c *profile.Config) {
	p, _ := profile.Preset("ocsp-responder")
	*c = p
}

func asResponder(a *profile.Ask) {
	a.Names = cert.Names{}
	a.Subject.CommonName = "Responder 1"
}

func constraint(flip func(*profile.Config)) mutation {
	return mutation{base: subca, flip: flip, ask: asCA}
}

func TestFields1_EveryFieldChangesOrBlocksACertificate(t *testing.T) {
	typ := reflect.TypeFor[profile.Config]()
	seen := map[string]bool{}
	for i := range typ.NumField() {
		name := typ.Field(i).Tag.Get("json")
		if name == "description" { // says in its doc that it has no effect
			continue
		}
		seen[name] = true
		m, ok := mutations[name]
		require.True(t, ok, "field %s has no row in mutations", name)
		t.Run(name, func(t *testing.T) { m.prove(t, name) })
	}
	for name := range mutations {
		require.True(t, seen[name], "mutations has a row for %s, which is no field", name)
	}
}

func (m mutation) prove(t *testing.T, field string) {
	base, request := profile.DefaultConfig(), ask()
	if m.base != nil {
		m.base(&base)
	}
	if m.ask != nil {
		m.ask(&request)
	}
	flipped := base
	m.flip(&flipped)
	require.NotEqual(t, fieldOf(base, field), fieldOf(flipped, field), "the mutation leaves %s alone", field)
	outcome := m.outcome
	if outcome == nil {
		outcome = issued
	}
	before, after := outcome(t, base, request), outcome(t, flipped, request)
	require.Equal(t, before, outcome(t, base, request), "the outcome is not a function of its input")
	require.NotEmpty(t, cmp.Diff(before, after))
	require.NotContains(t, before, "profile refused")
	require.NotContains(t, after, "profile refused")
}

// fieldOf returns a field's value as text, by its json name.
func fieldOf(config profile.Config, name string) string {
	value := reflect.ValueOf(config)
	for i := range value.NumField() {
		if value.Type().Field(i).Tag.Get("json") == name {
			text, _ := json.Marshal(value.Field(i).Interface())
			return string(text)
		}
	}
	return "no such field"
}

func TestTagsAreWhatTheCodeDoes(t *testing.T) {
	defaults := reflect.ValueOf(profile.DefaultConfig())
	for i := range defaults.NumField() {
		field, value := defaults.Type().Field(i), defaults.Field(i)
		name := field.Tag.Get("json")
		require.NotEmpty(t, name, field.Name)
		require.True(t, strings.HasSuffix(field.Tag.Get("doc"), "."), "the doc of %s is a sentence", name)
		if field.Tag.Get("kind") == "duration" {
			require.Equal(t, reflect.Int64, value.Kind(), name)
		}
		require.Equal(t, field.Tag.Get("default"), defaultText(value), "default of %s", name)
	}
}

// defaultText writes a value as a default tag does.
func defaultText(value reflect.Value) string {
	switch value.Kind() {
	case reflect.Slice:
		list := make([]string, value.Len())
		for i := range list {
			list[i] = value.Index(i).String()
		}
		return strings.Join(list, ",")
	case reflect.Bool:
		if value.Bool() {
			return "true"
		}
	case reflect.Int, reflect.Int64:
		return strconv.FormatInt(value.Int(), 10)
	case reflect.String:
		return value.String()
	}
	return ""
}
