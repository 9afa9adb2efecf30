package profile_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// refusals are contradictions and unknown values: each must be refused when the
// profile is written, naming the field.
var refusals = []struct {
	field string
	set   func(*profile.Config)
}{
	{"preset", func(c *profile.Config) { c.Preset = "tls" }},
	{"kind", func(c *profile.Config) { c.Kind = "" }},
	{"kind", func(c *profile.Config) { c.Kind = "server" }},
	{"key_algorithms", func(c *profile.Config) { c.KeyAlgorithms = nil }},
	{"key_algorithms", func(c *profile.Config) { c.KeyAlgorithms = []string{"rsa-1024"} }},
	{"issuer_key_algorithms", func(c *profile.Config) { c.IssuerKeyAlgorithms = []string{"dsa"} }},
	{"signature_hash_bits", func(c *profile.Config) { c.SignatureHashBits = 160 }},
	{"default_ttl", func(c *profile.Config) { c.DefaultTTL = -1 }},
	{"default_ttl", func(c *profile.Config) { c.DefaultTTL, c.MaxTTL = 7200, 3600 }},
	{"max_ttl", func(c *profile.Config) { c.MaxTTL = 1 << 60 }},
	{"min_ttl", func(c *profile.Config) { c.MinTTL, c.MaxTTL = 7200, 3600 }},
	{"min_ttl", func(c *profile.Config) { c.MinTTL, c.DefaultTTL = 7200, 3600 }},
	{"min_ttl", func(c *profile.Config) { c.MinTTL, c.ValiditySchedule = 48*86400, "cabf_tls" }},
	{"private_key_usage_period", func(c *profile.Config) { c.PrivateKeyUsage, c.MaxTTL = 7200, 3600 }},
	{"not_after", func(c *profile.Config) { c.NotAfter = "tomorrow" }},
	{"validity_schedule", func(c *profile.Config) { c.ValiditySchedule = "cabf" }},
	{"subject_required", func(c *profile.Config) { c.SubjectRequired = []string{"organization"} }},
	{"subject_allowed", func(c *profile.Config) { c.SubjectAllowed = []string{"title"} }},
	{"subject_fixed", func(c *profile.Config) { c.SubjectFixed = map[string]string{"title": "Dr"} }},
	{"subject_fixed", func(c *profile.Config) { c.SubjectFixed = map[string]string{"country": "Germany"} }},
	{"subject_fixed", func(c *profile.Config) { c.SubjectFixed = map[string]string{"organization": "a\x00b"} }},
	{"subject_fixed", func(c *profile.Config) {
		c.SubjectFixed = map[string]string{"organization": "Evil"}
		c.SubjectPatterns = map[string]string{"organization": "Example"}
	}},
	{"subject_patterns", func(c *profile.Config) { c.SubjectPatterns = map[string]string{"ou": "("} }},
	{"subject_patterns", func(c *profile.Config) { c.SubjectPatterns = map[string]string{"ou": "a)|(b"} }},
	{"subject_patterns", func(c *profile.Config) { c.SubjectPatterns = map[string]string{"title": "a"} }},
	{"cn_policy", func(c *profile.Config) { c.CNPolicy = "any" }},
	{"cn_policy", func(c *profile.Config) { c.CNPolicy, c.SubjectRequired = profile.CNOmit, []string{"common_name"} }},
	{"cn_policy", func(c *profile.Config) { c.SANTypes = nil }},
	{"san_types", func(c *profile.Config) { c.SANTypes = []string{"upn"} }},
	{"san_required_types", func(c *profile.Config) { c.SANRequiredTypes = []string{"ip"} }},
	{"san_min", func(c *profile.Config) { c.SANMin = 101 }},
	{"san_min", func(c *profile.Config) { c.SANTypes, c.CNPolicy, c.SANMin = nil, profile.CNFree, 1 }},
	{"san_max", func(c *profile.Config) { c.SANMax = 1001 }},
	{"san_max", func(c *profile.Config) { c.SANRequiredTypes, c.SANMax = []string{"dns"}, 0 }},
	{"san_uri_max", func(c *profile.Config) { c.SANURIMax = -1 }},
	{"uri_schemes", func(c *profile.Config) { c.URISchemes = []string{"spiffe"} }},
	{"uri_schemes", func(c *profile.Config) { c.SANTypes, c.URISchemes = []string{"dns", "uri"}, []string{"spiffe://"} }},
	{"allow_wildcards", func(c *profile.Config) { c.SANTypes, c.AllowWildcards = []string{"ip"}, true }},
	{"key_usage", func(c *profile.Config) { c.KeyUsage = []string{"Signing"} }},
	{"key_usage", func(c *profile.Config) { c.KeyUsage = []string{"CertSign"} }},
	{"key_usage", func(c *profile.Config) { c.KeyUsageOptional = []string{"cRLSign"} }},
	{"key_usage_optional", func(c *profile.Config) { c.KeyUsageOptional = []string{"x"} }},
	{"ext_key_usage", func(c *profile.Config) { c.ExtKeyUsage = []string{"TLS"} }},
	{"ext_key_usage", func(c *profile.Config) { c.ExtKeyUsage = []string{"ServerAuth", "OCSPSigning"} }},
	{"ext_key_usage_critical", func(c *profile.Config) { c.ExtKeyUsageCritical = true }},
	{"ext_key_usage_critical", func(c *profile.Config) { c.ExtKeyUsage, c.ExtKeyUsageCritical = []string{"any"}, true }},
	{"policy_identifiers", func(c *profile.Config) { c.PolicyIdentifiers = []string{"1.2.x"} }},
	{"policy_identifiers", func(c *profile.Config) { c.PolicyIdentifiers = []string{"1.2.3", "1.2.3"} }},
	{"policy_identifiers", func(c *profile.Config) { c.PolicyIdentifiers = []string{"1.2.3=ftp://e.com"} }},
	{"policy_identifiers", func(c *profile.Config) { c.PolicyIdentifiers = []string{`{"oid":1}`} }},
	{"aia", func(c *profile.Config) { c.AIA = "shard" }},
	{"crl_distribution", func(c *profile.Config) { c.CRLDistribution = "" }},
	{"ocsp_nocheck", func(c *profile.Config) { c.OCSPNoCheck = true }},
	{"no_rev_avail", func(c *profile.Config) { c.NoRevAvail = true }},
	{"must_staple", func(c *profile.Config) { c.MustStaple, c.AIA = true, "none" }},
	{"custom_extensions", func(c *profile.Config) { c.CustomExtensions = []string{"1.2.3=BQA="} }},
	{"custom_extensions", func(c *profile.Config) { c.CustomExtensions = []string{"1.2.3=critical:!!"} }},
	{"custom_extensions", func(c *profile.Config) { c.CustomExtensions = []string{"1.2.3=critical:BQAA"} }},
	{"custom_extensions", func(c *profile.Config) { c.CustomExtensions = []string{"2.5.29.17=critical:BQA="} }},
	{"custom_extensions", func(c *profile.Config) { c.CustomExtensions = []string{"1.3.6.1.4.1.311.25.2=noncritical:BQA="} }},
	{"custom_extensions", func(c *profile.Config) {
		c.CustomExtensions = []string{"1.2.3=critical:BQA=", "1.2.3=noncritical:BQA="}
	}},
	{"max_path_length", func(c *profile.Config) { c.MaxPathLength = 0 }},
	{"permitted_dns_domains", func(c *profile.Config) { c.PermittedDNSDomains = []string{"e.com"} }},
	{"allowed_revocation_reasons", func(c *profile.Config) { c.AllowedRevocationReasons = []string{"removeFromCRL"} }},
	{"csr_extra", func(c *profile.Config) { c.CSRExtra = "copy" }},
	{"lint_sets", func(c *profile.Config) { c.LintSets = []string{"RFC 5280"} }},
	{"lint_fail_level", func(c *profile.Config) { c.LintFailLevel = "never" }},
	{"lint_ignore", func(c *profile.Config) { c.LintIgnore = map[string]string{"e_rule": " "} }},
}

