package profile_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

func extension(c *x509.Certificate, oid string) pkix.Extension {
	for _, e := range c.Extensions {
		if e.Id.String() == oid {
			return e
		}
	}
	return pkix.Extension{}
}

func hasExtension(c *x509.Certificate, oid string) bool { return extension(c, oid).Id != nil }

func TestKeyUsageSuitsTheKey(t *testing.T) {
	all := []string{"DigitalSignature", "KeyAgreement", "KeyEncipherment", "DataEncipherment"}
	for _, c := range []struct {
		key    crypto.Signer
		usages []string
		want   x509.KeyUsage
	}{
		{rsaKey(), all, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment},
		{p256(), all, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement},
		{ed(), all, x509.KeyUsageDigitalSignature},
		{p256(), nil, 0},
		{p256(), []string{"keyAgreement", "encipherOnly"}, x509.KeyUsageKeyAgreement | x509.KeyUsageEncipherOnly},
		{rsaKey(), []string{"KeyAgreement"}, 0},
		{ed(), []string{"keyEncipherment"}, 0},
		{p256(), []string{"EncipherOnly"}, 0},
	} {
		config := profile.DefaultConfig()
		config.KeyAlgorithms = []string{"rsa-2048", "ec-256", "ed25519"}
		config.KeyUsage = c.usages
		request := ask()
		request.PublicKey = c.key.Public()
		made, err := compile(t, config).Template(request, now)
		if c.want == 0 && len(c.usages) > 0 {
			require.Equal(t, "key_usage", fault.FieldOfError(err), "%v with %T", c.usages, c.key)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, made.Certificate.KeyUsage, "%v with %T", c.usages, c.key)
	}
}

func TestCSRUsageThatTheKeyCannotServeIsLeftOut(t *testing.T) {
	request := ask()
	request.CSR.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	for _, name := range []string{"tls-server", "mtls-service", "tls-client"} {
		config := preset(t, name)
		config.SANMin, config.SANRequiredTypes = 0, nil
		made, err := compile(t, config).Template(request, now)
		require.NoError(t, err, name)
		require.Equal(t, x509.KeyUsageDigitalSignature, made.Certificate.KeyUsage, name)
		require.Len(t, made.Warnings, 1, name)
		require.Contains(t, made.Warnings[0], "KeyEncipherment")
	}
	request.CSR.KeyUsage |= x509.KeyUsageContentCommitment // an EC key could serve this one
	_, err := compile(t, preset(t, "tls-server")).Template(request, now)
	require.ErrorContains(t, err, "ContentCommitment")
	require.NotContains(t, err.Error(), "KeyEncipherment")
}

func TestCSRGetsWhatIsOptionalAndNothingElse(t *testing.T) {
	config := preset(t, "tls-server")
	ke := x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	request := ask()
	request.PublicKey, request.CSR.KeyUsage = rsaKey().Public(), ke
	request.CSR.ExtKeyUsage = []string{"1.3.6.1.5.5.7.3.1"}
	request.CSR.Unknown = []string{"2.5.29.14"} // the subject key identifier is the engine's anyway
	made, err := compile(t, config).Template(request, now)
	require.NoError(t, err)
	require.Equal(t, ke, made.Certificate.KeyUsage)
	require.Empty(t, made.Warnings)

	for name, change := range map[string]func(*profile.Ask){
		"unknown usage":        func(a *profile.Ask) { a.CSR.KeyUsage = x509.KeyUsageDataEncipherment },
		"other extended usage": func(a *profile.Ask) { a.CSR.ExtKeyUsage = []string{"1.3.6.1.5.5.7.3.2"} },
		"any extended usage":   func(a *profile.Ask) { a.CSR.ExtKeyUsage = []string{"2.5.29.37.0"} },
		"application policies": func(a *profile.Ask) { a.CSR.Unknown = []string{"1.3.6.1.4.1.311.21.10"} },
		"must staple":          func(a *profile.Ask) { a.CSR.Unknown = []string{"1.3.6.1.5.5.7.1.24"} },
	} {
		t.Run(name, func(t *testing.T) {
			request := request
			change(&request)
			strict, loose := config, config
			loose.CSRExtra = profile.CSRDrop
			_, err := compile(t, strict).Template(request, now)
			require.Equal(t, "csr", fault.FieldOfError(err), "%v", err)
			made, err := compile(t, loose).Template(request, now)
			require.NoError(t, err)
			require.Len(t, made.Warnings, 1)
			c := ecIssuer().sign(t, made)
			require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, c.ExtKeyUsage)
			require.Empty(t, c.UnhandledCriticalExtensions)
			for _, oid := range request.CSR.Unknown {
				require.False(t, oid != "2.5.29.14" && hasExtension(c, oid))
			}
		})
	}
}

