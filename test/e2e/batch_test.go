package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// csrs returns certificate requests for n names below example.com, each with a key
// of its own.
func csrs(t testing.TB, n int) []fields {
	t.Helper()
	requests := make([]fields, n)
	for i := range requests {
		name := fmt.Sprintf("host-%d.example.com", i)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		}, key)
		require.NoError(t, err)
		requests[i] = fields{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))}
	}
	return requests
}

// rows returns the answers of a batch.
func rows(t testing.TB, data fields) []fields {
	t.Helper()
	list, ok := data["responses"].([]any)
	require.True(t, ok)
	answers := make([]fields, len(list))
	for i, row := range list {
		answers[i] = row.(fields)
	}
	return answers
}

func TestBatchOf256IsSignedAndEveryCertificateVerifies(t *testing.T) {
	h := shared(t)
	requests := csrs(t, 256)
	answered := write(t, h.mount+"/sign/web/batch", fields{"requests": requests})
	require.Equal(t, strings.TrimSpace(string(contents(t, h.issuing))), strings.TrimSpace(text(t, answered, "issuing_ca")))
	require.Len(t, texts(t, answered, "ca_chain"), 2)

	dir := t.TempDir()
	args := []string{"verify", "-x509_strict", "-CAfile", h.root, "-untrusted", h.issuing}
	serials := map[string]bool{}
	for i, row := range rows(t, answered) {
		require.NotContains(t, row, "error")
		certificate := text(t, row, "certificate")
		require.Equal(t, []string{fmt.Sprintf("host-%d.example.com", i)}, certificateOf(t, certificate).DNSNames)
		serials[text(t, row, "serial_number")] = true
		require.IsType(t, json.Number(""), row["expiration"])
		path := filepath.Join(dir, fmt.Sprintf("%d.pem", i))
		put(t, path, certificate)
		args = append(args, path)
	}
	require.Len(t, serials, 256)
	require.Equal(t, 256, strings.Count(vault.Tool(t, "openssl", args...)+"\n", ": OK\n"))
	for serial := range serials {
		require.Equal(t, http.StatusOK, get(t, anonymous, h.mount+"/cert/"+serial).Status, serial)
	}
}

func TestBatchRefusesOneByOne(t *testing.T) {
	h := shared(t)
	good := csrs(t, 2)
	outside, broken := fields{"csr": csr(t, "www.example.org")}, fields{"csr": "none"}
	typed := fields{"csr": good[0]["csr"], "key_type": "ec"}
	before := len(h.serials(t))
	answered := rows(t, write(t, h.mount+"/sign/web/batch", fields{"requests": []fields{good[0], outside, broken, typed, good[1]}}))
	for i, want := range []string{"", "www.example.org", "csr", "key_type", ""} {
		if want == "" {
			require.NotContains(t, answered[i], "error")
			continue
		}
		require.NotContains(t, answered[i], "certificate")
		require.Contains(t, text(t, answered[i], "error"), want)
		require.Equal(t, json.Number("400"), answered[i]["error_status"])
	}
	require.Len(t, h.serials(t), before+2)
}

func TestBatchIsForRolesThatAllowIt(t *testing.T) {
	mount := softwareRoot(t, fields{"allow_batch": false})
	row := rows(t, write(t, mount+"/sign/web/batch", fields{"requests": csrs(t, 1)}))[0]
	require.NotContains(t, row, "certificate")
	require.Contains(t, text(t, row, "error"), "allow_batch")
	require.Equal(t, json.Number("403"), row["error_status"])
}

func TestSimulateSignsNothing(t *testing.T) {
	h := shared(t)
	before := h.serials(t)
	simulated := write(t, h.mount+"/roles/web/simulate", fields{"common_name": "simulated.example.com"})
	require.Equal(t, before, h.serials(t))
	der, err := base64.StdEncoding.DecodeString(text(t, simulated, "draft"))
	require.NoError(t, err)
	draft, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.Equal(t, []string{"simulated.example.com"}, draft.DNSNames)
	require.Error(t, draft.CheckSignatureFrom(certificateOf(t, string(contents(t, h.issuing)))), "a draft that verifies is a certificate")
	require.NotContains(t, simulated, "private_key")
	require.Empty(t, simulated["lints"])
	post(t, rootClient, h.mount+"/roles/web/simulate", fields{"common_name": "www.example.org"}).refused(t, http.StatusBadRequest, "www.example.org")
}
