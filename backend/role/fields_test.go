package role_test

import (
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// request is everything that goes through a role.
type request struct {
	names    role.Ask
	profile  profile.Ask
	who      role.Identity
	owner    string
	metadata map[string]string
}

// mutation shows that one field matters: the outcome differs between the base Config
// and the flipped one.
type mutation struct {
	base    func(*role.Config) // what both sides share
	flip    func(*role.Config)
	request func(*request)
	bound   *profile.Config // the profile that both sides narrow
	outcome func(*testing.T, *role.Role) string
}

// baseline is a role that grants web.example.com.
func baseline() role.Config {
	c := role.DefaultConfig()
	c.AllowedDomains, c.AllowSubdomains, c.KeyType = []string{"example.com"}, true, "ec"
	return c
}

// through sends the request through the role and returns what would be signed, or
// the refusal.
func through(r *role.Role, q request) string {
	if err := r.Authorize(q.who); err != nil {
		return "denied: " + err.Error()
	}
	owner, err := r.Accountable(q.owner, q.metadata)
	if err != nil {
		return "refused: " + err.Error()
	}
	if q.profile.Subject, q.profile.Names, err = r.Names(q.names, q.who); err != nil {
		return "refused: " + err.Error()
	}
	made, err := r.Profile().Template(q.profile, now)
	if err != nil {
		return "refused: " + err.Error()
	}
	c := made.Certificate
	return fmt.Sprintln(owner, c.Subject.ToRDNSequence(), c.NotBefore, c.NotAfter, c.KeyUsage, c.ExtKeyUsage, c.UnknownExtKeyUsage,
		c.SignatureAlgorithm, c.BasicConstraintsValid, c.Policies, c.DNSNames, c.EmailAddresses, c.IPAddresses, c.URIs, c.ExtraExtensions)
}

// told is what other rooms are told to enforce.
func told(_ *testing.T, r *role.Role) string {
	return fmt.Sprintln(r.IssuerRef(), r.AllowsBatch(), r.LeasesCertificates(), r.Profile().NoStore())
}

func named(cn string) func(*request) {
	return func(q *request) { q.names.CommonName = cn }
}

func fromCSR(subject pkix.Name, names cert.Names) func(*request) {
	return func(q *request) { q.names.CSR = csr(subject, names) }
}

var tls = func() *profile.Config {
	c, _ := profile.Preset("tls-server")
	return &c
}()

// serves makes a role that names the profile tls neutral to it.
func serves(c *role.Config) {
	domains := c.AllowedDomains
	*c = role.DefaultConfigFor("web", *tls)
	c.AllowedDomains, c.AllowSubdomains = domains, true
}

var mutations = map[string]mutation{
	"profile": {
		base: func(c *role.Config) { serves(c); c.Profile = "" },
		flip: func(c *role.Config) { c.Profile = "web" },
	},
	"issuer_ref":                  {flip: func(c *role.Config) { c.IssuerRef = "other" }, outcome: told},
	"ttl":                         {flip: func(c *role.Config) { c.TTL = 60 }},
	"max_ttl":                     {flip: func(c *role.Config) { c.MaxTTL = 60 }},
	"not_before_duration":         {flip: func(c *role.Config) { c.NotBeforeDuration = 60 }},
	"not_after":                   {flip: func(c *role.Config) { c.NotAfter = "2026-11-03T00:00:00Z" }},
	"allow_localhost":             {flip: func(c *role.Config) { c.AllowLocalhost = false }, request: named("localhost")},
	"allowed_domains":             {flip: func(c *role.Config) { c.AllowedDomains = []string{"example.net"} }},
	"allow_bare_domains":          {flip: func(c *role.Config) { c.AllowBareDomains = true }, request: named("example.com")},
	"allow_subdomains":            {flip: func(c *role.Config) { c.AllowSubdomains = false }},
	"allow_wildcard_certificates": {flip: func(c *role.Config) { c.AllowWildcardCertificates = false }, request: named("*.example.com")},
	"allow_any_name":              {flip: func(c *role.Config) { c.AllowAnyName = true }, request: named("example.net")},
	"enforce_hostnames":           {flip: func(c *role.Config) { c.EnforceHostnames = false }, request: named("a_b.example.com")},
	"denied_domains":              {flip: func(c *role.Config) { c.DeniedDomains = []string{"web.example.com"} }},
	"allow_ip_sans":               {flip: func(c *role.Config) { c.AllowIPSANs = false }, request: named("10.0.0.1")},
	"allowed_ip_sans_cidr":        {flip: func(c *role.Config) { c.AllowedIPSANsCIDR = []string{"192.0.2.0/24"} }, request: named("10.0.0.1")},
	"allowed_domains_template": {
		base:    func(c *role.Config) { c.AllowedDomains = []string{"{{identity.entity.metadata.app}}.example.com"} },
		flip:    func(c *role.Config) { c.AllowedDomainsTemplate = true },
		request: named("web.shop.example.com"),
	},
	"allow_glob_domains": {
		base:    func(c *role.Config) { c.AllowedDomains = []string{"web*.example.com"} },
		flip:    func(c *role.Config) { c.AllowGlobDomains = true },
		request: named("web1.example.com"),
	},
	"allowed_uri_sans": {
		flip:    func(c *role.Config) { c.AllowedURISANs = []string{"spiffe://example.com/*"} },
		request: func(q *request) { q.names.URISANs = []string{"spiffe://example.com/web"} },
	},
	"allowed_uri_sans_template": {
		base: func(c *role.Config) {
			c.AllowedURISANs = []string{"spiffe://example.com/{{identity.entity.metadata.app}}"}
		},
		flip:    func(c *role.Config) { c.AllowedURISANsTemplate = true },
		request: func(q *request) { q.names.URISANs = []string{"spiffe://example.com/shop"} },
	},
	"allowed_other_sans": {
		flip:    func(c *role.Config) { c.AllowedOtherSANs = []string{"1.2.3;UTF8:*"} },
		request: func(q *request) { q.names.OtherSANs = []string{"1.2.3;utf8:x"} },
	},
	"allowed_serial_numbers": {
		flip:    func(c *role.Config) { c.AllowedSerialNumbers = []string{"A-*"} },
		request: func(q *request) { q.names.SerialNumber = "A-1" },
	},
	"allowed_user_ids": {
		flip:    func(c *role.Config) { c.AllowedUserIDs = []string{"jane"} },
		request: func(q *request) { q.names.UserIDs = []string{"jane"} },
	},
	"server_flag":           {flip: func(c *role.Config) { c.ServerFlag = false }},
	"client_flag":           {flip: func(c *role.Config) { c.ClientFlag = false }},
	"code_signing_flag":     {flip: func(c *role.Config) { c.CodeSigningFlag = true }},
	"email_protection_flag": {flip: func(c *role.Config) { c.EmailProtectionFlag = true }},
	"key_usage":             {flip: func(c *role.Config) { c.KeyUsage = []string{"ContentCommitment"} }},
	"ext_key_usage":         {flip: func(c *role.Config) { c.ExtKeyUsage = []string{"timestamping"} }},
	"ext_key_usage_oids":    {flip: func(c *role.Config) { c.ExtKeyUsageOIDs = []string{"1.3.6.1.4.1.311.20.2.2"} }},
	"key_type":              {flip: func(c *role.Config) { c.KeyType = "rsa" }},
	"key_bits":              {flip: func(c *role.Config) { c.KeyBits = 384 }},
	"signature_bits":        {base: serves, flip: func(c *role.Config) { c.SignatureBits = 384 }, bound: tls, outcome: signature},
	"use_pss":               {flip: func(c *role.Config) { c.UsePSS = true }, outcome: signature},
	"use_csr_common_name": {
		flip:    func(c *role.Config) { c.UseCSRCommonName = false },
		request: fromCSR(pkix.Name{CommonName: "csr.example.com"}, cert.Names{}),
	},
	"use_csr_sans": {
		flip:    func(c *role.Config) { c.UseCSRSANs = false },
		request: fromCSR(pkix.Name{}, cert.Names{DNS: []string{"csr.example.com"}}),
	},
	"serial_number_source": {
		base:    func(c *role.Config) { c.AllowedSerialNumbers = []string{"*"} },
		flip:    func(c *role.Config) { c.SerialNumberSource = "json" },
		request: fromCSR(pkix.Name{SerialNumber: "7"}, cert.Names{}),
	},
	"ou":             {flip: func(c *role.Config) { c.OU = []string{"A", "B"} }},
	"organization":   {flip: func(c *role.Config) { c.Organization = []string{"Example"} }},
	"country":        {flip: func(c *role.Config) { c.Country = []string{"DE"} }},
	"locality":       {flip: func(c *role.Config) { c.Locality = []string{"Berlin"} }},
	"province":       {flip: func(c *role.Config) { c.Province = []string{"Berlin"} }},
	"street_address": {flip: func(c *role.Config) { c.StreetAddress = []string{"Street 1"} }},
	"postal_code":    {flip: func(c *role.Config) { c.PostalCode = []string{"10115"} }},
	"require_cn": {
		flip:    func(c *role.Config) { c.RequireCN = false },
		request: func(q *request) { q.names = role.Ask{AltNames: []string{"web.example.com"}} },
	},
	"cn_validations":                     {flip: func(c *role.Config) { c.CNValidations = []string{"email"} }},
	"policy_identifiers":                 {flip: func(c *role.Config) { c.PolicyIdentifiers = []string{"1.2.3"} }},
	"basic_constraints_valid_for_non_ca": {flip: func(c *role.Config) { c.BCForNonCA = true }},
	"generate_lease":                     {flip: func(c *role.Config) { c.GenerateLease = true }, outcome: told},
	"no_store":                           {flip: func(c *role.Config) { c.NoStore = true }, outcome: told},
	"allowed_groups":                     {flip: func(c *role.Config) { c.AllowedGroups = []string{"others"} }},
	"allowed_entities":                   {flip: func(c *role.Config) { c.AllowedEntities = []string{"e-2"} }},
	"owner":                              {flip: func(c *role.Config) { c.Owner = "web team" }},
	"owner_required":                     {flip: func(c *role.Config) { c.OwnerRequired = true }},
	"metadata_required":                  {flip: func(c *role.Config) { c.MetadataRequired = []string{"ticket"} }},
	"allow_batch":                        {flip: func(c *role.Config) { c.AllowBatch = false }, outcome: told},
}

func signature(_ *testing.T, r *role.Role) string { return fmt.Sprintln(r.Profile().Signature()) }

func TestFields1_EveryFieldChangesOrBlocksACertificate(t *testing.T) {
	seen := map[string]bool{}
	for field := range reflect.TypeFor[role.Config]().Fields() {
		name := field.Tag.Get("json")
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
	before := baseline()
	if m.base != nil {
		m.base(&before)
	}
	after := before
	m.flip(&after)
	require.NotEqual(t, fieldOf(t, before, field), fieldOf(t, after, field), "the mutation leaves %s alone", field)
	require.NotEqual(t, m.result(t, before), m.result(t, after))
}

func (m mutation) result(t *testing.T, config role.Config) string {
	base, baseName := m.bound, ""
	if config.Profile != "" {
		base, baseName = tls, "web@3"
	}
	r, err := role.New("web", config, base, baseName)
	require.NoError(t, err, "the flip itself is refused")
	if m.outcome != nil {
		return m.outcome(t, r)
	}
	q := request{
		names: role.Ask{CommonName: "web.example.com"},
		who:   entity(map[string]string{"app": "shop"}),
		profile: profile.Ask{
			PublicKey: p256(), Issuer: issuer(), Mount: profile.Leases{Default: time.Hour, Max: 768 * time.Hour},
		},
	}
	if m.request != nil {
		m.request(&q)
	}
	return through(r, q)
}

func fieldOf(t *testing.T, config role.Config, name string) string {
	value := reflect.ValueOf(config)
	for i := range value.NumField() {
		if value.Type().Field(i).Tag.Get("json") == name {
			text, err := json.Marshal(value.Field(i).Interface())
			require.NoError(t, err)
			return string(text)
		}
	}
	t.Fatalf("there is no field %s", name)
	return ""
}

func TestTagsAreWhatTheCodeDoes(t *testing.T) {
	defaults := reflect.ValueOf(role.DefaultConfig())
	for i := range defaults.NumField() {
		field, value := defaults.Type().Field(i), defaults.Field(i)
		name := field.Tag.Get("json")
		require.True(t, strings.HasSuffix(field.Tag.Get("doc"), "."), "the doc of %s is a sentence", name)
		text := ""
		switch kind := value.Interface().(type) {
		case []string:
			text = strings.Join(kind, ",")
		case bool:
			if kind {
				text = "true"
			}
		case int:
			text = strconv.Itoa(kind)
		case int64:
			require.Equal(t, "duration", field.Tag.Get("kind"), name)
			text = strconv.FormatInt(kind, 10)
		case string:
			text = kind
		default:
			t.Fatalf("%s has a type that schema does not know", name)
		}
		require.Equal(t, field.Tag.Get("default"), text, "default of %s", name)
	}
}

// The fields that the built-in engine's role has and clients read back.
func TestBuiltInFieldsAreAllThere(t *testing.T) {
	builtIn := strings.Fields(`issuer_ref ttl max_ttl allow_localhost allowed_domains allowed_domains_template allow_bare_domains
		allow_subdomains allow_glob_domains allow_wildcard_certificates allow_any_name enforce_hostnames allow_ip_sans
		allowed_uri_sans allowed_uri_sans_template allowed_other_sans allowed_serial_numbers allowed_user_ids server_flag
		client_flag code_signing_flag email_protection_flag key_type key_bits signature_bits use_pss key_usage ext_key_usage
		ext_key_usage_oids use_csr_common_name use_csr_sans serial_number_source ou organization country locality province
		street_address postal_code generate_lease no_store require_cn cn_validations policy_identifiers
		basic_constraints_valid_for_non_ca not_before_duration not_after`)
	have := map[string]bool{}
	for field := range reflect.TypeFor[role.Config]().Fields() {
		have[field.Tag.Get("json")] = true
	}
	for _, name := range builtIn {
		require.True(t, have[name], name)
	}
	require.Greater(t, len(have), len(builtIn))
}
