package role_test

import (
	"crypto/x509/pkix"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// ipAsks are the ways in which a request names an IP address.
var ipAsks = map[string]func(ip string) role.Ask{
	"parameter":             func(ip string) role.Ask { return role.Ask{IPSANs: []string{ip}} },
	"common name":           func(ip string) role.Ask { return role.Ask{CommonName: ip} },
	"excluded common name":  func(ip string) role.Ask { return role.Ask{CommonName: ip, ExcludeCNFromSANs: true} },
	"CSR":                   func(ip string) role.Ask { return role.Ask{CSR: csr(pkix.Name{}, cert.Names{IP: ips(ip)})} },
	"common name of a CSR":  func(ip string) role.Ask { return role.Ask{CSR: csr(pkix.Name{CommonName: ip}, cert.Names{})} },
	"beside a granted name": func(ip string) role.Ask { return role.Ask{AltNames: []string{"a.example.com"}, IPSANs: []string{ip}} },
}

func TestNames1_ARoleWithAProfileGrantsAddressesOfItsNetworksAlone(t *testing.T) {
	for how, ask := range ipAsks {
		for _, test := range []struct {
			change  func(*role.Config)
			ip      string
			granted bool
		}{
			{func(c *role.Config) {}, "192.0.2.1", false},
			{func(c *role.Config) { c.AllowIPSANs = true }, "192.0.2.1", false},
			{func(c *role.Config) { c.AllowAnyName = true }, "192.0.2.1", false},
			{func(c *role.Config) { c.AllowedIPSANsCIDR = []string{"192.0.2.0/24"} }, "192.0.2.1", true},
			{func(c *role.Config) { c.AllowedIPSANsCIDR = []string{"192.0.2.0/24"} }, "198.51.100.1", false},
			{func(c *role.Config) { c.AllowedIPSANsCIDR = []string{"0.0.0.0/0"} }, "2001:db8::1", false},
			{func(c *role.Config) { c.AllowedIPSANsCIDR = []string{"0.0.0.0/0", "::/0"} }, "2001:db8::1", true},
		} {
			r := bind(t, preset(t, "tls-server"), func(c *role.Config) {
				c.AllowedDomains, c.AllowSubdomains = []string{"example.com"}, true
				test.change(c)
			})
			_, names, err := r.Names(ask(test.ip), role.Identity{})
			if !test.granted {
				require.True(t, fault.Is(err, fault.Invalid), "%s %s: %v", how, test.ip, err)
				require.ErrorContains(t, err, "allowed_ip_sans_cidr", how)
				continue
			}
			require.NoError(t, err, how)
			if how != "excluded common name" {
				require.Equal(t, ips(test.ip), names.IP, how)
			}
		}
	}
}

func TestARoleWithoutAProfileGrantsAddressesAsTheBuiltInEngine(t *testing.T) {
	for how, ask := range ipAsks {
		named := func(c *role.Config) {
			c.AllowedDomains, c.AllowSubdomains, c.RequireCN = []string{"example.com"}, true, false
		}
		_, _, err := compile(t, named).Names(ask("192.0.2.1"), role.Identity{})
		require.NoError(t, err, how)
		_, _, err = compile(t, func(c *role.Config) { named(c); c.AllowIPSANs = false }).Names(ask("192.0.2.1"), role.Identity{})
		require.ErrorContains(t, err, "allow_ip_sans", how)
	}
}
