package paths_test

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

func TestRevocationReachesEveryAnswer(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		issued := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
		serial, leaf := issued.Text("serial_number"), parsePEM(t, issued.Text("certificate"))
		require.Equal(t, ocsp.Good, ask(t, m, leaf, root).Status)

		before := m.Read(t, "cert/"+strings.ReplaceAll(strings.ToUpper(serial), ":", "-"), nil).Expect(http.StatusOK)
		require.EqualValues(t, 0, before.Number("revocation_time"))
		require.Equal(t, issued.Text("certificate"), before.Text("certificate"))

		revoked := m.Write(t, "revoke", map[string]any{"serial_number": serial, "reason": "keyCompromise"}).Expect(http.StatusOK)
		require.Equal(t, "revoked", revoked.Text("state"))
		again := m.Write(t, "revoke", map[string]any{"serial_number": serial}).Expect(http.StatusOK)
		require.Equal(t, revoked.Number("revocation_time"), again.Number("revocation_time"))

		require.Equal(t, ocsp.Revoked, ask(t, m, leaf, root).Status)
		after := m.Read(t, "cert/"+serial, nil).Expect(http.StatusOK)
		require.Equal(t, revoked.Number("revocation_time"), after.Number("revocation_time"))
		require.Equal(t, []string{serial}, m.List(t, "certs/revoked/", nil).Texts("keys"))
		require.Contains(t, m.List(t, "certs/", nil).Texts("keys"), serial)

		require.Equal(t, true, m.Read(t, "crl/rotate", nil).Expect(http.StatusOK).Data["success"])
		list, err := x509.ParseRevocationList(m.Read(t, "crl", nil).Expect(http.StatusOK).Body)
		require.NoError(t, err)
		require.NoError(t, list.CheckSignatureFrom(root))
		require.Len(t, list.RevokedCertificateEntries, 1)
		require.Equal(t, leaf.SerialNumber, list.RevokedCertificateEntries[0].SerialNumber)
		require.Contains(t, m.Read(t, "issuer/root/crl", nil).Expect(http.StatusOK).Text("crl"), "BEGIN X509 CRL")
		require.Contains(t, string(m.Read(t, "crl/pem", nil).Expect(http.StatusOK).Body), "BEGIN X509 CRL")
		m.Write(t, "revoke", map[string]any{"serial_number": "01:02:03"}).Expect(http.StatusNotFound)
	})
}

func ask(t *testing.T, m *pathstest.Mount, leaf, issuer *x509.Certificate) *ocsp.Response {
	t.Helper()
	request, err := ocsp.CreateRequest(leaf, issuer, &ocsp.RequestOptions{Hash: crypto.SHA256})
	require.NoError(t, err)
	answer := m.Read(t, "ocsp/"+base64.StdEncoding.EncodeToString(request), nil).Expect(http.StatusOK)
	require.Equal(t, "application/ocsp-response", answer.ContentType)
	response, err := ocsp.ParseResponseForCert(answer.Body, leaf, issuer)
	require.NoError(t, err)
	return response
}

func TestRev1_RevokingNeedsTheRightCertificateOrKey(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		one := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
		two := m.Write(t, "issue/web", map[string]any{"common_name": "b.example.com"}).Expect(http.StatusOK)
		other := m.Write(t, "revoke-with-key", map[string]any{
			"serial_number": one.Text("serial_number"), "private_key": two.Text("private_key"),
		})
		require.Contains(t, []int{http.StatusBadRequest, http.StatusForbidden}, other.Status, other.Errors)
		m.Write(t, "revoke-with-key", map[string]any{
			"certificate": one.Text("certificate"), "private_key": one.Text("private_key"),
		}).Expect(http.StatusOK)
		m.Write(t, "revoke", map[string]any{"certificate": two.Text("certificate"), "reason": "superseded"}).Expect(http.StatusOK)
		for _, body := range []map[string]any{
			{},
			{"serial_number": one.Text("serial_number"), "certificate": one.Text("certificate")},
			{"serial_number": "xyz"},
			{"serial_number": one.Text("serial_number"), "reason": "boredom"},
			{"serial_number": one.Text("serial_number"), "invalidity_date": "yesterday"},
		} {
			m.Write(t, "revoke", body).Expect(http.StatusBadRequest)
		}
	})
}

func TestRev4_EndingALeaseRevokesTheCertificate(t *testing.T) {
	for _, form := range []string{"pem", "der"} {
		m := pathstest.InProcess(t)
		withRoot(t, m)
		m.Patch(t, "roles/web", map[string]any{"generate_lease": true}).Expect(http.StatusOK)
		issued := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com", "format": form}).Expect(http.StatusOK)
		lease := issued.Response.Secret
		require.NotNil(t, lease)
		require.False(t, lease.Renewable)
		for range 2 {
			_, err := m.Backend().HandleRequest(t.Context(), &logical.Request{Operation: logical.RevokeOperation, Secret: lease})
			require.NoError(t, err)
		}
		require.Positive(t, m.Read(t, "cert/"+issued.Text("serial_number"), nil).Expect(http.StatusOK).Number("revocation_time"))
		unknown := *lease
		unknown.InternalData = map[string]any{"secret_type": "pki", "serial_number": "01:02:03"}
		_, err := m.Backend().HandleRequest(t.Context(), &logical.Request{Operation: logical.RevokeOperation, Secret: &unknown})
		require.NoError(t, err)
	}
}

func TestRev4_NoProfileKeepsTheEndOfALeaseFromRevoking(t *testing.T) {
	for allowed, want := range map[string]string{
		"unspecified,superseded":          "unspecified",
		"cessationOfOperation,superseded": "cessationOfOperation",
		"keyCompromise,superseded":        "privilegeWithdrawn",
		"certificateHold":                 "privilegeWithdrawn",
	} {
		m := pathstest.InProcess(t)
		withRoot(t, m)
		m.Write(t, "profiles/leased", map[string]any{"preset": "tls-server", "allowed_revocation_reasons": allowed}).Expect(http.StatusOK)
		m.Write(t, "roles/leased", map[string]any{
			"profile": "leased", "allowed_domains": "example.com", "allow_subdomains": true, "generate_lease": true,
		}).Expect(http.StatusOK)
		issued := m.Write(t, "issue/leased", map[string]any{"alt_names": "a.example.com"}).Expect(http.StatusOK)
		for range 2 {
			_, err := m.Backend().HandleRequest(t.Context(), &logical.Request{Operation: logical.RevokeOperation, Secret: issued.Response.Secret})
			require.NoError(t, err)
		}
		revoked := m.Read(t, "cert/"+issued.Text("serial_number"), nil).Expect(http.StatusOK)
		require.Positive(t, revoked.Number("revocation_time"), allowed)
		require.Equal(t, want, revoked.Text("revocation_reason"), allowed)
	}
}

func TestARevokedIssuerIssuesNoMore(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		revoked := m.Write(t, "issuer/root/revoke", nil).Expect(http.StatusOK)
		require.Equal(t, "revoked", revoked.Text("state"))
		require.Positive(t, revoked.Number("revocation_time"))
		require.NotEqual(t, http.StatusOK, m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Status)
		require.NotEqual(t, http.StatusOK, m.Write(t, "issuer/root/issue/web", map[string]any{"common_name": "a.example.com"}).Status)
		m.Patch(t, "issuer/root", map[string]any{"usage": "issuing-certificates"}).Expect(http.StatusBadRequest)
	})
}
