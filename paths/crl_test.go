package paths_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// listsOf configures the URLs of all kinds of lists, and their making.
func listsOf(t *testing.T, m *pathstest.Mount) {
	t.Helper()
	m.Write(t, "config/cluster", map[string]any{"path": "https://vault.example.com/v1/pki", "aia_path": "http://pki.example.com/v1/pki"}).Expect(http.StatusOK)
	m.Write(t, "config/urls", map[string]any{
		"enable_templating": true, "crl_distribution_points": "{{cluster_aia_path}}/issuer/{{issuer_id}}/crl/shard/{{crl_shard}}/der",
		"delta_crl_distribution_points": "{{cluster_aia_path}}/issuer/{{issuer_id}}/crl/delta/der",
	}).Expect(http.StatusOK)
	m.Write(t, "config/crl", map[string]any{"shards": 4, "enable_delta": true}).Expect(http.StatusOK)
}

// parseCRL reads and verifies a list.
func parseCRL(t *testing.T, der []byte, root *x509.Certificate) *x509.RevocationList {
	t.Helper()
	list, err := x509.ParseRevocationList(der)
	require.NoError(t, err)
	require.NoError(t, list.CheckSignatureFrom(root))
	return list
}

func fromPEM(t *testing.T, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	require.NotNil(t, block, text)
	require.Equal(t, "X509 CRL", block.Type)
	return block.Bytes
}

func hasExtension(c *x509.Certificate, oid string) bool {
	for _, e := range c.Extensions {
		if e.Id.String() == oid {
			return true
		}
	}
	return false
}

// A certificate names a URL, and what is fetched there is the list that covers it.
func TestShardIsAtTheURLThatTheCertificateNames(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		listsOf(t, m)
		for range 6 {
			issued := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
			leaf := parsePEM(t, issued.Text("certificate"))
			require.Len(t, leaf.CRLDistributionPoints, 1)
			require.False(t, hasExtension(leaf, "2.5.29.46"), "a delta is about the complete list, which it does not name")
			index := new(big.Int).Mod(leaf.SerialNumber, big.NewInt(4)).String()
			path, found := strings.CutPrefix(leaf.CRLDistributionPoints[0], "http://pki.example.com/v1/pki/")
			require.True(t, found)
			require.True(t, strings.HasSuffix(path, "/crl/shard/4-"+index+"/der"), path)
			m.Write(t, "revoke", map[string]any{"serial_number": issued.Text("serial_number")}).Expect(http.StatusOK)
			m.Write(t, "crl/rotate", nil).Expect(http.StatusOK)
			raw := m.Read(t, path, nil).Expect(http.StatusOK)
			require.Equal(t, "application/pkix-crl", raw.ContentType)
			list := parseCRL(t, raw.Body, root)
			require.True(t, slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
				return e.SerialNumber.Cmp(leaf.SerialNumber) == 0
			}))
			require.Contains(t, string(list.Raw), leaf.CRLDistributionPoints[0], "the byte-identical URL")
			named := "issuer/root/crl/shard/" + index
			require.Equal(t, raw.Body, m.Read(t, named+"/der", nil).Expect(http.StatusOK).Body)
			require.Equal(t, raw.Body, fromPEM(t, string(m.Read(t, named+"/pem", nil).Expect(http.StatusOK).Body)))
			require.Equal(t, raw.Body, fromPEM(t, m.Read(t, named, nil).Expect(http.StatusOK).Text("crl")))
		}
		for _, absent := range []string{"4", "4-4", "2-0", "-1", "x", "4-1x"} {
			m.Read(t, "issuer/root/crl/shard/"+absent+"/der", nil).Expect(http.StatusNotFound)
		}
	})
}

