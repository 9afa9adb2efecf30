package paths_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// decode reads an answer as an edge does.
func decodeAnswer[T any](t *testing.T, answer pathstest.Answer) T {
	t.Helper()
	raw, err := json.Marshal(answer.Data)
	require.NoError(t, err)
	var into T
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&into))
	return into
}

func manifest(t *testing.T, m *pathstest.Mount) feed.Manifest {
	t.Helper()
	return decodeAnswer[feed.Manifest](t, m.Read(t, "edge/manifest", nil).Expect(http.StatusOK))
}

// follow reads the feed from a cursor to its end.
func follow(t *testing.T, m *pathstest.Mount, issuer string, from feed.Status) (rows []feed.Row, last feed.Status) {
	t.Helper()
	last = from
	for {
		last = decodeAnswer[feed.Status](t, m.Read(t, "edge/status/"+issuer, map[string]any{"since": last.Sequence, "epoch": last.Epoch}).Expect(http.StatusOK))
		page, err := feed.ReadText(last.Rows)
		require.NoError(t, err)
		require.Len(t, page, last.Count)
		if last.Reset {
			rows = nil
		}
		if rows = append(rows, page...); !last.More {
			return rows, last
		}
	}
}

func TestEdgeFollowsTheMount(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		issued := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
		serial, err := cert.ParseSerial(issued.Text("serial_number"))
		require.NoError(t, err)

		told := manifest(t, m)
		require.NotEmpty(t, told.Epoch)
		require.NotZero(t, told.Sequence)
		require.Len(t, told.Issuers, 1)
		issuer := told.Issuers[0]
		require.Equal(t, "root", issuer.Name)
		require.Equal(t, root.Raw, parsePEM(t, issuer.Certificate).Raw)
		require.Empty(t, issuer.Chain)
		require.True(t, issuer.CRLSigning && issuer.OCSP && !issuer.Imported)
		require.Equal(t, feed.OCSP{Expiry: 12 * 3600, Backdate: 60, NeverIssued: "unknown", Nonce: true, SHA1: true}, told.OCSP)
		require.Empty(t, told.Publishers)
		require.Equal(t, int64(24*3600), told.StalenessLimit)

		rows, cursor := follow(t, m, "-", feed.Status{})
		require.Equal(t, told.Sequence, cursor.Sequence)
		require.Contains(t, rows, feed.Row{
			Serial: serial, Issuer: issuer.ID, State: feed.Good, NotAfter: parsePEM(t, issued.Text("certificate")).NotAfter,
			Sequence: rowOf(t, rows, serial).Sequence,
		})
		m.Write(t, "revoke", map[string]any{"serial_number": issued.Text("serial_number")}).Expect(http.StatusOK)
		rows, next := follow(t, m, "-", cursor)
		require.Len(t, rows, 1)
		require.False(t, next.Reset)
		require.Equal(t, feed.Revoked, rows[0].State)
		require.Equal(t, serial, rows[0].Serial)
		same, _ := follow(t, m, "root", cursor)
		require.Equal(t, rows, same)

		m.Restart(t)
		wait.Until(t, "the ledger is loaded", func() bool { return manifest(t, m).Sequence != 0 })
		_, after := follow(t, m, "-", next)
		require.False(t, after.Reset, "a cursor outlives a restart")
		require.NotEqual(t, next.Epoch, after.Epoch)
		_, lost := follow(t, m, "-", feed.Status{Epoch: "00", Sequence: 9})
		require.False(t, lost.More)
		m.Read(t, "edge/status/nobody", nil).Expect(http.StatusNotFound)
		m.Read(t, "edge/status/-", map[string]any{"limit": 8193}).Expect(http.StatusBadRequest)
		m.Read(t, "edge/status/-", map[string]any{"since": -1}).Expect(http.StatusBadRequest)
	})
}

func rowOf(t *testing.T, rows []feed.Row, serial cert.Serial) feed.Row {
	t.Helper()
	for _, row := range rows {
		if row.Serial == serial {
			return row
		}
	}
	t.Fatalf("no row of %s", serial)
	return feed.Row{}
}

func TestEdgeFetchesListsInPieces(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		m.Write(t, "crl/rotate", nil).Expect(http.StatusOK)
		lists := manifest(t, m).Issuers[0].Lists
		require.NotEmpty(t, lists)
		for _, list := range lists {
			path := "edge/crl/root/" + list.Kind + "/" + json.Number(jsonText(t, list.Number)).String()
			piece := decodeAnswer[feed.Chunk](t, m.Read(t, path+"/0", nil).Expect(http.StatusOK))
			require.True(t, piece.Last)
			der, err := base64.StdEncoding.DecodeString(piece.Data)
			require.NoError(t, err)
			sum := sha256.Sum256(der)
			require.Equal(t, list.SHA256, hex.EncodeToString(sum[:]))
			require.Equal(t, list.Size, int64(len(der)))
			parsed, err := x509.ParseRevocationList(der)
			require.NoError(t, err)
			require.NoError(t, parsed.CheckSignatureFrom(root))
			require.Equal(t, list.NextUpdate, parsed.NextUpdate.UTC().Format(time.RFC3339))
			m.Read(t, path+"/1", nil).Expect(http.StatusNotFound)
			m.Read(t, path+"0/0", nil).Expect(http.StatusNotFound)
		}
		m.Read(t, "edge/crl/root/9-9/1/0", nil).Expect(http.StatusBadRequest)
		m.Read(t, "edge/crl/root/complete/x/0", nil).Expect(http.StatusBadRequest)
	})
}

