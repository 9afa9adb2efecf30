package attack_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// general returns a subjectAltName of one name with the tag of its type.
func general(t *testing.T, tag int, compound bool, value []byte) pkix.Extension {
	t.Helper()
	der, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: value}})
	require.NoError(t, err)
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der}
}

func TestNames1_NoSourceAndNoTypeGetsPastTheValidator(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		m.Write(t, "roles/net", webRole.with(body{"allowed_ip_sans_cidr": "10.0.0.0/8"})).Expect(http.StatusOK)
		good := body{"common_name": "a.example.com"}
		require.Equal(t, "10.1.2.3", open(t, m, "net", good.with(body{"ip_sans": "10.1.2.3"})).IPAddresses[0].String())

		spiffe, err := url.Parse("spiffe://evil/x")
		require.NoError(t, err)
		for why, template := range map[string]*x509.CertificateRequest{
			"allowed_ip_sans_cidr": {IPAddresses: []net.IP{net.ParseIP("192.0.2.1")}},
			"::ffff":               {ExtraExtensions: []pkix.Extension{general(t, 7, false, append(make([]byte, 15), 1))}},
			"allowed_domains":      {DNSNames: []string{"a.example.org"}},
			"allowed_uri_sans":     {URIs: []*url.URL{spiffe}},
			"evil.example.org":     {EmailAddresses: []string{"root@evil.example.org"}},
			"directoryName":        {ExtraExtensions: []pkix.Extension{general(t, 4, true, []byte{0x30, 0})}},
			"registeredID":         {ExtraExtensions: []pkix.Extension{general(t, 8, false, []byte{0x2a, 3, 4})}},
			"x400Address":          {ExtraExtensions: []pkix.Extension{general(t, 3, true, []byte{0x30, 0})}},
			"otherName":            {ExtraExtensions: []pkix.Extension{general(t, 0, true, []byte{6, 2, 0x2a, 3, 0xa0, 3, 2, 1, 1})}},
		} {
			template.Subject.CommonName = "a.example.com"
			if why == "::ffff" {
				why = "allowed_ip_sans_cidr" // IPv6 is in no IPv4 network
			}
			shut(t, m, "net", body{"csr": csrOf(t, template, newKey(t))}, why)
		}
		for why, ask := range map[string]body{
			"allowed_ip_sans_cidr": {"common_name": "192.0.2.1"},
			"allowed_domains":      {"common_name": "a.example.com", "alt_names": "b.example.com,evil.org"},
			"allowed_uri_sans":     {"common_name": "a.example.com", "uri_sans": "https://evil.org"},
			"allowed_other_sans":   {"common_name": "a.example.com", "other_sans": "1.2.3;UTF8:x"},
			"must not be an IP":    {"common_name": "a.example.com", "alt_names": "192.0.2.1"},
			"allowed_user_ids":     {"common_name": "a.example.com", "user_ids": "root"},
			"allowed_serial":       {"common_name": "a.example.com", "serial_number": "1"},
		} {
			shut(t, m, "net", ask, why)
		}
		shut(t, m, "net", body{"common_name": "a.example.com", "ip_sans": "::ffff:192.0.2.1"}, "allowed_ip_sans_cidr")
		m.Write(t, "roles/noip", webRole.with(body{"allow_ip_sans": false, "cn_validations": "disabled"})).Expect(http.StatusOK)
		shut(t, m, "noip", body{"common_name": "192.0.2.1"}, "allow_ip_sans")
	})
}

// What a CSR puts into its subject beside the common name is never copied.
func TestNames1_SubjectAttributesOfTheCSRAreNotCopied(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	template := &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "a.example.com", Organization: []string{"system:masters"}, ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: "root@example.org"},
			{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, Value: "root"},
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "evil.org"},
		}},
		DNSNames: []string{"a.example.com"},
	}
	// Of two common names the last is the one that readers see: it is the one checked.
	shut(t, m, "web", body{"csr": csrOf(t, template, newKey(t))}, "evil.org")
	template.Subject.ExtraNames = template.Subject.ExtraNames[:2]
	leaf := open(t, m, "web", body{"csr": csrOf(t, template, newKey(t))})
	require.Equal(t, "CN=a.example.com", leaf.Subject.String())
	require.Empty(t, leaf.EmailAddresses)
}

