package paths_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

// signedOutside has a CA elsewhere certify the key of a request.
func signedOutside(t *testing.T, text string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	require.NotNil(t, block)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: request.Subject, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(1000 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1, 2, 3},
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "Outside"}, SubjectKeyId: []byte{9}}, request.PublicKey, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestAKeyInATokenIsAdopted(t *testing.T) {
	k := token.New(t, "issuing")
	m := pathstest.OverGRPC(t)
	m.Write(t, "hsm/main", map[string]any{"module": k.Module, "token_label": "issuing", "pin": k.PIN}).Expect(http.StatusOK)
	m.Write(t, "roles/web", map[string]any{"allow_any_name": true, "key_type": "ec"}).Expect(http.StatusOK)

	// One that another tool made.
	out, err := exec.CommandContext(t.Context(), "pkcs11-tool", "--module", k.Module, "--token-label", "issuing", "--login", "--pin", k.PIN,
		"--keypairgen", "--key-type", "EC:prime256v1", "--id", "4242", "--label", "legacy").CombinedOutput()
	require.NoError(t, err, "pkcs11-tool (package opensc): %s", out)
	for _, wrong := range []map[string]any{{}, {"key_id": "4242"}, {"hsm": "main"}, {"hsm": "main", "key_id": "xyz"}} {
		m.Write(t, "keys/import/kms", wrong).Expect(http.StatusBadRequest)
	}
	m.Write(t, "keys/import/kms", map[string]any{"hsm": "main", "key_id": "0001"}).Expect(http.StatusNotFound)
	adopted := m.Write(t, "keys/import/kms", map[string]any{"hsm": "main", "key_id": "42:42", "key_name": "legacy"}).Expect(http.StatusOK)
	require.Equal(t, "42:42", adopted.Text("managed_key_id"))
	require.Equal(t, true, adopted.Data["evidence"].(map[string]any)["generated_elsewhere"])
	require.Equal(t, adopted.Data, m.Read(t, "key/legacy", nil).Data)
	again := m.Write(t, "keys/import/kms", map[string]any{"hsm": "main", "key_label": "legacy"}).Expect(http.StatusOK)
	require.Equal(t, adopted.Text("key_id"), again.Text("key_id"))
	require.NotEmpty(t, again.Warnings)
	m.Write(t, "root/generate/existing", map[string]any{"key_ref": "legacy", "common_name": "Legacy"}).Expect(http.StatusOK)
	m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)

	// One that was deleted here and stayed in the token. Its certificate binds to it,
	// whether it comes before or after.
	for _, early := range []bool{false, true} {
		made := m.Write(t, "keys/generate/kms", map[string]any{"hsm": "main", "key_type": "ec", "key_name": "ca"}).Expect(http.StatusOK)
		pending := m.Write(t, "intermediate/generate/existing", map[string]any{"key_ref": "ca", "common_name": "Issuing"}).Expect(http.StatusOK)
		certificate := map[string]any{"pem_bundle": signedOutside(t, pending.Text("csr"))}
		m.Delete(t, "issuer/"+pending.Text("issuer_id")).OK()
		m.Delete(t, "key/ca").OK()
		if early {
			id := m.Write(t, "issuers/import/cert", certificate).Expect(http.StatusOK).Texts("imported_issuers")[0]
			require.Equal(t, "external", m.Read(t, "issuer/"+id, nil).Text("state"))
		}
		back := m.Write(t, "keys/import/kms", map[string]any{"hsm": "main", "key_id": made.Text("managed_key_id"), "key_name": "ca"}).Expect(http.StatusOK)
		require.Equal(t, made.Text("key_sha256"), back.Text("key_sha256"))
		id := m.Write(t, "issuers/import/cert", certificate).Expect(http.StatusOK).Texts("imported_issuers")[0]
		bound := m.Read(t, "issuer/"+id, nil)
		require.Equal(t, "active", bound.Text("state"))
		require.Equal(t, back.Text("key_id"), bound.Text("key_id"))
		m.Write(t, "issuer/"+id+"/issue/web", map[string]any{"common_name": "a.example.com", "ttl": "1h"}).Expect(http.StatusOK)
		m.Write(t, "key/ca", map[string]any{"key_name": ""}).Expect(http.StatusOK)
	}
}
