package role_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

func TestRoleThatWidensIsRefusedByItsField(t *testing.T) {
	base := preset(t, "tls-server")
	base.NotAfter = "2027-06-01T00:00:00Z"
	base.MinTTL = 3600
	base.SignatureHashBits = 256
	base.KeyAlgorithms = []string{"ec-256", "rsa-3072"}
	base.SubjectAllowed = []string{"common_name", "organization"}
	base.SubjectFixed = map[string]string{"country": "DE"}
	base.PolicyIdentifiers = []string{"1.2.3=https://e.com/cps"}
	base.SANTypes, base.AllowWildcards = []string{"dns"}, false
	for _, c := range []struct {
		field string
		set   func(*role.Config)
	}{
		{"key_type", func(c *role.Config) { c.KeyType = "ed25519" }},
		{"key_bits", func(c *role.Config) { c.KeyType, c.KeyBits = "rsa", 2048 }},
		{"key_type", func(c *role.Config) { c.KeyType, c.KeyBits = "ec", 384 }},
		{"signature_bits", func(c *role.Config) { c.SignatureBits = 512 }},
		{"use_pss", func(c *role.Config) { c.UsePSS = true }},
		{"ttl", func(c *role.Config) { c.TTL = 399 * 86400 }},
		{"ttl", func(c *role.Config) { c.TTL = 60 }},
		{"max_ttl", func(c *role.Config) { c.MaxTTL = 399 * 86400 }},
		{"max_ttl", func(c *role.Config) { c.MaxTTL = 60 }},
		{"not_before_duration", func(c *role.Config) { c.NotBeforeDuration = 301 }},
		{"not_after", func(c *role.Config) { c.NotAfter = "2027-06-01T00:00:01Z" }},
		{"not_after", func(c *role.Config) { c.NotAfter = "soon" }},
		{"key_usage", func(c *role.Config) { c.KeyUsage = []string{"DigitalSignature", "KeyAgreement"} }},
		{"ext_key_usage", func(c *role.Config) { c.ExtKeyUsage = []string{"ClientAuth"} }},
		{"ext_key_usage_oids", func(c *role.Config) { c.ExtKeyUsageOIDs = []string{"2.5.29.37.0"} }},
		{"client_flag", func(c *role.Config) { c.ClientFlag = true }},
		{"code_signing_flag", func(c *role.Config) { c.CodeSigningFlag = true }},
		{"email_protection_flag", func(c *role.Config) { c.EmailProtectionFlag = true }},
		{"policy_identifiers", func(c *role.Config) { c.PolicyIdentifiers = []string{"1.2.4"} }},
		{"policy_identifiers", func(c *role.Config) { c.PolicyIdentifiers = []string{"1.2.3=https://evil.org"} }},
		{"no_store", func(c *role.Config) { c.NoStore = true }},
		{"basic_constraints_valid_for_non_ca", func(c *role.Config) { c.BCForNonCA = true }},
		{"country", func(c *role.Config) { c.Country = []string{"FR"} }},
		{"country", func(c *role.Config) { c.Country = []string{"DE", "FR"} }},
		{"ou", func(c *role.Config) { c.OU = []string{"x"} }},
		{"allowed_serial_numbers", func(c *role.Config) { c.AllowedSerialNumbers = []string{"*"} }},
		{"allowed_user_ids", func(c *role.Config) { c.AllowedUserIDs = []string{"*"} }},
		{"allow_ip_sans", func(c *role.Config) { c.AllowIPSANs = true }},
		{"allowed_uri_sans", func(c *role.Config) { c.AllowedURISANs = []string{"*"} }},
		{"allowed_other_sans", func(c *role.Config) { c.AllowedOtherSANs = []string{"*"} }},
		{"allow_wildcard_certificates", func(c *role.Config) { c.AllowWildcardCertificates = true }},
	} {
		_, err := newBound(base, c.set)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", c.field, err)
		require.Equal(t, c.field, fault.FieldOfError(err), "%v", err)
	}
}

func TestRoleNarrowsAndInheritsTheRest(t *testing.T) {
	base := preset(t, "mtls-service")
	base.KeyAlgorithms = []string{"ec-256", "ec-384", "rsa-2048"}
	base.PolicyIdentifiers = []string{"1.2.3=https://e.com/cps", "1.2.4"}
	base.KeyUsageOptional = []string{"KeyAgreement"}
	base.NoStore = true
	same := bind(t, base, func(*role.Config) {}).Profile()
	require.Equal(t, "web@3", same.Name())
	require.Equal(t, base, same.Config(), "a role that says nothing narrows nothing")

	got := bind(t, base, func(c *role.Config) {
		c.KeyType, c.KeyBits = "rsa", 3072
		c.SignatureBits = 384
		c.TTL, c.MaxTTL, c.NotBeforeDuration = 3600, 7200, 60
		c.NotAfter = "2027-01-01T00:00:00Z"
		c.KeyUsage = []string{"digitalSignature"}
		c.ClientFlag = true
		c.PolicyIdentifiers = []string{"1.2.3"}
	}).Profile().Config()
	want := base
	want.KeyAlgorithms, want.SignatureHashBits = []string{"rsa-3072"}, 384
	want.DefaultTTL, want.MaxTTL, want.NotBeforeDur, want.NotAfter = 3600, 7200, 60, "2027-01-01T00:00:00Z"
	want.KeyUsage, want.KeyUsageOptional = []string{"DigitalSignature"}, nil
	want.ExtKeyUsage = []string{"1.3.6.1.5.5.7.3.2"}
	want.PolicyIdentifiers = []string{"1.2.3=https://e.com/cps"}
	require.Equal(t, want, got)

	short := bind(t, base, func(c *role.Config) { c.MaxTTL = 60 }).Profile().Config()
	require.Equal(t, int64(60), short.DefaultTTL, "the default follows the limit")
	sized := bind(t, base, func(c *role.Config) { c.KeyBits = 384 }).Profile().Config()
	require.Equal(t, []string{"ec-384", "rsa-2048"}, sized.KeyAlgorithms)
}