func TestCommonNamePolicies(t *testing.T) {
	long := "a23456789-123456789-123456789-123456789-123456789-123456789-123.example.com"
	for _, c := range []struct {
		policy, cn string
		names      cert.Names
		want       string // "-": refused
	}{
		{profile.CNOmit, "web.example.com", names("dns"), ""},
		{profile.CNOmit, "evil.example.net", names("dns"), "-"},
		{profile.CNFirstSAN, "", names("dns"), "web.example.com"},
		{profile.CNFirstSAN, "", names("ip"), "192.0.2.1"},
		{profile.CNFirstSAN, "", names("uri"), "spiffe://example.com/web"},
		{profile.CNFirstSAN, "jane@example.com", names("dns", "email"), "jane@example.com"},
		{profile.CNFirstSAN, "evil.example.net", names("dns"), "-"},
		{profile.CNFirstSAN, "", cert.Names{DNS: []string{long}}, ""},
		{profile.CNMustBeInSAN, "", names("dns"), ""},
		{profile.CNMustBeInSAN, "192.0.2.1", names("dns", "ip"), "192.0.2.1"},
		{profile.CNMustBeInSAN, "Jane Doe", names("dns"), "-"},
		{profile.CNFree, "Jane Doe", names("dns"), "Jane Doe"},
		{profile.CNFree, long, names("dns"), "-"},
		{profile.CNFree, "a\nb", names("dns"), "-"},
	} {
		config := profile.DefaultConfig()
		allTypes(&config)
		config.CNPolicy = c.policy
		request := ask()
		request.Names, request.Subject.CommonName = c.names, c.cn
		made, err := compile(t, config).Template(request, now)
		if c.want == "-" {
			require.Equal(t, "common_name", fault.FieldOfError(err), "%s %q: %v", c.policy, c.cn, err)
			continue
		}
		require.NoError(t, err, "%s %q", c.policy, c.cn)
		require.Equal(t, c.want, made.Certificate.Subject.CommonName)
	}
}

func TestSubjectIsClosed(t *testing.T) {
	config := profile.DefaultConfig()
	config.SubjectAllowed = []string{"organization", "country", "user_id", "serial_number"}
	config.SubjectFixed = map[string]string{"locality": "Berlin"}
	config.SubjectPatterns = map[string]string{"serial_number": "[0-9]{4}|[0-9]{8}"}
	p := compile(t, config)
	full := func() pkix.Name {
		n := pkix.Name{Organization: []string{"A", "B"}, Country: []string{"DE"}, SerialNumber: "1234"}
		profile.AddUserID(&n, "jane")
		return n
	}
	request := ask()
	request.Subject = full()
	made, err := p.Template(request, now)
	require.NoError(t, err)
	c := ecIssuer().sign(t, made)
	require.Equal(t, "SERIALNUMBER=1234,O=A+O=B,L=Berlin,C=DE", c.Subject.ToRDNSequence().String())
	uid := c.Subject.Names[len(c.Subject.Names)-1]
	require.Equal(t, "0.9.2342.19200300.100.1.1", uid.Type.String())
	require.Equal(t, "jane", uid.Value)

	for field, change := range map[string]func(*pkix.Name){
		"common_name":    func(n *pkix.Name) { n.CommonName = "web.example.com" },
		"ou":             func(n *pkix.Name) { n.OrganizationalUnit = []string{"x"} },
		"organization":   func(n *pkix.Name) { n.Organization = []string{" "} },
		"country":        func(n *pkix.Name) { n.Country = []string{"DEU"} },
		"locality":       func(n *pkix.Name) { n.Locality = []string{"Paris"} },
		"province":       func(n *pkix.Name) { n.Province = []string{"x"} },
		"street_address": func(n *pkix.Name) { n.StreetAddress = []string{"x"} },
		"postal_code":    func(n *pkix.Name) { n.PostalCode = []string{"x"} },
		"serial_number":  func(n *pkix.Name) { n.SerialNumber = "12345" },
		"": func(n *pkix.Name) {
			n.ExtraNames = append(n.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 12}, Value: "Dr"})
		},
	} {
		request.Subject = full()
		change(&request.Subject)
		_, err := p.Template(request, now)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", field, err)
		require.Equal(t, field, fault.FieldOfError(err), "%v", err)
	}
}

