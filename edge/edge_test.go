package edge_test

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/config"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
)

func TestEdge_RevocationIsSeenByOCSPAndCRL(t *testing.T) {
	s := newSite(t)
	serial := s.mount.Good()
	s.ready()
	s.eventually(func() bool { return s.says(serial).Status == ocsp.Good })
	s.mount.Revoke(serial, cert.KeyCompromise)
	s.mount.List(t, 2, serial)
	s.eventually(func() bool { return s.says(serial).Status == ocsp.Revoked })
	require.Equal(t, ocsp.KeyCompromise, s.says(serial).RevocationReason)
	s.eventually(func() bool {
		list, err := x509.ParseRevocationList(s.get("/crl/web.crl").body)
		require.NoError(t, err)
		require.NoError(t, list.CheckSignatureFrom(s.mount.CA))
		return len(list.RevokedCertificateEntries) == 1
	})
}

func TestOCSP1_NeverIssuedIsNotGoodAtTheEdge(t *testing.T) {
	s := newSite(t)
	s.ready()
	require.Equal(t, ocsp.Unknown, s.says("\x05never").Status)
	for name, body := range map[string][]byte{"empty": nil, "text": []byte("GET /"), "cut": s.request("\x01")[:9], "zeros": make([]byte, 60<<10)} {
		answer := s.post("/ocsp", body)
		require.Equal(t, http.StatusOK, answer.status, name)
		_, err := ocsp.ParseResponse(answer.body, nil)
		require.Equal(t, ocsp.ResponseError{Status: ocsp.Malformed}, err, name)
		require.Equal(t, "no-store", answer.header.Get("Cache-Control"))
	}
}

// TestRev3_EdgeSaysNothingBeforeItKnows: no rows, no manifest, or rows staler than the
// limit are tryLater, whoever is asked about.
func TestRev3_EdgeSaysNothingBeforeItKnows(t *testing.T) {
	s := newSite(t)
	s.mount.Refuse(http.StatusServiceUnavailable)
	s.stop()
	s.settings.DataDir = filepath.Join(t.TempDir(), "empty")
	s.start()
	require.Equal(t, http.StatusServiceUnavailable, s.get("/readyz").status)
	require.Equal(t, http.StatusOK, s.get("/healthz").status)
	_, err := ocsp.ParseResponse(s.post("/ocsp", s.request("\x01")).body, nil)
	require.Equal(t, ocsp.ResponseError{Status: ocsp.TryLater}, err)
	require.Equal(t, http.StatusServiceUnavailable, s.get("/crl/web.crl").status)

	s.mount.Refuse(0)
	s.mount.Edit(func(m *feed.Manifest) { m.StalenessLimit = 1 })
	serial := s.mount.Good()
	s.ready()
	s.eventually(func() bool { return s.says(serial).Status == ocsp.Good })
	s.mount.Refuse(http.StatusServiceUnavailable)
	s.eventually(func() bool {
		_, err := ocsp.ParseResponse(s.post("/ocsp", s.request(serial)).body, nil)
		return errors.Is(err, ocsp.ResponseError{Status: ocsp.TryLater})
	})
	answer := s.get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, answer.status)
	require.Contains(t, string(answer.body), "beyond the limit of 1s")
	require.Equal(t, http.StatusOK, s.get("/crl/web.crl").status, "lists say themselves how long they hold")
}

func TestEdge_RestartsWithoutVault(t *testing.T) {
	for _, place := range []string{config.KeyInMemory, config.KeyInFile} {
		t.Run(place, func(t *testing.T) {
			s := newSite(t, func(c *config.Config) { c.Signer.Key = place })
			serial := s.mount.Good()
			s.mount.Revoke(serial, cert.Superseded)
			s.ready()
			s.eventually(func() bool {
				return s.says(serial).Status == ocsp.Revoked && s.get("/crl/web.crl").status == http.StatusOK
			})
			first := s.says(serial).Certificate
			s.stop()
			s.mount.Refuse(http.StatusServiceUnavailable)
			s.start()
			require.Equal(t, http.StatusOK, s.get("/crl/web.crl").status)
			require.Equal(t, http.StatusOK, s.get("/ca/web.cer").status)
			if place == config.KeyInMemory {
				s.eventually(func() bool { return strings.Contains(string(s.get("/readyz").body), "no OCSP signer") })
				_, err := ocsp.ParseResponse(s.post("/ocsp", s.request(serial)).body, nil)
				require.Equal(t, ocsp.ResponseError{Status: ocsp.TryLater}, err, "its key ended with the process")
				return
			}
			s.ready()
			require.Equal(t, first.Raw, s.says(serial).Certificate.Raw)
		})
	}
}