func jsonText(t *testing.T, n int64) string {
	t.Helper()
	raw, err := json.Marshal(n)
	require.NoError(t, err)
	return string(raw)
}

func TestEdgeHasItsOwnKeyCertified(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		m.Write(t, "config/ocsp", map[string]any{"responder_validity": "48h"}).Expect(http.StatusOK)
		csr, pub := newCSR(t, "evil.example.com")
		answer := decodeAnswer[feed.OCSPSigner](t, m.Write(t, "edge/ocsp-signer/root", map[string]any{"csr": csr}).Expect(http.StatusOK))
		signed := parsePEM(t, answer.Certificate)
		require.NoError(t, signed.CheckSignatureFrom(root))
		require.True(t, cert.Equal(pub, signed.PublicKey))
		require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}, signed.ExtKeyUsage)
		require.Empty(t, signed.DNSNames, "of the request only the key counts")
		require.NotContains(t, signed.Subject.String(), "evil")
		require.WithinDuration(t, time.Now().Add(48*time.Hour), signed.NotAfter, 5*time.Minute)
		require.Equal(t, answer.NotAfter, signed.NotAfter.UTC().Format(time.RFC3339))
		require.Equal(t, manifest(t, m).Issuers[0].ID, answer.IssuerID)
		rows, _ := follow(t, m, "-", feed.Status{})
		serial, err := cert.ParseSerial(answer.SerialNumber)
		require.NoError(t, err)
		require.Equal(t, feed.Good, rowOf(t, rows, serial).State, "it is on record")

		m.Write(t, "edge/ocsp-signer/nobody", map[string]any{"csr": csr}).Expect(http.StatusNotFound)
		m.Write(t, "edge/ocsp-signer/root", map[string]any{"csr": "x"}).Expect(http.StatusBadRequest)
		m.Write(t, "edge/ocsp-signer/root", map[string]any{"csr": strings.Repeat("x", 65537)}).Expect(http.StatusBadRequest)
		block, _ := pem.Decode([]byte(csr))
		block.Bytes[len(block.Bytes)-1] ^= 1
		broken := string(pem.EncodeToMemory(block))
		m.Write(t, "edge/ocsp-signer/root", map[string]any{"csr": broken}).Expect(http.StatusBadRequest)
		m.Patch(t, "issuer/root", map[string]any{"usage": "read-only,crl-signing"}).Expect(http.StatusOK)
		m.Write(t, "edge/ocsp-signer/root", map[string]any{"csr": csr}).Expect(http.StatusForbidden)
	})
}

// TestKey1_EdgeSignerIsNotTheCAsOwnKey: whoever has the CA's key needs no delegation,
// and a delegated certificate of it would outlive a revocation of the CA.
func TestKey1_EdgeSignerIsNotTheCAsOwnKey(t *testing.T) {
	m := pathstest.InProcess(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	imported := m.Write(t, "keys/import", map[string]any{"pem_bundle": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))}).Expect(http.StatusOK)
	m.Write(t, "issuers/generate/root/existing", map[string]any{"common_name": "Own Key", "key_ref": imported.Text("key_id"), "issuer_name": "own"}).Expect(http.StatusOK)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}}, key)
	require.NoError(t, err)
	csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	m.Write(t, "edge/ocsp-signer/own", map[string]any{"csr": csr}).Expect(http.StatusBadRequest)
}

func TestConfigEdgeIsTold(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		read := m.Read(t, "config/edge", nil).Expect(http.StatusOK)
		require.Equal(t, map[string]any{"organization": "", "documents": []any{}, "staleness_limit": 86400.0}, read.Data)
		m.Write(t, "config/edge", map[string]any{
			"organization": "Example AG", "documents": []string{"CP|https://pki.example.com/cp.pdf"}, "staleness_limit": "2h",
		}).Expect(http.StatusOK)
		m.Patch(t, "config/edge", map[string]any{"staleness_limit": "3h"}).Expect(http.StatusOK)
		m.Restart(t)
		require.Equal(t, feed.Repository{
			Organization: "Example AG", StalenessLimit: 3 * 3600, Documents: []feed.Document{{Title: "CP", URL: "https://pki.example.com/cp.pdf"}},
		}, manifest(t, m).Repository)
		for field, value := range map[string]any{
			"staleness_limit": "31d", "organization": "a\nb", "documents": "CP|javascript:alert(1)",
		} {
			m.Write(t, "config/edge", map[string]any{field: value}).Expect(http.StatusBadRequest)
		}
		m.Write(t, "config/edge", map[string]any{"documents": "no address"}).Expect(http.StatusBadRequest)
		m.Write(t, "config/edge", map[string]any{"documents": "CP|https://u:p@example.com/"}).Expect(http.StatusBadRequest)
		m.Write(t, "config/edge", map[string]any{"staleness_limit": 59}).Expect(http.StatusBadRequest)
	})
}