func TestNames1_ProfileGatesEveryTypeOfName(t *testing.T) {
	for _, c := range []struct {
		allowed []string
		names   cert.Names
		field   string
	}{
		{nil, names("dns"), "alt_names"},
		{[]string{"dns"}, names("dns", "ip"), "ip_sans"},
		{[]string{"dns"}, names("dns", "uri"), "uri_sans"},
		{[]string{"dns"}, names("dns", "email"), "alt_names"},
		{[]string{"dns"}, names("dns", "other"), "other_sans"},
	} {
		config := profile.DefaultConfig()
		config.SANTypes, config.CNPolicy = c.allowed, profile.CNFree
		request := ask()
		request.Names = c.names
		_, err := compile(t, config).Template(request, now)
		require.Equal(t, c.field, fault.FieldOfError(err), "%v", err)
		require.ErrorContains(t, err, "san_types")
	}
}

func TestNames3_ProfileHoldsWildcardsToOneWholeLabel(t *testing.T) {
	config := profile.DefaultConfig()
	config.AllowWildcards = true
	p := compile(t, config)
	request := ask()
	for _, name := range []string{"*.*.e.com", "f*.e.com", "*", "*.com", "a.*.com", "*a.e.com"} {
		request.Names = cert.Names{DNS: []string{name}}
		_, err := p.Template(request, now)
		require.Equal(t, "alt_names", fault.FieldOfError(err), name)
	}
	request.Names = names("wildcard")
	_, err := p.Template(request, now)
	require.NoError(t, err)
}

func TestNobodyIsNotCertified(t *testing.T) {
	request := ask()
	request.Names = cert.Names{}
	_, err := compile(t, profile.DefaultConfig()).Template(request, now)
	require.Equal(t, "common_name", fault.FieldOfError(err))

	request.Names = names("dns")
	made, err := compile(t, profile.DefaultConfig()).Template(request, now)
	require.NoError(t, err)
	require.True(t, extension(ecIssuer().sign(t, made), "2.5.29.17").Critical, "RFC 5280 section 4.2.1.6: empty subject")
}

func TestKey1_IssuersKeyIsRefused(t *testing.T) {
	request := ask()
	request.PublicKey = ecIssuer().key.Public()
	_, err := compile(t, profile.DefaultConfig()).Template(request, now)
	require.Equal(t, "csr", fault.FieldOfError(err))
}