// TestKey2_EdgeKeysAreNowhereUnlessAskedFor looks for private keys in all that an edge
// has written.
func TestKey2_EdgeKeysAreNowhereUnlessAskedFor(t *testing.T) {
	for place, want := range map[string]bool{config.KeyInMemory: false, config.KeyInFile: true} {
		s := newSite(t, func(c *config.Config) { c.Signer.Key = place })
		s.ready()
		s.stop()
		found := false
		require.NoError(t, filepath.WalkDir(s.settings.DataDir, func(path string, entry os.DirEntry, err error) error {
			require.NoError(t, err)
			info, err := entry.Info()
			require.NoError(t, err)
			require.Zero(t, info.Mode().Perm()&0o077, path)
			if entry.IsDir() {
				return nil
			}
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			// The beginning of PKCS#8 of a P-256 key, in base64 within JSON in base64.
			found = found || bytes.Contains(content, []byte("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEH"))
			return nil
		}))
		require.Equal(t, want, found, place)
		require.NotContains(t, s.log.String(), edgemount.Token)
		require.NotContains(t, s.log.String(), "secret\n")
		require.NotContains(t, s.log.String(), "BEGIN")
	}
}

// TestDos1_EdgeRefusesBeforeItReads sends what is too large in every way.
func TestDos1_EdgeRefusesBeforeItReads(t *testing.T) {
	s := newSite(t)
	s.ready()
	huge := make([]byte, 10<<20)
	connection, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(t, err)
	defer connection.Close()
	_, err = fmt.Fprintf(connection, "POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(huge))
	require.NoError(t, err)
	head := make([]byte, 64)
	n, err := io.ReadAtLeast(connection, head, 12)
	require.NoError(t, err)
	require.Contains(t, string(head[:n]), "HTTP/1.1 413", "nothing of the body was sent yet")

	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/ocsp", io.MultiReader(bytes.NewReader(huge)))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request) // chunked: no length is announced
	if err == nil {
		require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
		require.NoError(t, response.Body.Close())
	}
	require.Equal(t, http.StatusRequestURITooLong, s.get("/ocsp/"+strings.Repeat("A", 5000)).status)
	response, err = http.Get(s.url + "/ocsp/" + strings.Repeat("A", 40000))
	if err == nil { // else the connection was closed before all of it was sent
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, response.StatusCode)
		require.NoError(t, response.Body.Close())
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, http.MethodTrace} {
		for _, path := range []string{"/ocsp", "/crl/web.crl", "/", "/metrics", "/x"} {
			request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, http.NoBody)
			require.NoError(t, err)
			require.Equal(t, http.StatusMethodNotAllowed, s.do(request).status, method+path)
		}
	}
}

// TestDos2_AskingTheEdgeAsksNobodyElse asks a lot and sees no request at the mount but
// the polls, and nothing new on disk.
func TestDos2_AskingTheEdgeAsksNobodyElse(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.PollInterval = time.Hour })
	s.ready()
	s.eventually(func() bool { // all that a start writes is written
		names := strings.Join(s.files(), " ")
		return s.get("/crl/web.crl").status == http.StatusOK && !strings.Contains(names, ".new") &&
			strings.Contains(names, "responder-") && strings.Contains(names, "held.json") && strings.Contains(names, "data/rows")
	})
	before := s.mount.Requests("manifest") + s.mount.Requests("status") + s.mount.Requests("signer") + s.mount.Requests("crl")
	files := s.files()
	for i := range 300 {
		s.post("/ocsp", s.request(cert.SerialOf(big.NewInt(int64(i+1)))))
		s.get("/crl/web.crl")
		s.get("/ca/bundle.p7c")
		s.get(fmt.Sprintf("/crl/%d.crl", i))
	}
	require.Equal(t, before, s.mount.Requests("manifest")+s.mount.Requests("status")+s.mount.Requests("signer")+s.mount.Requests("crl"))
	require.Equal(t, files, s.files())
}