// caRefusals are the same for a CA.
var caRefusals = []struct {
	field string
	set   func(*profile.Config)
}{
	{"key_usage", func(c *profile.Config) { c.KeyUsage = []string{"CRLSign"} }},
	{"ext_key_usage", func(c *profile.Config) { c.ExtKeyUsage = []string{"Any"} }},
	{"ext_key_usage", func(c *profile.Config) { c.ExtKeyUsage = []string{"OCSPSigning"} }},
	{"max_path_length", func(c *profile.Config) { c.MaxPathLength = 11 }},
	{"ocsp_nocheck", func(c *profile.Config) { c.OCSPNoCheck = true }},
	{"no_rev_avail", func(c *profile.Config) { c.NoRevAvail, c.CRLDistribution = true, "none" }},
	{"must_staple", func(c *profile.Config) { c.MustStaple = true }},
	{"no_store", func(c *profile.Config) { c.NoStore = true }},
	{"basic_constraints_valid_for_non_ca", func(c *profile.Config) { c.BCForNonCA = true }},
	{"aia", func(c *profile.Config) { c.Kind = profile.KindRoot }},
	{"crl_distribution", func(c *profile.Config) { c.Kind, c.AIA = profile.KindRoot, "none" }},
	{"issuer_key_algorithms", func(c *profile.Config) {
		c.Kind, c.AIA, c.CRLDistribution, c.IssuerKeyAlgorithms = profile.KindRoot, "none", "none", []string{"ec-384"}
	}},
	{"permitted_dns_domains", func(c *profile.Config) { c.PermittedDNSDomains = []string{"*.e.com"} }},
	{"excluded_dns_domains", func(c *profile.Config) { c.ExcludedDNSDomains = []string{"E.com"} }},
	{"permitted_ip_ranges", func(c *profile.Config) { c.PermittedIPRanges = []string{"10.0.0.1/8"} }},
	{"excluded_ip_ranges", func(c *profile.Config) { c.ExcludedIPRanges = []string{"10.0.0.0"} }},
	{"permitted_email_addresses", func(c *profile.Config) { c.PermittedEmailAddresses = []string{"a b@e.com"} }},
	{"excluded_email_addresses", func(c *profile.Config) { c.ExcludedEmailAddresses = []string{"@"} }},
	{"permitted_uri_domains", func(c *profile.Config) { c.PermittedURIDomains = []string{"https://e.com"} }},
	{"excluded_uri_domains", func(c *profile.Config) { c.ExcludedURIDomains = []string{""} }},
}