func TestNames2_WhatATemplateYieldsIsData(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		m.Write(t, "roles/own", body{
			"allowed_domains": "{{identity.entity.metadata.app}}.example.com", "allowed_domains_template": true,
			"allow_bare_domains": true, "allow_glob_domains": true, "allow_subdomains": true, "key_type": "ec",
			"allowed_uri_sans": "spiffe://example.com/{{identity.entity.metadata.app}}/*", "allowed_uri_sans_template": true,
		}).Expect(http.StatusOK)
		metadata := map[string]string{}
		m.System.EntityVal = &logical.Entity{ID: "e1", Name: "app", Metadata: metadata}
		who := m.As("e1", "app")
		metadata["app"] = "shop"
		open(t, who, "own", body{"common_name": "shop.example.com", "uri_sans": "spiffe://example.com/shop/1"})
		shut(t, m, "own", body{"common_name": "shop.example.com"}, "allowed_domains") // nobody in particular
		for _, value := range []string{
			"*", "a,root", "..", "shop/../root", "root\nshop", "*.", "", " ", "{{identity.entity.name}}", "a.*", "root/*", "%2e%2e", "\x00",
		} {
			metadata["app"] = value
			shut(t, who, "own", body{"common_name": "root.example.com"}, "allowed_domains")
			shut(t, who, "own", body{"common_name": "x.root.example.com"}, "allowed_domains")
			shut(t, who, "own", body{"common_name": "example.com"}, "allowed_domains")
			open(t, who, "web", body{"common_name": "a.example.com"})
			answer := who.Write(t, "issue/own", body{"common_name": "shop.example.com", "uri_sans": "spiffe://example.com/root/1"})
			require.NotEqual(t, http.StatusOK, answer.Status, "%q", value)
		}
	})
}

func TestNames3_WildcardsOnlyWhereAllowedAndOnlyWhole(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		m.Write(t, "roles/any", body{"allow_any_name": true, "key_type": "ec", "enforce_hostnames": false}).Expect(http.StatusOK)
		m.Write(t, "roles/bare", body{"allowed_domains": "example.com", "allow_bare_domains": true, "key_type": "ec"}).Expect(http.StatusOK)
		m.Write(t, "roles/none", webRole.with(body{"allow_wildcard_certificates": false})).Expect(http.StatusOK)
		require.Equal(t, []string{"*.example.com"}, open(t, m, "web", body{"common_name": "*.example.com"}).DNSNames)
		for _, name := range []string{"*.*.example.com", "f*.example.com", "*f.example.com", "*", "*.com", "a.*.example.com", "*.", "**.example.com", "*.*"} {
			shut(t, m, "any", body{"common_name": name}, "common_name")
			shut(t, m, "any", body{"common_name": "a.example.com", "alt_names": name}, "alt_names")
			shut(t, m, "any", body{"csr": csrFor(t, "a.example.com", name)}, "DNS name")
		}
		shut(t, m, "bare", body{"common_name": "*.example.com"}, "allowed_domains")
		shut(t, m, "none", body{"common_name": "*.example.com"}, "allow_wildcard_certificates")
		shut(t, m, "none", body{"csr": csrFor(t, "a.example.com", "*.example.com")}, "allow_wildcard_certificates")
	})
}

