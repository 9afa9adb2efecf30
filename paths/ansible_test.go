package paths_test

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// The module vault_pki_generate_certificate of Ansible's community.hashi_vault sends each
// of its options, through hvac, whether the playbook names it or not.
func TestAnsibleGeneratesACertificate(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		asks := map[string]any{
			"common_name": "a.example.com", "alt_names": "", "ip_sans": "", "uri_sans": "", "other_sans": "",
			"ttl": nil, "format": "pem", "private_key_format": "der", "exclude_cn_from_sans": false,
		}
		issued := m.Write(t, "issue/web", asks).Expect(http.StatusOK)
		// What the module's documentation says a playbook finds under data.
		for _, name := range []string{"certificate", "issuing_ca", "private_key", "private_key_type", "serial_number"} {
			require.NotEmpty(t, issued.Text(name), name)
		}
		require.NotEmpty(t, issued.Texts("ca_chain"))
		require.Positive(t, issued.Number("expiration"))
		_, err := tls.X509KeyPair([]byte(issued.Text("certificate")), []byte(issued.Text("private_key")))
		require.NoError(t, err)
		leaf := parsePEM(t, issued.Text("certificate"))
		require.Equal(t, []string{"a.example.com"}, leaf.DNSNames)
		require.Equal(t, leaf.NotAfter.Unix(), issued.Number("expiration"))

		asks["alt_names"], asks["ip_sans"], asks["ttl"], asks["private_key_format"] = "b.example.com,c.example.com", "192.0.2.1", "90m", "pkcs8"
		issued = m.Write(t, "issue/web", asks).Expect(http.StatusOK)
		leaf = parsePEM(t, issued.Text("certificate"))
		require.ElementsMatch(t, []string{"a.example.com", "b.example.com", "c.example.com"}, leaf.DNSNames)
		require.Len(t, leaf.IPAddresses, 1)
		require.Contains(t, issued.Text("private_key"), "BEGIN PRIVATE KEY")
	})
}