func TestContradictionsAreRefusedWhenWritten(t *testing.T) {
	for _, r := range refusals {
		config := profile.DefaultConfig()
		r.set(&config)
		_, err := profile.New("web", 1, config)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", r.field, err)
		require.Equal(t, r.field, fault.FieldOfError(err), "%v", err)
	}
	for _, r := range caRefusals {
		var config profile.Config
		subca(&config)
		r.set(&config)
		_, err := profile.New("ca", 1, config)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", r.field, err)
		require.Equal(t, r.field, fault.FieldOfError(err), "%v", err)
	}
	_, err := profile.New("zero", 1, profile.Config{})
	require.Error(t, err)
}

func TestPresetsAreValidAndSayWhatTheTableSays(t *testing.T) {
	for _, name := range profile.Presets() {
		config, err := profile.FromPreset(name)
		require.NoError(t, err)
		require.Equal(t, name, config.Preset)
		p := compile(t, config)
		require.Equal(t, "web@3", p.Name())
		require.Equal(t, config, p.Config())
		require.LessOrEqual(t, config.NotBeforeDur, int64(300), "backdate of %s", name)
	}
	_, ok := profile.Preset("tls")
	require.False(t, ok)
	_, err := profile.FromPreset("tls")
	require.Equal(t, "preset", fault.FieldOfError(err))
}

func TestPresetsIssueWhatTheTableSays(t *testing.T) {
	subject := func(a *profile.Ask) {
		a.Subject.CommonName, a.Subject.Organization, a.Subject.Country = "Example Org", []string{"Example"}, []string{"DE"}
		a.Names = cert.Names{}
	}
	for name, want := range map[string]struct {
		ask    func(*profile.Ask)
		usage  x509.KeyUsage
		ext    []x509.ExtKeyUsage
		ttl    time.Duration
		crl    int
		ocsp   int
		path   int
		isCA   bool
		static string
	}{
		"tls-server":     {withTypes("dns", "ip", "wildcard"), x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, 45 * day, 1, 1, -1, false, ""},
		"tls-client":     {withTypes("email"), x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, 30 * day, 1, 1, -1, false, ""},
		"mtls-service":   {withTypes("dns", "uri"), x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, 30 * day, 1, 1, -1, false, ""},
		"code-signing":   {subject, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, 365 * day, 1, 1, -1, false, ""},
		"ocsp-responder": {asResponder, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}, 14 * day, 0, 0, -1, false, "1.3.6.1.5.5.7.48.1.5"},
		"issuing-ca": {
			func(a *profile.Ask) { subject(a); a.PublicKey = p384().Public() }, x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageCodeSigning},
			1826 * day, 1, 1, 0, true, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			request := ask()
			request.TTL = 0
			want.ask(&request)
			made, err := compile(t, preset(t, name)).Template(request, now)
			require.NoError(t, err)
			c := ecIssuer().sign(t, made)
			require.Equal(t, want.usage, c.KeyUsage)
			require.Equal(t, want.ext, c.ExtKeyUsage)
			require.Equal(t, start.Add(want.ttl), c.NotAfter)
			require.Equal(t, start.Add(-5*time.Minute), c.NotBefore)
			require.Len(t, c.CRLDistributionPoints, want.crl)
			require.Len(t, c.OCSPServer, want.ocsp)
			require.Len(t, c.IssuingCertificateURL, 1)
			require.Equal(t, want.isCA, c.IsCA)
			if want.isCA {
				require.Equal(t, want.path, c.MaxPathLen)
			}
			require.Len(t, c.SubjectKeyId, 20)
			require.NotEmpty(t, c.AuthorityKeyId)
			require.True(t, want.static == "" || hasExtension(c, want.static))
			require.True(t, extension(c, "2.5.29.15").Critical, "key usage is critical")
		})
	}
}

