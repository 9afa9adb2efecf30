package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// hierarchy is a two-tier hierarchy: a root that pki-ceremony made in one token, and
// an issuing CA whose key the engine made in another.
type hierarchy struct {
	mount   string // where the issuing CA is
	dir     string // folder of the ceremony
	root    string // file: the root's certificate, PEM
	rootCRL string // file: the root's first CRL, DER
	issuing string // file: the issuing CA's certificate, PEM
}

// twoTier is the hierarchy that the tests of this package share. Nothing of it may
// be changed by a test but what its own certificates need; the role "web" gives names
// below example.com, for EC keys.
var twoTier struct {
	once  sync.Once
	built hierarchy
}

func shared(t testing.TB) hierarchy {
	t.Helper()
	twoTier.once.Do(func() { twoTier.built = build(t, "two-tier") })
	require.NotEmpty(t, twoTier.built.issuing, "the hierarchy could not be built, see the first failure")
	vault.ShowLog(t)
	return twoTier.built
}

// build goes the way from an empty token to a role.
func build(t testing.TB, mount string) hierarchy {
	t.Helper()
	dir, err := os.MkdirTemp(vault.Dir, "ceremony-") //nolint:usetesting // it outlives the test that asks first
	require.NoError(t, err)
	h := hierarchy{mount: mount, dir: dir}
	h.root, h.rootCRL = h.path("root.pem"), h.path("root.crl")
	h.makeRoot(t)
	vault.CLI(t, "secrets", "enable", "-path="+mount, "-max-lease-ttl=43800h", harness.PluginName)
	h.configure(t)
	h.makeIssuing(t)
	h.issuing = h.path("issuing.pem") // last: a hierarchy without it failed
	return h
}

func (h hierarchy) makeRoot(t testing.TB) {
	t.Helper()
	put(t, h.path("pin"), harness.UserPIN)
	h.order(t, "root.yaml", `
key: {algorithm: ec-384, label: example-root}
subject: {common_name: Example Root CA, organization: Example}
validity: 20y
profile: {max_path_length: 1}
crl: {number: 1, next_update: 365d}
outputs: {certificate: root.pem, crl: root.crl, record: root.record}
`)
	vault.Ceremony(t, h.dir, "root", "create", "root.yaml", "--pin-file", "pin")
}

// configure says where the mount is reached, a role and its profile.
func (h hierarchy) configure(t testing.TB) {
	t.Helper()
	here := vault.Address + "/v1/" + h.mount
	write(t, h.mount+"/config/cluster", fields{"path": here, "aia_path": here})
	write(t, h.mount+"/config/urls", fields{
		"enable_templating":       true,
		"issuing_certificates":    "{{cluster_aia_path}}/issuer/{{issuer_id}}/der",
		"crl_distribution_points": "{{cluster_aia_path}}/issuer/{{issuer_id}}/crl/der",
		"ocsp_servers":            "{{cluster_path}}/ocsp",
	})
	vault.CLI(t, "write", h.mount+"/profiles/web", "preset=tls-server")
	vault.CLI(t, "write", h.mount+"/profiles/our-issuing-ca", "preset=issuing-ca")
	vault.CLI(t, "write", h.mount+"/roles/web", "profile=web", "allowed_domains=example.com", "allow_subdomains=true", "key_type=ec")
	vault.CLI(t, "write", h.mount+"/hsm/main", "module="+vault.Module(), "token_label="+issuingToken, "pin=@"+h.path("pin"))
}

// makeIssuing has the request signed by the root and brings the certificate back.
func (h hierarchy) makeIssuing(t testing.TB) {
	t.Helper()
	request := write(t, h.mount+"/issuers/generate/intermediate/kms", fields{
		"hsm": "main", "key_type": "ec", "key_bits": 384, "common_name": "Example Issuing CA 1", "organization": "Example",
		"profile": "our-issuing-ca", "issuer_name": "issuing-1", "key_name": "issuing-1",
	})
	require.Equal(t, "pending", request["state"])
	put(t, h.path("issuing.csr"), text(t, request, "csr"))
	h.order(t, "issuing.yaml", fmt.Sprintf(`
key: {label: example-root}
issuer: root.pem
request_key_sha256: %q
validity: 1826d
profile: {max_path_length: 0, ext_key_usage: [ServerAuth, ClientAuth]}
urls: {ca_issuers: ["http://pki.example.com/root.cer"], crl: ["http://pki.example.com/root.crl"]}
outputs: {certificate: issuing.pem, record: root.record}
`, text(t, request, "key_sha256")))
	vault.Ceremony(t, h.dir, "ica", "sign", "issuing.yaml", "--request", "issuing.csr", "--pin-file", "pin")
	chain := string(contents(t, h.path("issuing.pem"))) + string(contents(t, h.root))
	signed := write(t, h.mount+"/intermediate/set-signed", fields{"certificate": chain})
	require.Contains(t, texts(t, signed, "imported_issuers"), text(t, request, "issuer_id"))
	require.Equal(t, text(t, request, "issuer_id"), read(t, h.mount+"/config/issuers")["default"], "the one issuer that can sign")
}

// path returns the path of a file of the ceremony.
func (h hierarchy) path(name string) string { return filepath.Join(h.dir, name) }

// order writes an order for the root's token.
func (h hierarchy) order(t testing.TB, name, content string) {
	t.Helper()
	put(t, h.path(name), fmt.Sprintf("token: {module: %q, label: %s}\n%s", vault.Module(), rootToken, strings.TrimSpace(content)+"\n"))
}

// issue issues a certificate for a name below example.com and returns the answer.
func (h hierarchy) issue(t testing.TB, name string) fields {
	t.Helper()
	return write(t, h.mount+"/issue/web", fields{"common_name": name + ".example.com"})
}
