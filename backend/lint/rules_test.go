package lint_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	zlint "github.com/zmap/zlint/v3/lint"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/lint"
)

// bad breaks one rule each; every rule of ours is in it at least once.
var bad = []struct {
	rule   string
	key    string
	change edit
}{
	{"e_authority_key_identifier_not_issuers", "ec", func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{ext([]byte{0x30, 3, 0x80, 1, 9}, 2, 5, 29, 35)}
	}},
	{"e_ca_without_key_cert_sign", "ec", func(c *x509.Certificate) {
		c.BasicConstraintsValid, c.IsCA, c.KeyUsage = true, true, x509.KeyUsageCRLSign
	}},
	{"e_ed25519_key_usage_not_signature", "ed25519", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }},
	{"e_ed25519_key_usage_not_signature", "ed25519", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyAgreement }},
	{"w_ext_key_usage_any_with_others", "ec", func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) }},
	{"e_no_rev_avail_form", "ec", noRevAvail(pkix.Extension{Critical: true, Value: asn1.NullBytes})},
	{"e_no_rev_avail_form", "ec", noRevAvail(pkix.Extension{Value: []byte{4, 0}})},
	{"e_no_rev_avail_in_ca", "ec", func(c *x509.Certificate) {
		*c = *caTemplate()
		noRevAvail(pkix.Extension{Value: asn1.NullBytes})(c)
	}},
	{"e_no_rev_avail_with_revocation_pointers", "ec", func(c *x509.Certificate) {
		noRevAvail(pkix.Extension{Value: asn1.NullBytes})(c)
		c.CRLDistributionPoints = []string{"http://pki.example.com/crl"}
	}},
	{"e_no_rev_avail_with_revocation_pointers", "ec", func(c *x509.Certificate) {
		noRevAvail(pkix.Extension{Value: asn1.NullBytes})(c)
		c.OCSPServer = []string{"http://pki.example.com/ocsp"}
	}},
	{"e_no_rev_avail_with_revocation_pointers", "ec", func(c *x509.Certificate) {
		noRevAvail(pkix.Extension{Value: asn1.NullBytes})(c)
		c.ExtraExtensions = append(c.ExtraExtensions, ext([]byte{0x30, 0}, 2, 5, 29, 46))
	}},
	{"e_ocsp_no_check_without_ocsp_signing", "ec", func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{ext(asn1.NullBytes, 1, 3, 6, 1, 5, 5, 7, 48, 1, 5)}
	}},
	{"e_serial_number_entropy", "ec", func(c *x509.Certificate) { c.SerialNumber = big.NewInt(1 << 40) }},
	{"e_san_uri_host_not_fqdn_or_ip", "ec", func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "https", Host: "intranet"}} }},
	{"e_validity_not_positive", "ec", func(c *x509.Certificate) { c.NotAfter = c.NotBefore }},
	// Some of zlint's that this engine counts on.
	{"e_subject_empty_without_san", "ec", func(c *x509.Certificate) { c.Subject, c.DNSNames = pkix.Name{}, nil }},
	{"e_ext_san_not_critical_without_subject", "ec", func(c *x509.Certificate) {
		c.Subject = pkix.Name{}
		c.ExtraExtensions = []pkix.Extension{ext([]byte{0x30, 5, 0x82, 3, 'a', '.', 'b'}, 2, 5, 29, 17)}
	}},
	{"e_serial_number_longer_than_20_octets", "ec", func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 160) }},
	{"e_ecdsa_allowed_ku", "ec", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }},
	{"e_subject_common_name_max_length", "ec", func(c *x509.Certificate) { c.Subject.CommonName = strings.Repeat("a", 65) }},
	{"e_rfc_dnsname_underscore_in_sld", "ec", func(c *x509.Certificate) { c.DNSNames = []string{"a_b.example"} }},
}

