package edge_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// From a write to a real mount to what ldapsearch and nginx show, and back to the
// mount's own account of it: every field of a publisher means the same all the way.
func TestPublishersOfAMount(t *testing.T) {
	slapd, encrypted := startSlapd(t)
	nginx := startNginx(t, `if ($http_authorization != "Bearer t0ken") { return 401; }`)
	vault, err := harness.Start(harness.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, vault.Stop()) })
	require.NoError(t, vault.Register(harness.PluginName, "vault-plugin-secrets-enterprise-pki"))
	mount, dir := vault.Mount(t), t.TempDir()
	vault.CLI(t, "write", mount+"/root/generate/internal", "common_name=Servers", "issuer_name=servers", "key_type=ec", "ttl=8760h")
	vault.CLI(t, "write", mount+"/roles/web", "allowed_domains=example.com", "allow_subdomains=true", "key_type=ec", "ttl=1h")
	vault.CLI(t, "write", mount+"/publishers/directory", "type=ldap", "publish=complete,certificate", "url=ldaps://localhost:"+port(t, encrypted),
		"base_dn=cn={{issuer_name}},ou=pki,"+suffix, "ca_certificates=@"+slapd.ca, "credential=directory")
	vault.CLI(t, "write", mount+"/publishers/starttls", "type=ldap", "publish=complete", "url=ldap://localhost:"+port(t, slapd.address), "start_tls=true",
		"base_dn=ou={{issuer_name}},ou=pki,"+suffix, "crl_attribute=authorityRevocationList;binary", "ca_certificates=@"+slapd.ca, "credential=directory")
	vault.CLI(t, "write", mount+"/publishers/web", "type=http-put", "publish=complete,certificate", "issuers=servers",
		"url=https://localhost:"+port(t, nginx.address)+"/pki/{{issuer_name}}/{{list}}", "ca_certificates=@"+nginx.ca, "credential=web")
	edge := startEdge(t, writeFile(t, filepath.Join(dir, "edge.yaml"), fmt.Sprintf(`
name: edge-1
data_dir: %[1]s/data
vault: {address: %[2]s, mount: %[3]s, token_file: %[4]s}
listen: {address: "127.0.0.1:0"}
credentials:
  directory: {username: "%[5]s", password_file: %[6]s, hosts: [localhost]}
  web: {token_file: %[7]s, hosts: [localhost]}
`, dir, vault.Address, mount, writeFile(t, filepath.Join(dir, "token"), vault.Client().Token()),
		admin, writeFile(t, filepath.Join(dir, "password"), adminSecret), writeFile(t, filepath.Join(dir, "bearer"), "t0ken"))))
	defer edge.kill()

	attribute := func(entry, name string) func() []byte {
		return func() []byte { return bytes.Join(slapd.attribute(t, entry+",ou=pki,"+suffix, name), nil) }
	}
	file := func(name string) func() []byte {
		return func() []byte {
			content, _ := os.ReadFile(filepath.Join(nginx.dir, "www", "pki", "servers", name)) // none yet
			return content
		}
	}
	certificates := map[string]func() []byte{"slapd": attribute("cn=servers", "cACertificate;binary"), "nginx": file("certificate")}
	lists := map[string]func() []byte{
		"slapd": attribute("cn=servers", "certificateRevocationList;binary"), "nginx": file("complete"), "StartTLS": attribute("ou=servers", "authorityRevocationList;binary"),
	}
	published := func() []byte { return readRaw(t, vault, mount, "ca") }
	holds(t, certificates, published())

	var issued struct {
		Data struct {
			SerialNumber string `json:"serial_number"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(vault.CLI(t, "write", "-format=json", mount+"/issue/web", "common_name=www.example.com")), &issued))
	vault.CLI(t, "write", mount+"/revoke", "serial_number="+issued.Data.SerialNumber)
	vault.CLI(t, "read", mount+"/crl/rotate")
	list := readRaw(t, vault, mount, "crl")
	parsed, err := x509.ParseRevocationList(list)
	require.NoError(t, err)
	require.Len(t, parsed.RevokedCertificateEntries, 1)
	holds(t, lists, list)

	for name, items := range map[string]int{"directory": 2, "starttls": 1, "web": 2} {
		var status struct {
			Data struct {
				Items []struct {
					Edge, List, Error string
					Number            int64
				}
			}
		}
		told := func() bool {
			require.NoError(t, json.Unmarshal([]byte(vault.CLI(t, "read", "-format=json", mount+"/publishers/"+name+"/status")), &status))
			whole := len(status.Data.Items) == items
			for _, item := range status.Data.Items {
				whole = whole && item.Error == "" && item.Edge == "edge-1" && (item.List != "complete" || item.Number == parsed.Number.Int64())
			}
			return whole
		}
		wait.Until(t, "the mount is told of all items of publisher "+name, told)
	}
}

// readRaw reads a path that answers octets.
func readRaw(t testing.TB, vault *harness.Server, mount, path string) []byte {
	t.Helper()
	response, err := vault.Client().Logical().ReadRawWithContext(t.Context(), mount+"/"+path)
	require.NoError(t, err)
	defer response.Body.Close()
	var content bytes.Buffer
	_, err = content.ReadFrom(response.Body)
	require.NoError(t, err)
	return content.Bytes()
}