func TestRootIsSelfSigned(t *testing.T) {
	p := compile(t, preset(t, "root-ca"))
	request := profile.Ask{PublicKey: p384().Public(), URLs: urls()}
	request.Subject.CommonName = "Root 1"
	made, err := p.Template(request, now)
	require.NoError(t, err)
	c := authority{made.Certificate, p384()}.sign(t, made)
	require.True(t, c.IsCA)
	require.Equal(t, -1, c.MaxPathLen)
	require.Empty(t, c.CRLDistributionPoints)
	require.Empty(t, c.IssuingCertificateURL)
	require.Empty(t, c.ExtKeyUsage)
	require.NoError(t, c.CheckSignatureFrom(c))
	require.Equal(t, c.SubjectKeyId, c.AuthorityKeyId)
	require.Equal(t, x509.ECDSAWithSHA384, c.SignatureAlgorithm)

	request.TTL = 365 * day
	_, err = p.Template(request, now)
	require.Equal(t, "ttl", fault.FieldOfError(err), "%v", err)
	request.Issuer = ecIssuer().cert
	_, err = p.Template(request, now)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
}

func TestIssuingCANamesTheUsesOfTheCatalogue(t *testing.T) {
	var union []string
	for _, name := range profile.Presets() {
		if config := preset(t, name); config.Kind == profile.KindLeaf {
			for _, usage := range config.ExtKeyUsage {
				if !slices.Contains(union, usage) {
					union = append(union, usage)
				}
			}
		}
	}
	require.ElementsMatch(t, union, preset(t, "issuing-ca").ExtKeyUsage)
}

func TestConfigIsNotShared(t *testing.T) {
	config := preset(t, "tls-server")
	config.SubjectFixed = map[string]string{"organization": "Example"}
	p := compile(t, config)
	config.ExtKeyUsage[0], config.SubjectFixed["organization"] = "ClientAuth", "Evil"
	got := p.Config()
	require.Equal(t, "ServerAuth", got.ExtKeyUsage[0])
	require.Equal(t, "Example", got.SubjectFixed["organization"])
	got.ExtKeyUsage[0] = "Any"
	require.Equal(t, "ServerAuth", p.Config().ExtKeyUsage[0])
}

func TestEmptyListOfLintSetsIsNotNoRules(t *testing.T) {
	config := profile.DefaultConfig()
	config.LintSets = []string{}
	require.Nil(t, compile(t, config).LintPolicy().Sets)
}

func TestDetachKnowsEveryShapeOfField(t *testing.T) {
	for field := range reflect.TypeFor[profile.Config]().Fields() {
		switch field.Type.Kind() {
		case reflect.Slice:
			require.Equal(t, reflect.TypeFor[[]string](), field.Type, field.Name)
		case reflect.Map:
			require.Equal(t, reflect.TypeFor[map[string]string](), field.Type, field.Name)
		case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		default:
			t.Fatalf("%s has a type that schema and Detach do not know", field.Name)
		}
	}
}

func TestOpenSSLReadsWhatTheStandardLibraryDoesNotWrite(t *testing.T) {
	config := profile.DefaultConfig()
	config.SubjectAllowed = []string{"common_name", "user_id"}
	config.SANTypes = []string{"dns", "other"}
	config.PolicyIdentifiers = []string{"1.3.6.1.4.1.99999.1=https://pki.example.com/cps", `{"oid":"1.3.6.1.4.1.99999.2","notice":"For tests"}`}
	config.ExtKeyUsage, config.ExtKeyUsageCritical = []string{"TimeStamping"}, true
	config.MustStaple = true
	config.PrivateKeyUsage = 600
	config.CustomExtensions = []string{"1.3.6.1.4.1.99999.3=noncritical:BQA="}
	request := ask()
	request.Names = names("dns", "other")
	profile.AddUserID(&request.Subject, "jane")
	made, err := compile(t, config).Template(request, now)
	require.NoError(t, err)
	text := openssl(t, ecIssuer().sign(t, made))
	for _, want := range []string{
		"Policy: 1.3.6.1.4.1.99999.1", "CPS: https://pki.example.com/cps", "Explicit Text: For tests",
		"X509v3 Extended Key Usage: critical", "status_request", "Private Key Usage Period",
		"Not After: Nov  2 10:39:45 2026 GMT", "1.3.6.1.4.1.99999.3", "UPN", "UID = jane",
	} {
		require.Contains(t, text, want)
	}
}

func openssl(t *testing.T, c *x509.Certificate) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cert.pem")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600))
	out, err := exec.Command("openssl", "x509", "-in", path, "-noout", "-text").CombinedOutput()
	if err != nil {
		t.Fatalf("running openssl (Debian package openssl): %v: %s", err, out)
	}
	return string(out)
}