// noRevAvail makes a short-lived certificate of the template with this extension.
func noRevAvail(extension pkix.Extension) edit {
	return func(c *x509.Certificate) {
		extension.Id = asn1.ObjectIdentifier{2, 5, 29, 56}
		c.CRLDistributionPoints, c.OCSPServer, c.ExtraExtensions = nil, nil, []pkix.Extension{extension}
	}
}

func TestEachRuleFindsItsViolation(t *testing.T) {
	f := fixtures(t)
	found := map[string]bool{}
	for _, test := range bad {
		template := leafTemplate()
		test.change(template)
		findings, err := lint.Certificate(f.sign(t, template, test.key), f.ca, lint.Policy{})
		require.NoError(t, err)
		require.Contains(t, names(findings), test.rule)
		found[test.rule] = true
		one := findings[slices.Index(names(findings), test.rule)]
		require.NotEmpty(t, one.Citation)
		require.NotEmpty(t, one.Detail)
		require.Equal(t, one.Severity.String(), one.Level)
	}
	for _, name := range lint.OwnRules() {
		require.True(t, found[name], "rule %s has no test", name)
	}
}

func TestRulesAreDescribed(t *testing.T) {
	seen := map[string]bool{}
	sets := map[string]int{}
	shape := regexp.MustCompile(`^[enw]_`)
	for _, rule := range lint.Rules() {
		require.False(t, seen[rule.Name], "rule %s twice", rule.Name)
		seen[rule.Name] = true
		sets[rule.Set]++
		require.Regexp(t, shape, rule.Name)
		require.NotEmpty(t, rule.Description, rule.Name)
		require.Contains(t, lint.Sets(), rule.Set)
	}
	for _, name := range lint.Sets() {
		require.NotZero(t, sets[name], "set %s is empty", name)
	}
	require.Greater(t, sets["rfc5280"], 100)
	for _, name := range []string{"e_ext_san_uri_host_not_fqdn_or_ip", "n_dnsname_wildcard_left_of_public_suffix"} {
		require.False(t, seen[name], "%s is replaced", name)
		require.Error(t, lint.CheckPolicy(lint.Policy{Ignore: map[string]string{name: "x"}}))
	}
	for _, name := range lint.Replaced() {
		require.NotNil(t, zlint.GlobalRegistry().CertificateLints().ByName(name), "zlint has no rule %s", name)
	}
}

func TestSetsAreSelected(t *testing.T) {
	f := fixtures(t)
	template := leafTemplate()
	template.NotAfter = start.AddDate(5, 0, 0)
	drafted := f.sign(t, template, "ec")
	findings, err := lint.Certificate(drafted, f.ca, lint.Policy{})
	require.NoError(t, err)
	require.Empty(t, findings)
	findings, err = lint.Certificate(drafted, f.ca, lint.Policy{Sets: []string{"apple"}})
	require.NoError(t, err)
	require.Contains(t, names(findings), "e_tls_server_cert_valid_time_longer_than_398_days")
	findings, err = lint.Certificate(drafted, f.ca, lint.Policy{Sets: []string{}})
	require.NoError(t, err)
	require.Empty(t, findings)
	_, err = lint.Certificate(drafted, f.ca, lint.Policy{Sets: []string{"rfc52800"}})
	require.Equal(t, "lint_sets", fault.FieldOfError(err))
	for _, set := range lint.Sets() {
		_, err := lint.Certificate(drafted, f.ca, lint.Policy{Sets: []string{set}})
		require.NoError(t, err)
	}
}

func TestFindingsComeWorstFirst(t *testing.T) {
	f := fixtures(t)
	template := leafTemplate()
	template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageAny)
	template.SerialNumber = big.NewInt(1)
	template.KeyUsage |= x509.KeyUsageKeyEncipherment
	findings, err := lint.Certificate(f.sign(t, template, "ec"), f.ca, lint.Policy{})
	require.NoError(t, err)
	require.True(t, slices.IsSortedFunc(findings, func(a, b lint.Finding) int { return int(b.Severity) - int(a.Severity) }))
	require.GreaterOrEqual(t, len(findings), 3)
}