func TestProfileOfACAIsForNoRole(t *testing.T) {
	for _, name := range []string{"issuing-ca", "root-ca"} {
		_, err := newBound(preset(t, name), func(*role.Config) {})
		require.Equal(t, "profile", fault.FieldOfError(err), "%v", err)
	}
	_, err := newBound(preset(t, "code-signing"), func(c *role.Config) { c.Organization = []string{"Example"} })
	require.Equal(t, "country", fault.FieldOfError(err), "required and never given: %v", err)
	_, err = newBound(preset(t, "code-signing"), func(c *role.Config) {
		c.Organization, c.Country = []string{"Example"}, []string{"DE"}
	})
	require.NoError(t, err)
}

func TestRolesThatMakeNoSenseAreRefused(t *testing.T) {
	for _, c := range []struct {
		field string
		set   func(*role.Config)
	}{
		{"profile", func(c *role.Config) { c.Profile = "gone" }},
		{"issuer_ref", func(c *role.Config) { c.IssuerRef = "" }},
		{"ttl", func(c *role.Config) { c.TTL, c.MaxTTL = 7200, 3600 }},
		{"ttl", func(c *role.Config) { c.TTL = -1 }},
		{"max_ttl", func(c *role.Config) { c.MaxTTL = 1 << 50 }},
		{"key_type", func(c *role.Config) { c.KeyType = "dsa" }},
		{"key_bits", func(c *role.Config) { c.KeyBits = 1024 }},
		{"key_bits", func(c *role.Config) { c.KeyBits = 256 }},
		{"signature_bits", func(c *role.Config) { c.SignatureBits = 160 }},
		{"serial_number_source", func(c *role.Config) { c.SerialNumberSource = "csr" }},
		{"cn_validations", func(c *role.Config) { c.CNValidations = []string{"disabled", "email"} }},
		{"cn_validations", func(c *role.Config) { c.CNValidations = []string{"none"} }},
		{"denied_domains", func(c *role.Config) { c.DeniedDomains = []string{"*.e.com"} }},
		{"allowed_domains", func(c *role.Config) { c.AllowedDomains, c.AllowedDomainsTemplate = []string{"{{x"}, true }},
		{"allowed_uri_sans", func(c *role.Config) { c.AllowedURISANs, c.AllowedURISANsTemplate = []string{"a://{{}}"}, true }},
		{"allowed_ip_sans_cidr", func(c *role.Config) { c.AllowedIPSANsCIDR = []string{"10.0.0.1/8"} }},
		{"allowed_ip_sans_cidr", func(c *role.Config) { c.AllowedIPSANsCIDR, c.AllowIPSANs = []string{"10.0.0.0/8"}, false }},
		{"allowed_other_sans", func(c *role.Config) { c.AllowedOtherSANs = []string{"1.2.3:x"} }},
		{"key_usage", func(c *role.Config) { c.KeyUsage = []string{"Everything"} }},
		{"key_usage", func(c *role.Config) { c.KeyUsage = []string{"CertSign"} }},
		{"ext_key_usage", func(c *role.Config) { c.ExtKeyUsage = []string{"OCSPSigning"} }},
		{"ext_key_usage", func(c *role.Config) { c.ExtKeyUsageOIDs = []string{"1.2.x"} }},
		{"policy_identifiers", func(c *role.Config) { c.PolicyIdentifiers = []string{"x"} }},
		{"allowed_entities", func(c *role.Config) { c.AllowedEntities = []string{""} }},
		{"metadata_required", func(c *role.Config) { c.MetadataRequired = []string{""} }},
	} {
		config := role.DefaultConfig()
		c.set(&config)
		_, err := role.New("web", config, nil, "")
		require.Error(t, err, c.field)
		require.Equal(t, c.field, fault.FieldOfError(err), "%v", err)
		require.NotEqual(t, fault.Internal, fault.KindOf(err), "%v", err)
	}
	base := preset(t, "tls-server")
	_, err := role.New("web", role.DefaultConfigFor("web", base), &base, "web")
	require.Equal(t, fault.Internal, fault.KindOf(err), "a profile without its version is our own mistake")
	_, err = role.New("web", role.DefaultConfig(), &base, "web@3")
	require.Equal(t, fault.Internal, fault.KindOf(err))
}