func TestDeltasAreServedWhereTheyAreEnabled(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		m.Read(t, "crl/delta", nil).Expect(http.StatusNoContent)
		m.Read(t, "issuer/root/crl/delta/der", nil).Expect(http.StatusInternalServerError)
		m.Write(t, "crl/rotate-delta", nil).Expect(http.StatusConflict)
		listsOf(t, m)
		m.Patch(t, "config/urls", map[string]any{"crl_distribution_points": "{{cluster_aia_path}}/issuer/{{issuer_id}}/crl/der"}).Expect(http.StatusOK)
		issued := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
		require.True(t, hasExtension(parsePEM(t, issued.Text("certificate")), "2.5.29.46"), "freshestCRL")
		m.Write(t, "revoke", map[string]any{"serial_number": issued.Text("serial_number")}).Expect(http.StatusOK)
		require.Equal(t, true, m.Write(t, "crl/rotate-delta", nil).Expect(http.StatusOK).Data["success"])
		require.Equal(t, true, m.Read(t, "crl/rotate-delta", nil).Expect(http.StatusOK).Data["success"], "a GET that writes, as crl/rotate")
		raw := m.Read(t, "crl/delta", nil).Expect(http.StatusOK)
		list := parseCRL(t, raw.Body, root)
		require.Len(t, list.RevokedCertificateEntries, 1)
		require.Equal(t, raw.Body, fromPEM(t, string(m.Read(t, "crl/delta/pem", nil).Expect(http.StatusOK).Body)))
		require.Equal(t, raw.Body, m.Read(t, "issuer/root/crl/delta/der", nil).Expect(http.StatusOK).Body)
		require.Equal(t, raw.Body, fromPEM(t, string(m.Read(t, "issuer/root/crl/delta/pem", nil).Expect(http.StatusOK).Body)))
		require.Equal(t, raw.Body, fromPEM(t, m.Read(t, "issuer/root/crl/delta", nil).Expect(http.StatusOK).Text("crl")))
	})
}

func TestSettingsWithoutEffectAreWarnedOf(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	warned := m.Write(t, "config/crl", map[string]any{"shards": 4, "enable_delta": true}).Expect(http.StatusOK).Warnings
	require.Len(t, warned, 2)
	require.Contains(t, warned[0], "{{crl_shard}}")
	require.Contains(t, warned[1], "delta_crl_distribution_points")
	listsOf(t, m)
	require.Empty(t, m.Write(t, "config/crl", map[string]any{"shards": 5}).Expect(http.StatusOK).Warnings)
}

// The CRL of an offline root is brought in, served, and asked for in time.
func TestCRLOfAnOfflineRootIsImported(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		key, err := cert.GenerateKey(cert.P256)
		require.NoError(t, err)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), RawSubject: []byte("\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x0c\x04Root"), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(9, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCRLSign | x509.KeyUsageCertSign, SubjectKeyId: []byte{1, 2, 3, 4},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		require.NoError(t, err)
		root, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		list := func(number int64, from, life time.Duration) string {
			der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
				Number: big.NewInt(number), ThisUpdate: time.Now().Add(from), NextUpdate: time.Now().Add(from + life),
			}, root, key)
			require.NoError(t, err)
			return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
		}
		imported := m.Write(t, "issuers/import/cert", map[string]any{"pem_bundle": cert.CertificatePEM(root.Raw)}).Expect(http.StatusOK)
		id := imported.Texts("imported_issuers")[0]
		overdue := list(3, -3*time.Hour, 5*time.Hour)
		answer := m.Write(t, "issuer/"+id+"/crl/import", map[string]any{"crl": overdue}).Expect(http.StatusOK)
		require.Equal(t, "3", answer.Text("crl_number"))
		require.Equal(t, fromPEM(t, overdue), m.Read(t, "issuer/"+id+"/crl/der", nil).Expect(http.StatusOK).Body)
		read := m.Read(t, "issuer/"+id, nil).Expect(http.StatusOK)
		require.Contains(t, read.Text("crl_alarm"), "CRL 3 ends at "+read.Text("crl_next_update"))

		m.Write(t, "issuer/"+id+"/crl/import", map[string]any{"crl": list(2, -time.Hour, 99*time.Hour)}).Expect(http.StatusConflict)
		m.Write(t, "issuer/"+id+"/crl/import", map[string]any{"crl": list(4, -time.Hour, 99*time.Hour)}).Expect(http.StatusOK)
		require.NotContains(t, m.Read(t, "issuer/"+id, nil).Expect(http.StatusOK).Data, "crl_alarm")
		// A number of 20 octets is shown in decimal; edges go by that of the edition.
		large := new(big.Int).Lsh(big.NewInt(1), 158)
		der, err = x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: large, ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(99 * time.Hour),
		}, root, key)
		require.NoError(t, err)
		answer = m.Write(t, "issuer/"+id+"/crl/import", map[string]any{"crl": string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))}).Expect(http.StatusOK)
		require.Equal(t, large.String(), answer.Text("crl_number"))
		told := manifest(t, m).Issuers[0].Lists[0]
		require.Equal(t, large.String(), told.CRLNumber)
		require.LessOrEqual(t, told.Number, int64(feed.MaxNumber))
		m.Write(t, "issuer/"+id+"/crl/import", map[string]any{"crl": "no list"}).Expect(http.StatusBadRequest)
		withRoot(t, m)
		m.Write(t, "issuer/root/crl/import", map[string]any{"crl": overdue}).Expect(http.StatusConflict)
	})
}