func TestConfigOCSPIsObeyedAndTold(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		read := m.Read(t, "config/ocsp", nil).Expect(http.StatusOK)
		require.Equal(t, map[string]any{
			"never_issued": "unknown", "allow_ca_direct": false, "responder_validity": 1209600.0, "nonce": true, "sha1": true, "archive_cutoff": 0.0,
		}, read.Data)
		m.Write(t, "config/ocsp", map[string]any{"never_issued": "unauthorized", "nonce": false, "sha1": false, "archive_cutoff": "1h"}).Expect(http.StatusOK)
		m.Write(t, "config/crl", map[string]any{"ocsp_expiry": "6h"}).Expect(http.StatusOK)
		require.Equal(t, feed.OCSP{Expiry: 6 * 3600, Backdate: 60, NeverIssued: "unauthorized", ArchiveCutoff: 3600}, manifest(t, m).OCSP)
		m.Write(t, "config/crl", map[string]any{"ocsp_disable": true}).Expect(http.StatusOK)
		require.True(t, manifest(t, m).OCSP.Disabled)
		m.Write(t, "config/ocsp", map[string]any{"never_issued": "good"}).Expect(http.StatusBadRequest)
		m.Write(t, "config/ocsp", map[string]any{"responder_validity": "91d"}).Expect(http.StatusBadRequest)
	})
}

func TestPublishersAreDeclaredTold_AndReportedOn(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		written := m.Write(t, "publishers/web", map[string]any{
			"type": "http-put", "url": "https://crl.example.com/{{issuer_name}}/{{list}}", "issuers": "root", "publish": "delta,complete", "credential": "web",
		}).Expect(http.StatusOK)
		version := written.Number("version")
		require.Equal(t, []string{"complete", "delta"}, written.Texts("publish"))
		require.Equal(t, []string{"web"}, m.List(t, "publishers", nil).Expect(http.StatusOK).Texts("keys"))
		inOneEntry := map[string]any{"type": "ldap", "url": "ldaps://ldap.example.com", "base_dn": "cn={{issuer_name}},dc=example,dc=com"}
		require.Contains(t, m.Write(t, "publishers/dir", inOneEntry).Expect(http.StatusBadRequest).Errors[0], "base_dn: must hold {{list}}", "shards are published unless others are named")
		inOneEntry["publish"] = "complete,delta,certificate"
		m.Write(t, "publishers/dir", inOneEntry).Expect(http.StatusOK)
		m.Patch(t, "publishers/web", map[string]any{"publish": "complete"}).Expect(http.StatusOK)
		told := manifest(t, m).Publishers
		require.Len(t, told, 2)
		require.Equal(t, "certificateRevocationList;binary", told[0].LDAP.CRL)
		require.Equal(t, []string{manifest(t, m).Issuers[0].ID}, told[1].Issuers)
		require.Equal(t, []string{"complete"}, told[1].Publish)
		require.Greater(t, told[1].Version, version)

		report := map[string]any{"edge": "edge-1", "items": []any{map[string]any{
			"issuer": told[1].Issuers[0], "list": "complete", "number": 7, "sha256": "ab", "at": "2026-03-01T12:00:00Z", "error": "503 Service Unavailable",
		}}}
		m.Write(t, "publishers/web/status", report).Expect(http.StatusNoContent)
		m.Restart(t)
		items := m.Read(t, "publishers/web/status", nil).Expect(http.StatusOK).Data["items"].([]any)
		require.Len(t, items, 1)
		require.Equal(t, "503 Service Unavailable", items[0].(map[string]any)["error"])
		require.Equal(t, "edge-1", items[0].(map[string]any)["edge"])
		m.Write(t, "publishers/nobody/status", report).Expect(http.StatusNotFound)
		m.Write(t, "publishers/WEB", map[string]any{"type": "file", "path": "/srv/{{issuer_id}}/{{list}}"}).Expect(http.StatusConflict)
		m.Write(t, "publishers/file", map[string]any{"type": "file", "path": "/srv/{{list}}", "issuers": "nobody"}).Expect(http.StatusBadRequest)

		m.Delete(t, "publishers/web").Expect(http.StatusNoContent)
		m.Read(t, "publishers/web", nil).Expect(http.StatusNotFound)
		m.Read(t, "publishers/web/status", nil).Expect(http.StatusNotFound)
		require.Len(t, manifest(t, m).Publishers, 1)
	})
}
