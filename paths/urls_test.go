package paths_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// Certificates of two CAs that name the same URL for their CRL: at most one of them has
// its CRL there. The mount says so when the URL is written and when the second CA is made.
func TestAURLThatSeveralCAsShareIsWarnedAbout(t *testing.T) {
	m := pathstest.InProcess(t)
	generate := func(name string) []string {
		return m.Write(t, "root/generate/internal", map[string]any{"common_name": name, "issuer_name": name, "key_type": "ec", "ttl": "24h"}).Expect(http.StatusOK).Warnings
	}
	shared := func(warnings []string) (fields []string) {
		for _, warning := range warnings {
			for _, field := range []string{"issuing_certificates", "crl_distribution_points", "delta_crl_distribution_points", "ocsp_servers"} {
				if len(warning) > len(field) && warning[:len(field)+1] == field+" " {
					require.Contains(t, warning, "{{issuer_id}}")
					fields = append(fields, field)
				}
			}
		}
		return fields
	}
	set := func(urls map[string]any) []string {
		return m.Write(t, "config/urls", urls).Expect(http.StatusOK).Warnings
	}

	generate("one")
	literal := map[string]any{"crl_distribution_points": "http://pki.example.com/one.crl", "ocsp_servers": "http://pki.example.com/ocsp"}
	require.Empty(t, set(literal), "one CA")
	require.Equal(t, []string{"crl_distribution_points"}, shared(generate("two")), "an OCSP responder answers for every CA")
	require.Equal(t, []string{"issuing_certificates", "crl_distribution_points"}, shared(set(map[string]any{"issuing_certificates": "http://pki.example.com/one.cer"})))

	m.Patch(t, "issuer/two", map[string]any{"crl_distribution_points": "http://pki.example.com/two.crl"}).Expect(http.StatusOK)
	require.Equal(t, []string{"issuing_certificates"}, shared(set(literal)), "issuer two has a URL of its own for its CRL")

	require.Empty(t, shared(set(map[string]any{
		"enable_templating": true, "issuing_certificates": "http://pki.example.com/{{issuer_id}}.cer", "crl_distribution_points": "http://pki.example.com/{{issuer_id}}.crl",
	})))
	require.Empty(t, shared(generate("three")))
}