func TestEngineKey(t *testing.T) {
	config := profile.DefaultConfig()
	config.KeyAlgorithms = []string{"ec-384", "rsa-3072"}
	p := compile(t, config)
	for _, c := range []struct {
		keyType string
		bits    int
		want    string
	}{
		{"", 0, "ec-384"},
		{"rsa", 0, "rsa-3072"},
		{"rsa", 4096, "rsa-4096"},
		{"", 384, "ec-384"},
		{"rsa", 2048, ""},
		{"ec", 256, ""},
		{"ed25519", 0, ""},
		{"dsa", 0, ""},
	} {
		spec, err := p.EngineKey(c.keyType, c.bits)
		if c.want == "" {
			require.True(t, fault.Is(err, fault.Invalid), "%s-%d: %v", c.keyType, c.bits, err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, spec.String())
	}
	config.AllowEngineGenerated = false
	_, err := compile(t, config).EngineKey("", 0)
	require.Equal(t, "csr", fault.FieldOfError(err))
}

func TestRevocationReasons(t *testing.T) {
	p := compile(t, profile.DefaultConfig())
	require.True(t, p.AllowsReason(cert.KeyCompromise))
	require.True(t, p.AllowsReason(cert.Unspecified))
	require.False(t, p.AllowsReason(cert.CertificateHold), "suspension is allowed in words")
	require.False(t, p.AllowsReason(cert.RemoveFromCRL))
	require.False(t, p.AllowsReason(7))
	config := profile.DefaultConfig()
	config.AllowedRevocationReasons = []string{"certificateHold"}
	p = compile(t, config)
	require.True(t, p.AllowsReason(cert.CertificateHold))
	require.False(t, p.AllowsReason(cert.Superseded))
}

func TestPast1_NoProfileForbidsToReportACompromise(t *testing.T) {
	for _, listed := range []string{"superseded", "certificateHold", "unspecified"} {
		config := profile.DefaultConfig()
		config.AllowedRevocationReasons = []string{listed}
		p := compile(t, config)
		for _, reason := range []cert.Reason{cert.KeyCompromise, cert.CACompromise, cert.PrivilegeWithdrawn} {
			require.True(t, p.AllowsReason(reason), "%s with %s", reason, listed)
		}
		require.False(t, p.AllowsReason(cert.AACompromise))
		require.False(t, p.AllowsReason(cert.RemoveFromCRL))
		require.Equal(t, []string{listed}, p.Config().AllowedRevocationReasons, "read back as it was written")
	}
}

func TestPoliciesReadBackWhatTheyWrite(t *testing.T) {
	for _, entries := range [][]string{
		{"1.2.3"},
		{"1.2.3=https://e.com/cps", "2.5.29.32.0"},
		{`{"oid":"1.2.3","cps":"https://e.com","notice":"a, b"}`, "1.2.4"},
		{`[{"oid":"1.2.3"`, `"notice":"a"}`, `{"oid":"1.2.4"}]`},
	} {
		policies, err := profile.ParsePolicies("policy_identifiers", entries)
		require.NoError(t, err)
		require.NotEmpty(t, policies)
		var written []string
		for _, policy := range policies {
			written = append(written, policy.String())
		}
		again, err := profile.ParsePolicies("policy_identifiers", written)
		require.NoError(t, err)
		require.Equal(t, policies, again)
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("web.example.com", "web.example.com", "jane@example.com", "spiffe://example.com/a", "Example", int64(3600), int64(0))
	f.Add("Jane Doe", "*.example.com", "", "", "", int64(-1), int64(1<<40))
	f.Add("", "a..b", "@", "urn:x:y", "\x00", int64(1<<62), int64(-62135596800))
	config := profile.DefaultConfig()
	allTypes(&config)
	config.SubjectAllowed, config.CNPolicy, config.AllowWildcards = profile.SubjectAttributes(), profile.CNFree, true
	config.MaxTTL = 90 * 86400
	p := must(profile.New("fuzz", 1, config))
	f.Fuzz(func(t *testing.T, cn, dns, email, uri, org string, ttl, end int64) {
		request := ask()
		request.Subject = pkix.Name{CommonName: cn}
		if org != "" {
			request.Subject.Organization = []string{org}
		}
		request.Names = cert.Names{DNS: []string{dns}, IP: []net.IP{net.IPv4(192, 0, 2, 1)}}
		if email != "" {
			request.Names.Email = []string{email}
		}
		if parsed, err := url.Parse(uri); err == nil && uri != "" {
			request.Names.URI = []*url.URL{parsed}
		}
		request.TTL = time.Duration(ttl)
		if end != 0 {
			request.NotAfter = time.Unix(end, 0)
		}
		made, err := p.Template(request, now)
		if err != nil {
			return
		}
		c := made.Certificate
		require.False(t, c.NotAfter.After(now.Add(90*day)))
		require.True(t, c.NotAfter.After(c.NotBefore))
		require.Equal(t, cn, c.Subject.CommonName)
		require.NotNil(t, c.ExtraExtensions)
	})
}
