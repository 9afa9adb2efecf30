package paths_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
)

// urlsOf returns every URL that an edge is told of an issuer, the lists' included.
func urlsOf(issuer feed.Issuer) []string {
	urls := slices.Concat(issuer.OCSPURLs, issuer.CAIssuersURLs)
	for _, list := range issuer.Lists {
		urls = append(urls, list.URLs...)
	}
	return urls
}

// An edge serves every URL that a live certificate names, also those that the settings
// do not have any more.
func TestEveryURLThatALiveCertificateNamesIsInTheManifest(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		first := map[string]any{
			"crl_distribution_points": "http://e/old.crl", "delta_crl_distribution_points": "http://e/old-delta.crl",
			"ocsp_servers": "http://e,http://e/old/ocsp", "issuing_certificates": "http://e/old.cer",
		}
		m.Write(t, "config/crl", map[string]any{"auto_rebuild": true, "enable_delta": true}).Expect(http.StatusOK)
		m.Write(t, "config/urls", first).Expect(http.StatusOK)
		issued := parsePEM(t, m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK).Text("certificate"))
		m.Write(t, "config/urls", map[string]any{
			"crl_distribution_points": "http://e/new.crl", "delta_crl_distribution_points": "", "ocsp_servers": "http://e/new", "issuing_certificates": "",
		}).Expect(http.StatusOK)
		m.Patch(t, "issuer/root", map[string]any{"issuing_certificates": "http://e/own.cer"}).Expect(http.StatusOK)
		m.Write(t, "issue/web", map[string]any{"common_name": "b.example.com"}).Expect(http.StatusOK)
		m.Patch(t, "issuer/root", map[string]any{"issuing_certificates": "http://e/own2.cer", "issuer_name": "renamed"}).Expect(http.StatusOK)

		check := func() {
			issuer := manifest(t, m).Issuers[0]
			urls := urlsOf(issuer)
			for _, url := range slices.Concat(issued.CRLDistributionPoints, issued.OCSPServer, issued.IssuingCertificateURL, []string{"http://e/old-delta.crl", "http://e/own.cer"}) {
				require.Contains(t, urls, url)
				require.Contains(t, issuer.EarlierURLs, url)
			}
			for _, url := range []string{"http://e/new.crl", "http://e/new", "http://e/own2.cer"} {
				require.Contains(t, urls, url)
				require.NotContains(t, issuer.EarlierURLs, url)
			}
			require.Equal(t, []string{"http://e/new.crl", "http://e/old.crl"}, issuer.Lists[0].URLs, "the present URL comes first")
		}
		m.Read(t, "issuer/renamed/crl/delta", nil).Expect(http.StatusOK)
		check()
		m.Restart(t)
		check()
	})
}

// shape returns the JSON type of every member of a value, by path; elements of a list
// share a path.
func shape(value any, path string, into map[string]string) {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			shape(member, path+"."+name, into)
		}
	case []any:
		into[path] = "list"
		for _, member := range value {
			shape(member, path+"[]", into)
		}
	default:
		into[path] = fmt.Sprintf("%T", value)
	}
}

// Edges of the first release follow this mount: of what they were told, nothing may go or
// change its type.
func TestEdgeAnswersHaveEveryFieldOfTheFirstRelease(t *testing.T) {
	var recorded map[string]any
	require.NoError(t, json.Unmarshal(edgemount.FirstRelease, &recorded))
	before, now := map[string]string{}, map[string]string{}
	shape(recorded, "", before)
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "config/crl", map[string]any{"auto_rebuild": true, "enable_delta": true, "shards": 2}).Expect(http.StatusOK)
	m.Write(t, "config/urls", map[string]any{
		"enable_templating": true, "crl_distribution_points": "http://e/{{crl_shard}}.crl,http://e/a.crl", "delta_crl_distribution_points": "http://e/d.crl", "ocsp_servers": "http://e/ocsp",
	}).Expect(http.StatusOK)
	m.Write(t, "config/edge", map[string]any{"organization": "Example", "documents": []any{"CP|http://e/cp.pdf"}}).Expect(http.StatusOK)
	m.Write(t, "publishers/web", map[string]any{"type": "http-put", "url": "https://h.example.com/{{issuer_id}}-{{list}}"}).Expect(http.StatusOK)
	m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
	m.Read(t, "issuer/root/crl/delta", nil).Expect(http.StatusOK)
	shape(map[string]any{"manifest": m.Read(t, "edge/manifest", nil).Expect(http.StatusOK).Data, "status": m.Read(t, "edge/status/-", nil).Expect(http.StatusOK).Data}, "", now)
	for path, kind := range before {
		require.Equal(t, kind, now[path], path)
	}
}

// A CA certificate that came along with an import, and has to do with no issuer of the
// mount, is not offered by edges, unless somebody says so.
func TestEdgesShowIssuersOfThisMountAndThoseAbove(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	other := pathstest.InProcess(t)
	stranger := withRoot(t, other)
	imported := m.Write(t, "issuers/import/cert", map[string]any{"pem_bundle": cert.CertificatePEM(stranger.Raw)}).Expect(http.StatusOK).Texts("imported_issuers")
	require.Len(t, imported, 1)
	names := func() (ids []string) {
		for _, told := range manifest(t, m).Issuers {
			ids = append(ids, told.ID)
		}
		return ids
	}
	require.NotContains(t, names(), imported[0])
	require.Len(t, names(), 1)
	require.Equal(t, "auto", m.Read(t, "issuer/"+imported[0], nil).Expect(http.StatusOK).Text("publish"))
	m.Patch(t, "issuer/"+imported[0], map[string]any{"publish": "always"}).Expect(http.StatusOK)
	require.Contains(t, names(), imported[0])
	m.Patch(t, "issuer/root", map[string]any{"publish": "never"}).Expect(http.StatusOK)
	require.Equal(t, imported, names())
	m.Patch(t, "issuer/root", map[string]any{"publish": "sometimes"}).Expect(http.StatusBadRequest)
}