// Without a profile, a role does what the built-in engine's role does.
func TestRoleWithoutProfileIsTheBuiltInOne(t *testing.T) {
	r := compile(t, func(c *role.Config) {
		c.AllowedDomains, c.AllowSubdomains, c.MaxTTL, c.KeyType = []string{"example.com"}, true, 72*3600, "any"
		c.Organization = []string{"Example"}
	})
	ask := profile.Ask{PublicKey: p256(), Issuer: issuer(), TTL: 100 * time.Hour, Mount: profile.Leases{Max: 768 * time.Hour}}
	ask.CSR = profile.CSRAsk{KeyUsage: x509.KeyUsageKeyEncipherment, ExtKeyUsage: []string{"1.3.6.1.5.5.7.3.3"}, Unknown: []string{"1.2.3"}}
	var err error
	request := role.Ask{CommonName: "a.example.com", CSR: csr(pkix.Name{Organization: []string{"Other"}}, cert.Names{})}
	ask.Subject, ask.Names, err = r.Names(request, role.Identity{})
	require.NoError(t, err)
	made, err := r.Profile().Template(ask, now)
	require.NoError(t, err)
	c := made.Certificate
	require.Empty(t, r.Profile().Name())
	require.Equal(t, "CN=a.example.com,O=Example", c.Subject.String())
	require.Equal(t, []string{"a.example.com"}, c.DNSNames)
	require.Equal(t, now.Add(72*time.Hour), c.NotAfter)
	require.Equal(t, now.Add(-30*time.Second), c.NotBefore)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, c.ExtKeyUsage)
	require.Equal(t, x509.KeyUsageDigitalSignature|x509.KeyUsageKeyAgreement, c.KeyUsage)
	require.Len(t, made.Warnings, 2, "the cut ttl and the dropped extras")
	require.False(t, c.BasicConstraintsValid)

	_, err = r.EngineKey("", 0)
	require.Equal(t, "key_type", fault.FieldOfError(err))
	spec, err := r.EngineKey("ec", 384)
	require.NoError(t, err)
	require.Equal(t, cert.P384, spec)
}

func TestKeySizesOfTheRoleAreMinimums(t *testing.T) {
	for _, c := range []struct {
		keyType string
		bits    int
		allowed []string
	}{
		{"rsa", 0, []string{"rsa-2048"}},
		{"rsa", 4096, []string{"rsa-4096"}},
		{"ec", 0, []string{"ec-256", "ec-384", "ec-521"}},
		{"ec", 384, []string{"ec-384", "ec-521"}},
		{"ed25519", 0, []string{"ed25519"}},
		{"ed25519", 2048, []string{"ed25519"}}, // as the built-in engine: it has one size
		{"any", 0, []string{"rsa-2048", "ec-256", "ec-384", "ec-521", "ed25519"}},
		{"any", 3072, []string{"rsa-3072", "ec-256", "ec-384", "ec-521", "ed25519"}},
		{"any", 521, []string{"rsa-2048", "ec-521", "ed25519"}},
	} {
		r := compile(t, func(config *role.Config) { config.KeyType, config.KeyBits = c.keyType, c.bits })
		require.Equal(t, c.allowed, r.Profile().Config().KeyAlgorithms)
	}
}

func TestAccountable(t *testing.T) {
	r := compile(t, func(c *role.Config) {
		c.Owner, c.OwnerRequired, c.MetadataRequired = "team", true, []string{"ticket"}
	})
	owner, err := r.Accountable(" ", map[string]string{"ticket": "7"})
	require.NoError(t, err)
	require.Equal(t, "team", owner)
	owner, err = r.Accountable("jane", map[string]string{"ticket": "7"})
	require.NoError(t, err)
	require.Equal(t, "jane", owner)
	_, err = r.Accountable("jane", nil)
	require.Equal(t, "metadata", fault.FieldOfError(err))
}

func TestLeasesNeedStoredCertificates(t *testing.T) {
	leased := func(c *role.Config) { c.GenerateLease = true }
	require.True(t, compile(t, leased).LeasesCertificates())
	require.False(t, compile(t, func(c *role.Config) { leased(c); c.NoStore = true }).LeasesCertificates())
}

func TestConfigIsNotShared(t *testing.T) {
	config := role.DefaultConfig()
	config.AllowedDomains, config.AllowSubdomains = []string{"example.com"}, true
	r, err := role.New("web", config, nil, "")
	require.NoError(t, err)
	config.AllowedDomains[0] = "evil.org"
	require.Equal(t, "example.com", r.Config().AllowedDomains[0])
	require.Equal(t, "web", r.Name())
	refused(t, r, role.Ask{CommonName: "a.evil.org"}, role.Identity{}, "common_name")
}

func TestTheNameOfAProfileHasItsVersion(t *testing.T) {
	base, err := profile.FromPreset("tls-server")
	require.NoError(t, err)
	for _, name := range []string{"web", "web@", "web@x", ""} {
		_, err = role.New("web", role.DefaultConfigFor("web", base), &base, name)
		require.Error(t, err, name)
	}
}