// TestConditionalGet is what a mount answers that is tuned to let the headers through.
func TestConditionalGet(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		get := func(headers map[string][]string) *logical.Response {
			response, err := m.Backend().HandleRequest(context.Background(), &logical.Request{
				Operation: logical.ReadOperation, Path: "issuer/root/crl/der", Storage: m.Storage, MountPoint: "pki/", Headers: headers,
			})
			require.NoError(t, err)
			return response
		}
		status := func(headers map[string][]string) int {
			response := get(headers)
			_, found := response.Data[logical.HTTPRawBody]
			require.True(t, found)
			return number(t, response.Data[logical.HTTPStatusCode])
		}
		whole := get(nil)
		tags := whole.Headers["ETag"]
		require.Len(t, tags, 1)
		require.Regexp(t, `^"[0-9a-f]{32}"$`, tags[0])
		read := m.Read(t, "issuer/root/crl/der", nil).Expect(http.StatusOK)
		list, err := x509.ParseRevocationList(read.Body)
		require.NoError(t, err)
		at := func(d time.Duration) string { return list.ThisUpdate.Add(d).UTC().Format(http.TimeFormat) }
		for _, row := range []struct {
			name   string
			given  map[string][]string
			status int
		}{
			{"nothing", nil, 200},
			{"the same tag", map[string][]string{"If-None-Match": tags}, 304},
			{"as Vault may spell it", map[string][]string{"if-none-match": tags}, 304},
			{"weakly", map[string][]string{"If-None-Match": {"W/" + tags[0]}}, 304},
			{"one of several", map[string][]string{"If-None-Match": {`"x", ` + tags[0]}}, 304},
			{"any", map[string][]string{"If-None-Match": {"*"}}, 304},
			{"another tag", map[string][]string{"If-None-Match": {`"x"`}}, 200},
			{"another tag decides alone", map[string][]string{"If-None-Match": {`"x"`}, "If-Modified-Since": {at(time.Hour)}}, 200},
			{"since then", map[string][]string{"If-Modified-Since": {at(0)}}, 304},
			{"later", map[string][]string{"If-Modified-Since": {at(time.Hour)}}, 304},
			{"earlier", map[string][]string{"If-Modified-Since": {at(-time.Second)}}, 200},
			{"no date", map[string][]string{"If-Modified-Since": {"yesterday"}}, 200},
		} {
			require.Equal(t, row.status, status(row.given), row.name)
		}
	})
}

func number(t *testing.T, value any) int {
	t.Helper()
	switch n := value.(type) {
	case int:
		return n
	case float64:
		return int(n)
	}
	t.Fatalf("%T is no number", value)
	return 0
}