func TestRefuse(t *testing.T) {
	findings := []lint.Finding{
		{Rule: "e_a", Severity: lint.Error, Citation: "RFC 1", Detail: "a is bad"},
		{Rule: "w_b", Severity: lint.Warning, Citation: "RFC 2", Detail: "b is odd"},
		{Rule: "n_c", Severity: lint.Notice},
	}
	require.NoError(t, lint.Refuse(nil, lint.Policy{}))
	require.NoError(t, lint.Refuse(findings[1:], lint.Policy{}), "zero means Error")
	require.NoError(t, lint.Refuse(findings, lint.Policy{FailAt: lint.Fatal}))
	err := lint.Refuse(findings, lint.Policy{})
	require.EqualError(t, err, "certificate violates lint e_a (RFC 1): a is bad")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, lint.Refuse(findings, lint.Policy{FailAt: lint.Warning}), "w_b (RFC 2): b is odd")
	require.NoError(t, lint.Refuse(findings, lint.Policy{Ignore: map[string]string{"e_a": "old printers"}}))
}

func TestCheckRefusesDrafts(t *testing.T) {
	f := fixtures(t)
	template := leafTemplate()
	require.NoError(t, lint.Check(lint.Policy{})(f.sign(t, template, "ec"), f.ca))
	template.SerialNumber = big.NewInt(1)
	require.ErrorContains(t, lint.Check(lint.Policy{})(f.sign(t, template, "ec"), f.ca), "e_serial_number_entropy")
	require.NoError(t, lint.Check(lint.Policy{Ignore: map[string]string{"e_serial_number_entropy": "test"}})(f.sign(t, template, "ec"), f.ca))
	require.Error(t, lint.Check(lint.Policy{Sets: []string{"x"}})(f.sign(t, template, "ec"), f.ca))
	require.Error(t, lint.Check(lint.Policy{})(&x509.Certificate{Raw: []byte{1}}, f.ca))
}

func TestFields1_PoliciesNameOnlyWhatExists(t *testing.T) {
	require.NoError(t, lint.CheckPolicy(lint.Policy{}))
	require.NoError(t, lint.CheckPolicy(lint.Policy{Sets: lint.Sets(), FailAt: lint.Warning, Ignore: map[string]string{"e_ecdsa_allowed_ku": "old clients", "e_no_rev_avail_form": "x"}}))
	for field, policy := range map[string]lint.Policy{
		"lint_sets":    {Sets: []string{"rfc5280", "rfc528"}},
		"lint_ignore":  {Ignore: map[string]string{"e_ecdsa_alowed_ku": "typo"}},
		"lint_fail_at": {FailAt: 9},
	} {
		require.Equal(t, field, fault.FieldOfError(lint.CheckPolicy(policy)))
	}
	require.ErrorContains(t, lint.CheckPolicy(lint.Policy{Ignore: map[string]string{"e_ecdsa_allowed_ku": " "}}), "needs a reason")
}

func TestSeverities(t *testing.T) {
	for _, severity := range []lint.Severity{lint.Notice, lint.Warning, lint.Error, lint.Fatal} {
		back, err := lint.ParseSeverity(severity.String())
		require.NoError(t, err)
		require.Equal(t, severity, back)
	}
	_, err := lint.ParseSeverity("terrible")
	require.ErrorContains(t, err, "notice, warning, error or fatal")
}

// pki-ceremony lints and has no network code.
func TestNoNetworkCodeIsLinked(t *testing.T) {
	output, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	packages := strings.Fields(string(output))
	require.Contains(t, packages, "github.com/zmap/zlint/v3/lint")
	for _, found := range packages {
		require.False(t, strings.HasPrefix(found, "net/http") || strings.HasPrefix(found, "google.golang.org/grpc"), found)
	}
}

func BenchmarkCertificate(b *testing.B) {
	f := fixtures(b)
	drafted := f.sign(b, leafTemplate(), "ec")
	for name, policy := range map[string]lint.Policy{"rfc": {}, "all": {Sets: lint.Sets()}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := lint.Certificate(drafted, f.ca, policy); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
