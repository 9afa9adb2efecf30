package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

const bundleName = "bundle.pem"

// bundle renders certificate, issuing CA and key into one file, from which a later run
// of the agent reads them back.
func bundle(role string) harness.Template {
	return harness.Template{
		Contents: `{{ with pkiCert "` + role + `" "common_name=agent.example.com" "ttl=1h" -}}
{{ .Cert }}{{ .CA }}{{ .Key }}{{ end }}`,
		Destination: bundleName,
	}
}

func TestAgentRendersACertificateThatServesTLS(t *testing.T) {
	h := shared(t)
	rendered := contents(t, filepath.Join(vault.Agent(t, bundle(h.mount+"/issue/web")), bundleName))
	pair, err := tls.X509KeyPair(rendered, rendered)
	require.NoError(t, err)
	require.Len(t, pair.Certificate, 2)
	require.Equal(t, certificateOf(t, string(contents(t, h.issuing))).Raw, pair.Certificate[1])

	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(contents(t, h.root)))
	require.True(t, intermediates.AppendCertsFromPEM(rendered))
	_, err = pair.Leaf.Verify(x509.VerifyOptions{DNSName: "agent.example.com", Roots: roots, Intermediates: intermediates})
	require.NoError(t, err)
}

func TestAgentKeepsACertificateThatIsStillValid(t *testing.T) {
	h := shared(t)
	dir := t.TempDir()
	serial := func() string {
		vault.AgentIn(t, dir, bundle(h.mount+"/issue/web"))
		block, _ := pem.Decode(contents(t, filepath.Join(dir, bundleName)))
		require.NotNil(t, block)
		leaf, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		return leaf.SerialNumber.Text(16)
	}
	before := len(h.serials(t))
	first := serial()
	require.Equal(t, first, serial())
	require.Len(t, h.serials(t), before+1)
}

// serials lists the serial numbers of what the mount issued.
func (h hierarchy) serials(t testing.TB) []string {
	t.Helper()
	return texts(t, send(t, rootClient, "LIST", h.mount+"/certs", nil).data(t), "keys")
}

func TestAgentRendersTheAnswerAsAPlainSecret(t *testing.T) {
	h := shared(t)
	dir := vault.Agent(t, harness.Template{
		Contents: `{{ with secret "` + h.mount + `/issue/web" "common_name=plain.example.com" -}}
{{ .Data.certificate }}
{{ range .Data.ca_chain }}{{ . }}
{{ end }}{{ .Data.private_key }}{{ end }}`,
		Destination: bundleName,
	})
	rendered := contents(t, filepath.Join(dir, bundleName))
	pair, err := tls.X509KeyPair(rendered, rendered)
	require.NoError(t, err)
	require.Len(t, pair.Certificate, 3, "leaf, issuing CA, root")
}
