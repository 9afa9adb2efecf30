package paths_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// An imported root whose key is elsewhere has no CRL here. vault pki health-check
// takes an empty list for a broken one, and the error for what it is.
func TestIssuerWithoutACRLSaysSo(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		elsewhere := pathstest.InProcess(t)
		root := withRoot(t, elsewhere)
		imported := m.Write(t, "issuers/import/cert", map[string]any{"pem_bundle": cert.CertificatePEM(root.Raw)}).Expect(http.StatusOK)
		id := imported.Texts("imported_issuers")[0]
		for _, form := range []string{"", "/der", "/pem"} {
			answer := m.Read(t, "issuer/"+id+"/crl"+form, nil).Expect(http.StatusInternalServerError)
			require.Contains(t, answer.Errors[0], "unable to find CRL for issuer: "+id)
		}
	})
}

func TestListsMayBeCachedForAMinute(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		for _, path := range []string{"crl", "crl/pem", "issuer/root/crl/der", "issuer/root/crl/pem"} {
			require.Equal(t, "public, max-age=60, no-transform", m.Read(t, path, nil).Expect(http.StatusOK).CacheControl, path)
		}
	})
}

func TestMessagesNameAFieldOnce(t *testing.T) {
	m := pathstest.InProcess(t)
	for path, errors := range map[string][]string{
		"cert/xyz": m.Read(t, "cert/xyz", nil).Expect(http.StatusBadRequest).Errors,
		"revoke":   m.Write(t, "revoke", map[string]any{"serial_number": "xyz"}).Expect(http.StatusBadRequest).Errors,
	} {
		require.Equal(t, []string{"serial_number: must be hexadecimal bytes such as 17:5f:0a"}, errors, path)
	}
}
