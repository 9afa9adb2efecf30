package attack_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// grantedNames are one name of each type: as a parameter, as a CSR has it, and where the
// certificate shows it.
var grantedNames = []struct {
	kind  string
	field string
	value string
	add   func(*cert.Names)
	read  func(*testing.T, *x509.Certificate) []string
}{
	{
		"dns", "alt_names", "a.example.com", func(n *cert.Names) { n.DNS = append(n.DNS, "a.example.com") },
		func(_ *testing.T, c *x509.Certificate) []string { return c.DNSNames },
	},
	{
		"email", "alt_names", "jane@example.com", func(n *cert.Names) { n.Email = append(n.Email, "jane@example.com") },
		func(_ *testing.T, c *x509.Certificate) []string { return c.EmailAddresses },
	},
	{
		"ip", "ip_sans", "192.0.2.7", func(n *cert.Names) { n.IP = append(n.IP, net.IPv4(192, 0, 2, 7)) },
		func(_ *testing.T, c *x509.Certificate) []string { return texts(c.IPAddresses) },
	},
	{"uri", "uri_sans", "spiffe://example.com/a", func(n *cert.Names) {
		n.URI = append(n.URI, &url.URL{Scheme: "spiffe", Host: "example.com", Path: "/a"})
	}, func(_ *testing.T, c *x509.Certificate) []string { return texts(c.URIs) }},
	{"upn", "other_sans", "1.3.6.1.4.1.311.20.2.3;UTF8:jane@example.com", func(n *cert.Names) {
		n.Other = append(n.Other, cert.OtherName{OID: "1.3.6.1.4.1.311.20.2.3", Value: "jane@example.com"})
	}, otherNames},
}

func texts[T fmt.Stringer](values []T) []string {
	var list []string
	for _, value := range values {
		list = append(list, value.String())
	}
	return list
}

func otherNames(t *testing.T, c *x509.Certificate) []string {
	t.Helper()
	for _, e := range c.Extensions {
		if e.Id.String() == cert.OIDSubjectAltName {
			names, err := cert.ParseSAN(e.Value)
			require.NoError(t, err)
			return texts(names.Other)
		}
	}
	return nil
}

// TestNames1_WhatIsGrantedIsInTheCertificate asks for each set of types of names, by
// parameters and by a CSR: the certificate has these names, each once, and no others.
func TestNames1_WhatIsGrantedIsInTheCertificate(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	grants := webRole.with(body{
		"require_cn": false, "allow_bare_domains": true, "allowed_uri_sans": "spiffe://example.com/*",
		"allowed_other_sans": "1.3.6.1.4.1.311.20.2.3;UTF8:*@example.com", "allowed_ip_sans_cidr": "192.0.2.0/24",
		"allowed_serial_numbers": "SN-*", "allowed_user_ids": "u-*",
	})
	m.Write(t, "roles/all", grants).Expect(http.StatusOK)
	m.Write(t, "roles/parameters", grants.with(body{"use_csr_sans": false})).Expect(http.StatusOK)
	for set := 1; set < 1<<len(grantedNames); set++ {
		asked, names := body{"serial_number": "SN-7", "user_ids": "u-1,u-2"}, cert.Names{}
		for i, n := range grantedNames {
			if set&(1<<i) == 0 {
				continue
			}
			n.add(&names)
			if before, given := asked[n.field].(string); given {
				asked[n.field] = before + "," + n.value
			} else {
				asked[n.field] = n.value
			}
		}
		san, err := cert.MarshalSAN(names, false)
		require.NoError(t, err)
		withNames := csrOf(t, &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{san}}, newKey(t))
		for how, answer := range map[string]pathstest.Answer{
			"issue":              m.Write(t, "issue/all", asked),
			"sign by parameters": m.Write(t, "sign/parameters", asked.with(body{"csr": csrFor(t)})),
			"sign by CSR":        m.Write(t, "sign/all", body{"csr": withNames, "serial_number": "SN-7", "user_ids": "u-1,u-2"}),
		} {
			leaf := certificate(t, answer.Expect(http.StatusOK).Text("certificate"))
			for i, n := range grantedNames {
				var want []string
				if set&(1<<i) != 0 {
					want = []string{n.value}
				}
				require.Equal(t, want, n.read(t, leaf), "%s: %s in set %b", how, n.kind, set)
			}
			require.Equal(t, "SN-7", leaf.Subject.SerialNumber, how)
			var ids []string
			for _, attribute := range leaf.Subject.Names {
				if attribute.Type.String() == "0.9.2342.19200300.100.1.1" {
					ids = append(ids, fmt.Sprint(attribute.Value))
				}
			}
			require.Equal(t, []string{"u-1", "u-2"}, ids, how)
		}
	}
	for how, cn := range map[string]string{"dns": "a.example.com", "email": "jane@example.com", "ip": "192.0.2.7"} {
		leaf := open(t, m, "all", body{"common_name": cn})
		require.Equal(t, cn, leaf.Subject.CommonName)
		for _, n := range grantedNames {
			if n.kind == how {
				require.Equal(t, []string{cn}, n.read(t, leaf))
			} else {
				require.Empty(t, n.read(t, leaf), n.kind)
			}
		}
	}
}