func TestEdge_RequestsUnderWayEndWell(t *testing.T) {
	s := newSite(t)
	serial := s.mount.Good()
	s.ready()
	s.eventually(func() bool { return s.says(serial).Status == ocsp.Good })
	body := s.request(serial)
	connection := s.dial(fmt.Sprintf("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(body)))
	_, err := connection.Write(body[:10])
	require.NoError(t, err)
	s.get("/healthz") // accepted after it: so it was accepted
	ended := make(chan struct{})
	go func() { s.stop(); close(ended) }()
	s.eventually(func() bool {
		refused, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err == nil {
			_ = refused.Close()
		}
		return err != nil
	})
	_, err = connection.Write(body[10:])
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	parsed, err := ocsp.ParseResponse(content, s.mount.CA)
	require.NoError(t, err)
	require.Equal(t, ocsp.Good, parsed.Status)
	<-ended
}

func TestEdge_GETIsCachedAsRFC5019Says(t *testing.T) {
	s := newSite(t)
	serial := s.mount.Good()
	s.ready()
	s.eventually(func() bool { return s.says(serial).Status == ocsp.Good })
	text := base64.StdEncoding.EncodeToString(s.request(serial))
	path := "/ocsp/" + url.PathEscape(text)
	answer := s.get(path)
	require.Equal(t, http.StatusOK, answer.status)
	parsed, err := ocsp.ParseResponse(answer.body, s.mount.CA)
	require.NoError(t, err)
	modified, err := http.ParseTime(answer.header.Get("Last-Modified"))
	require.NoError(t, err)
	require.Equal(t, parsed.ThisUpdate, modified.UTC())
	expires, err := http.ParseTime(answer.header.Get("Expires"))
	require.NoError(t, err)
	require.True(t, expires.Before(parsed.NextUpdate) && expires.After(time.Now()))
	require.Regexp(t, `^max-age=\d+, public, no-transform, must-revalidate$`, answer.header.Get("Cache-Control"))
	tag := answer.header.Get("Etag")
	require.NotEmpty(t, tag)
	again := s.get(path, "If-None-Match", tag)
	require.Equal(t, http.StatusNotModified, again.status)
	require.Empty(t, again.body)
	require.Equal(t, tag, s.get(path).header.Get("Etag"), "the same answer")
}

// TestEdge_PublishesWhatItHolds has a list written to a folder, of the newest content.
func TestEdge_PublishesWhatItHolds(t *testing.T) {
	dir := t.TempDir()
	s := newSite(t, func(c *config.Config) { c.PublishDirectories = []string{dir} })
	s.mount.Edit(func(m *feed.Manifest) {
		m.Publishers = []feed.Publisher{{
			Name: "folder", Version: 1, Type: "file", Issuers: []string{}, Publish: []string{"complete"},
			Path: dir + "/{{issuer_name}}.crl", CACertificates: []string{},
		}}
	})
	for number := int64(2); number < 4; number++ {
		der := s.mount.List(t, number)
		s.eventually(func() bool {
			content, err := os.ReadFile(filepath.Join(dir, "web.crl"))
			return err == nil && bytes.Equal(der, content)
		})
	}
	s.eventually(func() bool { return strings.Contains(string(s.get("/metrics").body), `publisher="folder"`) })
}

// TestEdge_AnswersAsTheMountSays changes config/ocsp and config/crl and sees it.
func TestEdge_AnswersAsTheMountSays(t *testing.T) {
	s := newSite(t)
	serial := s.mount.Good()
	s.ready()
	s.eventually(func() bool { return s.says(serial).Status == ocsp.Good })
	answer := s.says(serial)
	require.Equal(t, 12*time.Hour, answer.NextUpdate.Sub(answer.ThisUpdate))
	s.mount.Edit(func(m *feed.Manifest) { m.OCSP.Expiry, m.OCSP.NeverIssued = 3600, "revoked" })
	s.eventually(func() bool {
		answer := s.says(serial)
		return answer.NextUpdate.Sub(answer.ThisUpdate) == time.Hour
	})
	require.Equal(t, ocsp.Revoked, s.says("\x05never").Status)
	unauthorized := func() bool {
		_, err := ocsp.ParseResponse(s.post("/ocsp", s.request(serial)).body, nil)
		return errors.Is(err, ocsp.ResponseError{Status: ocsp.Unauthorized})
	}
	s.mount.Edit(func(m *feed.Manifest) { m.OCSP.SHA1 = false })
	s.eventually(unauthorized)
	s.mount.Edit(func(m *feed.Manifest) { m.OCSP.SHA1 = true })
	s.eventually(func() bool { return !unauthorized() })
	s.mount.Edit(func(m *feed.Manifest) { m.OCSP.Disabled = true })
	s.eventually(unauthorized)
	require.Equal(t, http.StatusOK, s.get("/readyz").status, "nobody is to be answered for")
}

// TestEdge_OpenSSLAsks lets openssl ask by POST, with a nonce, and read the files.
func TestEdge_OpenSSLAsks(t *testing.T) {
	s := newSite(t)
	serial := s.mount.Good()
	s.mount.Revoke(serial, cert.Superseded)
	s.ready()
	s.eventually(func() bool { return s.says(serial).Status == ocsp.Revoked })
	dir := t.TempDir()
	save := func(name, path string) string {
		file := filepath.Join(dir, name)
		var answer reply
		s.eventually(func() bool { answer = s.get(path); return answer.status == http.StatusOK }) // lists come after rows
		require.NoError(t, os.WriteFile(file, answer.body, 0o600))
		return file
	}
	ca := save("ca.pem", "/ca/web.pem")
	said := openssl(t, "ocsp", "-url", s.url+"/ocsp", "-issuer", ca, "-serial", "0x"+strings.ReplaceAll(serial.String(), ":", ""), "-CAfile", ca)
	require.Contains(t, said, "Response verify OK")
	require.Contains(t, said, "revoked")
	require.NotContains(t, said, "WARNING")
	require.Contains(t, openssl(t, "pkcs7", "-inform", "DER", "-print_certs", "-in", save("b.p7c", "/ca/bundle.p7c")), "Edge Test CA")
	require.Contains(t, openssl(t, "crl", "-inform", "DER", "-in", save("web.crl", "/crl/web.crl"), "-CAfile", ca, "-noout"), "verify OK")
	require.Contains(t, openssl(t, "x509", "-inform", "DER", "-in", save("web.cer", "/ca/web.cer"), "-noout", "-subject"), "Edge Test CA")
}

func openssl(t testing.TB, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is missing: install the Debian package openssl")
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}
