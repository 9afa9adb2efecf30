package paths_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// The storage operations of whole requests, Vault's adapter included, and of those
// that anyone may send without a token (dos-2).
func TestDos2_BudgetsOfRequests(t *testing.T) {
	m := pathstest.InProcess(t)
	storage := m.Count(t)
	root := withRoot(t, m)
	m.Write(t, "roles/unstored", map[string]any{"allowed_domains": "example.com", "allow_subdomains": true, "key_type": "ec", "no_store": true}).Expect(http.StatusOK)
	csr, _ := newCSR(t, "a.example.com")
	batch := make([]any, 256)
	for at := range batch {
		request, _ := newCSR(t, fmt.Sprintf("h%d.example.com", at))
		batch[at] = map[string]any{"csr": request}
	}
	leaf := parsePEM(t, m.Write(t, "sign/web", map[string]any{"csr": csr}).Expect(http.StatusOK).Text("certificate"))
	serial := cert.SerialOf(leaf.SerialNumber).String()
	request, err := ocsp.CreateRequest(leaf, root, nil)
	require.NoError(t, err)
	query := base64.StdEncoding.EncodeToString(request)
	for name, c := range map[string]struct {
		gets, puts int64
		work       func()
	}{
		"sign":          {0, 1, func() { m.Write(t, "sign/web", map[string]any{"csr": csr}).Expect(http.StatusOK) }},
		"issue":         {0, 1, func() { m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK) }},
		"sign no_store": {0, 0, func() { m.Write(t, "sign/unstored", map[string]any{"csr": csr}).Expect(http.StatusOK) }},
		"batch of 256":  {0, 1, func() { m.Write(t, "sign/web/batch", map[string]any{"requests": batch}).Expect(http.StatusOK) }},
		"ocsp":          {0, 0, func() { m.Read(t, "ocsp/"+query, nil).Expect(http.StatusOK) }},
		"crl":           {0, 0, func() { m.Read(t, "crl", nil).Expect(http.StatusOK) }},
		"ca":            {0, 0, func() { m.Read(t, "ca/pem", nil).Expect(http.StatusOK) }},
		"ca_chain":      {0, 0, func() { m.Read(t, "ca_chain", nil).Expect(http.StatusOK) }},
		"issuer":        {0, 0, func() { m.Read(t, "issuer/root/json", nil).Expect(http.StatusOK) }},
		"manifest":      {0, 0, func() { m.Read(t, "edge/manifest", nil).Expect(http.StatusOK) }},
		"status feed":   {0, 0, func() { m.Read(t, "edge/status/-", nil).Expect(http.StatusOK) }},
		"cert":          {1, 0, func() { m.Read(t, "cert/"+serial, nil).Expect(http.StatusOK) }},
	} {
		c.work() // warm
		storage.Settle(t)
		storage.Reset()
		c.work()
		require.Equal(t, c.gets, storage.Gets.Load(), "%s: gets", name)
		require.Equal(t, c.puts, storage.Puts.Load(), "%s: puts", name)
		require.Zero(t, storage.Lists.Load()+storage.Deletes.Load(), "%s: lists and deletes", name)
	}
}