func TestNames4_OneFormBeforeAnyCheck(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		m.Write(t, "roles/denied", body{
			"allow_any_name": true, "key_type": "ec", "denied_domains": "evil.org", "enforce_hostnames": false,
		}).Expect(http.StatusOK)
		require.Equal(t, []string{"a.example.com"}, open(t, m, "web", body{"common_name": "A.EXAMPLE.com."}).DNSNames)
		require.Equal(t, []string{"a.example.com"}, open(t, m, "web", body{"common_name": "a。example。com"}).DNSNames)
		for _, name := range []string{
			"EVIL.ORG", "evil.org.", "Www.Evil.Org", "evil。org", "evil．org", "evil｡org", "ｅvil.org", "evil.or\u200bg", "x@EVIL.org", "*.org", "evil.org..", "evil.org/", "https://EVIL.org",
		} {
			for _, ask := range []body{{"common_name": name}, {"common_name": "a.example.com", "alt_names": name}} {
				answer := m.Write(t, "issue/denied", ask)
				require.Equal(t, http.StatusBadRequest, answer.Status, "%q: %v", name, answer.Data)
			}
		}
		m.Patch(t, "roles/denied", body{"allowed_uri_sans": "*", "allowed_other_sans": "*"}).Expect(http.StatusOK)
		for field, texts := range map[string][]string{
			"uri_sans":   {"https://www.EVIL.org/", "mailto:root@evil.org", "sip:root@Evil.org", "urn:dns:evil.org", "https://evil%2eorg/", "ldap://evil.org./"},
			"other_sans": {"1.3.6.1.4.1.311.20.2.3;UTF8:root@evil.org", "1.3.6.1.5.5.7.8.7;UTF8:_x.evil.org", "1.2.3;UTF8:evil.org."},
		} {
			for _, text := range texts {
				answer := m.Write(t, "issue/denied", body{"common_name": "a.example.com", field: []string{text}})
				require.Equal(t, http.StatusBadRequest, answer.Status, "%s", text)
			}
		}
		label := strings.Repeat("a", 63)
		for _, name := range []string{
			"a..example.com", ".example.com", "a\x00.example.com", "a\x00.example.com.evil.org", label + "b.example.com",
			strings.Repeat(label[:61]+".", 4) + "example.com", "аpple.example.com", "a b.example.com", "a.example.com\n", "-a.example.com",
			"xn--80ak6aa92e.xn--a.example.com", "xn--.example.com", "a.example.com/", "a.example.com:443", "[::1]", "a\u202e.example.com",
			"a.example.com\u0000", "\u00a0", "a_b.example.com",
		} {
			for _, ask := range []body{{"common_name": name}, {"common_name": "a.example.com", "alt_names": name}} {
				answer := m.Write(t, "issue/web", ask)
				if answer.Status == http.StatusOK {
					leaf := certificate(t, answer.Text("certificate"))
					require.Equal(t, []string{"a.example.com"}, leaf.DNSNames, "%q", name)
					require.Equal(t, "CN=a.example.com", leaf.Subject.String(), "%q", name)
					require.NotEqual(t, strings.TrimSpace(name), name, "%q was taken for another name", name)
					continue
				}
				require.Equal(t, http.StatusBadRequest, answer.Status, "%q: %v", name, answer.Errors)
			}
		}
	})
}

// A common name that is no host name still is no way to hide characters in.
func TestNames4_FreeTextHidesNothing(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "roles/free", body{
		"allow_any_name": true, "enforce_hostnames": false, "cn_validations": "disabled", "key_type": "ec",
		"allowed_serial_numbers": "*", "allowed_user_ids": "*",
	}).Expect(http.StatusOK)
	open(t, m, "free", body{"common_name": "Jane Doe"})
	for _, text := range []string{"a\x00 b", "a\nb", "a\u0085b", "a\u2028b", "admin \u202eegarots", "a\u2066b", "a \u200bb", "a \ufeffb", strings.Repeat("x", 65)} {
		for _, field := range []string{"common_name", "serial_number", "user_ids"} {
			if field == "user_ids" && len(text) > 64 {
				continue // up to 256 characters
			}
			ask := body{"common_name": "Jane Doe"}.with(body{field: text})
			answer := m.Write(t, "issue/free", ask)
			require.Equal(t, http.StatusBadRequest, answer.Status, "%s %q", field, text)
		}
	}
}

