package paths_test

import (
	"crypto/x509"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

func TestRolesTellWhatTheyDoNotGrant(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		glob := map[string]any{"allowed_domains": "*.example.com", "allow_subdomains": true, "max_ttl": "10y"}
		written := m.Write(t, "roles/glob", glob).Expect(http.StatusOK)
		require.Len(t, written.Warnings, 1)
		require.Contains(t, written.Warnings[0], "allow_glob_domains")
		require.EqualValues(t, 10*365*24*3600, written.Number("max_ttl"))
		require.Empty(t, m.Patch(t, "roles/glob", map[string]any{"allow_glob_domains": true}).Expect(http.StatusOK).Warnings)

		address := map[string]any{"profile": "tls-server", "allowed_domains": "example.com", "allow_subdomains": true}
		require.Empty(t, m.Write(t, "roles/address", address).Expect(http.StatusOK).Warnings)
		refused := m.Write(t, "issue/address", map[string]any{"alt_names": "a.example.com", "ip_sans": "192.0.2.1"}).Expect(http.StatusBadRequest)
		require.Contains(t, refused.Errors[0], "allowed_ip_sans_cidr")
		warned := m.Patch(t, "roles/address", map[string]any{"allow_ip_sans": true}).Expect(http.StatusOK)
		require.Len(t, warned.Warnings, 1)
		require.Contains(t, warned.Warnings[0], "allowed_ip_sans_cidr")
		m.Patch(t, "roles/address", map[string]any{"allowed_ip_sans_cidr": "192.0.2.0/24"}).Expect(http.StatusOK)
		m.Write(t, "issue/address", map[string]any{"alt_names": "a.example.com", "ip_sans": "192.0.2.1"}).Expect(http.StatusOK)

		require.Contains(t, m.Write(t, "issue/none", nil).Expect(http.StatusBadRequest).Errors[0], "vault list MOUNT/roles")
		require.Contains(t, m.Write(t, "roles/lost", map[string]any{"profile": "none"}).Expect(http.StatusBadRequest).Errors[0], "vault list MOUNT/profiles")
		require.Contains(t, m.Write(t, "issue/web", map[string]any{"cn": "a.example.com"}).Expect(http.StatusBadRequest).Errors[0], "did you mean common_name?")
		require.Contains(t, m.Write(t, "revoke", map[string]any{"serial": "01"}).Expect(http.StatusBadRequest).Errors[0], "did you mean serial_number?")
	})
}

// keyEncipherment is on request: by the role, or by the CSR.
func TestTLSServersEncipherKeysOnRequestOnly(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	require.Contains(t, m.Read(t, "presets/tls-server", nil).Expect(http.StatusOK).Text("description"), "key_usage=DigitalSignature,KeyEncipherment")
	grants := map[string]any{"profile": "tls-server", "allowed_domains": "example.com", "allow_subdomains": true}
	m.Write(t, "roles/signs", grants).Expect(http.StatusOK)
	grants["key_usage"] = "DigitalSignature,KeyEncipherment"
	m.Write(t, "roles/enciphers", grants).Expect(http.StatusOK)
	for role, want := range map[string]x509.KeyUsage{
		"signs": x509.KeyUsageDigitalSignature, "enciphers": x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	} {
		for _, kind := range []string{"rsa", "ec"} {
			issued := m.Write(t, "issue/"+role, map[string]any{"alt_names": "a.example.com", "key_type": kind}).Expect(http.StatusOK)
			if kind == "ec" {
				want = x509.KeyUsageDigitalSignature
			}
			require.Equal(t, want, parsePEM(t, issued.Text("certificate")).KeyUsage, "%s %s", role, kind)
		}
	}
}