func TestNames5_GlobsAndSuffixesBindAtDots(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		m.Write(t, "roles/glob", body{
			"allowed_domains": "example.com*,*.corp,ftp*.example.net", "allow_glob_domains": true, "allow_bare_domains": true, "key_type": "ec",
			"allowed_uri_sans": "https://example.com*,spiffe://example.com/ns/*",
		}).Expect(http.StatusOK)
		open(t, m, "glob", body{"common_name": "ftp1.example.net"})
		for _, name := range []string{
			"example.com.evil.org", "a.b.corp", "corp", "ftp.evil.org.example.net", "xftp.example.net", "example.comm.evil", "example.community.x",
		} {
			shut(t, m, "glob", body{"common_name": name}, "allowed_domains")
		}
		for _, name := range []string{"notexample.com", "example.com", "example.com.evil.org", "a.notexample.com", "a.example.comx"} {
			shut(t, m, "web", body{"common_name": name}, "allowed_domains")
			shut(t, m, "web", body{"common_name": "root@" + name}, "allowed_domains")
			shut(t, m, "web", body{"csr": csrFor(t, name)}, "allowed_domains")
		}
		for _, uri := range []string{
			"https://example.com.evil.org", "https://example.com@evil.org/", "https://evil.org/example.com", "https://example.com:x@evil.org",
			"spiffe://example.com/ns/../root", "spiffe://example.com/ns/%2e%2e/root", "spiffe://example.com/ns%2f..%2froot", "spiffe://example.com/nsx/a",
			"https://example.com\\@evil.org", "HTTPS://EXAMPLE.COM.EVIL.ORG", "https://example.com%2eevil.org", "//example.com", "https:example.com",
			"spiffe://user@example.com/ns/a", "spiffe://example.com/ns/a?x=1", "spiffe://example.com/ns/a#x", "spiffe://example.com.evil/ns/a",
		} {
			shut(t, m, "glob", body{"common_name": "ftp1.example.net", "uri_sans": []string{uri}}, "uri_sans")
		}
	})
}

func TestNames6_WhatIsNotTakenIsStillValidated(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		m.Write(t, "roles/params", webRole.with(body{"use_csr_common_name": false, "use_csr_sans": false})).Expect(http.StatusOK)
		shut(t, m, "web", body{"common_name": "evil.org", "alt_names": "a.example.com", "exclude_cn_from_sans": true}, "allowed_domains")
		shut(t, m, "web", body{"csr": csrFor(t, "evil.org"), "exclude_cn_from_sans": true}, "allowed_domains")
		// The CSR's names are ignored, not copied: the parameters decide.
		leaf := open(t, m, "params", body{"csr": csrFor(t, "evil.org", "evil2.org"), "common_name": "a.example.com"})
		require.Equal(t, []string{"a.example.com"}, leaf.DNSNames)
		require.Equal(t, "a.example.com", leaf.Subject.CommonName)
		shut(t, m, "params", body{"csr": csrFor(t, "a.example.com"), "common_name": "evil.org"}, "allowed_domains")
		shut(t, m, "params", body{"csr": csrFor(t, "a.example.com"), "common_name": "a.example.com", "alt_names": "evil.org"}, "allowed_domains")
		shut(t, m, "params", body{"csr": csrFor(t, "a.example.com")}, "common_name") // the CSR's does not count
		// Names that nobody could certify are refused where they would be taken, and only there.
		bad := csrOf(t, &x509.CertificateRequest{DNSNames: []string{"a..b"}}, newKey(t))
		shut(t, m, "web", body{"csr": bad, "common_name": "a.example.com"}, "empty labels")
		require.Equal(t, []string{"a.example.com"}, open(t, m, "params", body{"csr": bad, "common_name": "a.example.com"}).DNSNames)
	})
}
