package serve_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	edgeocsp "vault-plugin-secrets-enterprise-pki/backend/ocsp"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
	"vault-plugin-secrets-enterprise-pki/edge/serve"
	"vault-plugin-secrets-enterprise-pki/edge/state"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
)

// digest is what the one list of a fixture is found by.
var digest = strings.Repeat("ab", 32)

// fixture is a server over one snapshot, whose CA signs OCSP answers itself.
type fixture struct {
	*serve.Server
	ca     *x509.Certificate
	rows   *state.Rows
	signer *edgeocsp.Signer
	now    time.Time
	synced time.Time
	list   string // file
}

func (f *fixture) Issuers() []edgeocsp.Issuer {
	return []edgeocsp.Issuer{{ID: edgemount.Issuer, DER: f.ca.Raw}}
}
func (f *fixture) Loaded() bool                              { return true }
func (f *fixture) Signer(string, time.Time) *edgeocsp.Signer { return f.signer }
func (f *fixture) Now() time.Time                            { return f.now }
func (f *fixture) ends(string) time.Time                     { return f.now.Add(time.Hour) }
func (f *fixture) open(string) (*os.File, error)             { return os.Open(f.list) }
func (f *fixture) State(issuer string, serial cert.Serial) (edgeocsp.CertStatus, bool, error) {
	_, found := f.rows.Find(issuer, serial)
	return edgeocsp.CertStatus{State: edgeocsp.Good}, found, nil
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	mount := edgemount.New(t, time.Now)
	f := &fixture{ca: mount.CA, now: time.Now(), synced: time.Now(), list: filepath.Join(t.TempDir(), "list")}
	require.NoError(t, os.WriteFile(f.list, []byte("0123456789"), 0o600))
	authority, err := sign.NewAuthority(sign.Config{Certificate: mount.CA, Signer: mount.Key})
	require.NoError(t, err)
	f.signer, err = edgeocsp.NewSigner(authority)
	require.NoError(t, err)
	f.rows, err = state.NoRows().With([]feed.Row{{Serial: "\x01", Issuer: edgemount.Issuer, State: feed.Good, NotAfter: f.now.Add(time.Hour)}})
	require.NoError(t, err)
	list := state.List{Kind: feed.Complete, Number: 7, ThisUpdate: f.now.Add(-time.Hour), NextUpdate: f.now.Add(time.Hour), Size: 10, SHA256: digest, URLs: []string{"http://crl.example.com/lists/web.crl", "http://crl.example.org/older/web.crl"}}
	delta, shard := list, list
	delta.Kind, delta.URLs, shard.Kind, shard.Shard, shard.URLs = feed.Delta, nil, feed.Shard, "8-3", nil
	snapshot := func() *state.Snapshot {
		return &state.Snapshot{
			Manifest: feed.Manifest{Repository: feed.Repository{StalenessLimit: 3600}},
			Issuers:  issuers(f.ca, list, delta, shard), Rows: f.rows, Sequence: 9, Synced: f.synced,
		}
	}
	f.Server = serve.New(serve.Config{
		Snapshot: snapshot, Answerer: edgeocsp.NewAnswerer(edgeocsp.AnswererConfig{Issuers: f, States: f, Signers: f, Now: f.Now}),
		OpenList: f.open, SignerEnds: f.ends, Polls: func() (uint64, uint64) { return 5, 2 }, Version: `v"1`, Now: f.Now,
	})
	return f
}

// cached keeps the pointers of issuers the same, as a mirror does.
var cached = map[*x509.Certificate][]*state.Issuer{}

func issuers(ca *x509.Certificate, lists ...state.List) []*state.Issuer {
	if cached[ca] == nil {
		cached[ca] = []*state.Issuer{{ID: edgemount.Issuer, Name: edgemount.IssuerName, Certificate: ca, OCSP: true, Lists: lists}}
	}
	return cached[ca]
}

func (f *fixture) request(t testing.TB, serial cert.Serial) []byte {
	t.Helper()
	der, err := ocsp.CreateRequest(&x509.Certificate{SerialNumber: serial.Big()}, f.ca, nil)
	require.NoError(t, err)
	return der
}

// get asks for a target exactly as it is written.
func (f *fixture) get(t testing.TB, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequest(http.MethodGet, target, http.NoBody)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	f.ServeHTTP(recorder, request)
	return recorder
}

func body(response *httptest.ResponseRecorder) string { return response.Body.String() }

// TestOCSPGET_SpellingsOfBase64 asks in each way that clients and proxies are known to
// spell one request: all are the same request.
func TestOCSPGET_SpellingsOfBase64(t *testing.T) {
	f := newFixture(t)
	// A serial number whose request has both "+" and "/" in base64, and "//" as well.
	var text string
	for n := 1; !strings.Contains(text, "+") || !strings.Contains(text, "//"); n++ {
		serial := cert.Serial([]byte{1, 0xff, byte(n >> 8), byte(n), 0xff, 0xff, 0xff, 0xfb, 0xef, 0xbe})
		var err error
		f.rows, err = f.rows.With([]feed.Row{{Serial: serial, Issuer: edgemount.Issuer, State: feed.Good, NotAfter: f.now.Add(time.Hour)}})
		require.NoError(t, err)
		text = base64.StdEncoding.EncodeToString(f.request(t, serial))
	}
	escaped := url.QueryEscape(text)
	spellings := map[string]string{
		"RFC 6960":              "/ocsp/" + escaped,
		"lower-case hex":        "/ocsp/" + strings.NewReplacer("%2B", "%2b", "%2F", "%2f", "%3D", "%3d").Replace(escaped),
		"nothing escaped":       "/ocsp/" + text,
		"two slashes":           "/ocsp//" + escaped,
		"escaped twice":         "/ocsp/" + url.QueryEscape(escaped),
		"no padding":            "/ocsp/" + strings.TrimRight(text, "="),
		"plus became a space":   "/ocsp/" + strings.ReplaceAll(text, "+", "%20"),
		"a query at the end":    "/ocsp/" + escaped + "?x=y",
		"only slashes escaped":  "/ocsp/" + strings.ReplaceAll(text, "/", "%2F"),
		"only pluses escaped":   "/ocsp/" + strings.ReplaceAll(text, "+", "%2B"),
		"absolute form (proxy)": "http://ocsp.example.com/ocsp/" + escaped,
	}
	for name, target := range spellings {
		response := f.get(t, target)
		require.Equal(t, http.StatusOK, response.Code, name)
		parsed, err := ocsp.ParseResponse([]byte(body(response)), f.ca)
		require.NoError(t, err, name)
		require.Equal(t, ocsp.Good, parsed.Status, name)
	}
}

func TestOCSP1_GETThatIsNoRequest(t *testing.T) {
	f := newFixture(t)
	for _, target := range []string{"/ocsp", "/ocsp/", "/ocsp/!!!", "/ocsp/%00", "/ocsp/MA=", "/ocsp/M", "/ocsp/a%0Ab", "/ocsp/../ca/web.cer"} {
		response := f.get(t, target)
		require.Contains(t, []int{http.StatusOK, http.StatusBadRequest}, response.Code, target)
		_, err := ocsp.ParseResponse([]byte(body(response)), nil)
		require.Equal(t, ocsp.ResponseError{Status: ocsp.Malformed}, err, target)
		require.NotContains(t, response.Header().Get("Cache-Control"), "max-age", target)
	}
}

func FuzzOCSPGET(f *testing.F) {
	server := newFixture(f)
	good := base64.StdEncoding.EncodeToString(server.request(f, "\x01"))
	for _, text := range []string{good, "/" + good, url.QueryEscape(good), "%", "%2", "=", "A===", " ", "\x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/ocsp/" + text}, Header: http.Header{}})
		response := recorder
		require.Contains(t, []int{http.StatusOK, http.StatusBadRequest, http.StatusRequestURITooLong}, response.Code)
		if response.Code == http.StatusOK {
			require.Equal(t, "application/ocsp-response", response.Header().Get("Content-Type"))
		}
	})
}

func TestFiles_PathsTypesAndContent(t *testing.T) {
	f := newFixture(t)
	cases := []struct{ path, kind string }{
		{"/crl/web.crl", "application/pkix-crl"},
		{"/crl/" + edgemount.Issuer + ".crl", "application/pkix-crl"},
		{"/crl/web-delta.crl", "application/pkix-crl"},
		{"/crl/web/8-3.crl", "application/pkix-crl"},
		{"/lists/web.crl", "application/pkix-crl"}, // where certificates say it is
		{"/older/web.crl", "application/pkix-crl"}, // and older ones
		{"/ca/web.cer", "application/pkix-cert"},
		{"/ca/web.pem", "application/x-pem-file"},
		{"/ca/web.p7c", "application/pkcs7-mime; smime-type=certs-only"},
		{"/ca/" + edgemount.Issuer + ".cer", "application/pkix-cert"},
		{"/ca/bundle.pem", "application/x-pem-file"},
		{"/ca/bundle.p7c", "application/pkcs7-mime; smime-type=certs-only"},
	}
	for _, c := range cases {
		response := f.get(t, c.path)
		require.Equal(t, http.StatusOK, response.Code, c.path)
		require.Equal(t, c.kind, response.Header().Get("Content-Type"))
		require.NotEmpty(t, response.Header().Get("Last-Modified"))
		require.Regexp(t, `^public, max-age=\d+, must-revalidate$`, response.Header().Get("Cache-Control"))
		tag := response.Header().Get("Etag")
		require.NotEmpty(t, body(response))
		response = f.get(t, c.path, "If-None-Match", tag)
		require.Equal(t, http.StatusNotModified, response.Code)
		response = f.get(t, c.path, "If-Modified-Since", f.now.UTC().Format(http.TimeFormat))
		require.Equal(t, http.StatusNotModified, response.Code)
	}
	require.Equal(t, string(f.ca.Raw), body(f.get(t, "/ca/web.cer")))
	for _, path := range []string{"/crl/other.crl", "/crl/web/8-4.crl", "/crl/", "/ca/", "/ca/../crl/web.crl", "/crl/web.crl/", "/x", "/lists/" + digest, "/", "/crl/..%2f..%2fetc%2fpasswd"} {
		require.Equal(t, http.StatusNotFound, f.get(t, path).Code, path)
	}
}

func TestFiles_PartsOfALargeList(t *testing.T) {
	f := newFixture(t)
	response := f.get(t, "/crl/web.crl", "Range", "bytes=2-4")
	require.Equal(t, http.StatusPartialContent, response.Code)
	require.Equal(t, "234", body(response))
	response = f.get(t, "/crl/web.crl", "Range", "bytes=2-4", "If-Range", `"other"`)
	require.Equal(t, http.StatusOK, response.Code, "another list by now: from the beginning")
	require.Equal(t, http.StatusRequestedRangeNotSatisfiable, f.get(t, "/crl/web.crl", "Range", "bytes=99-").Code)
}

func TestFiles_ListsAreCachedNoLongerThanTheyHold(t *testing.T) {
	f := newFixture(t)
	require.Equal(t, "public, max-age=300, must-revalidate", f.get(t, "/crl/web.crl").Header().Get("Cache-Control"))
	f.now = f.now.Add(59 * time.Minute)
	require.Equal(t, "public, max-age=60, must-revalidate", f.get(t, "/crl/web.crl").Header().Get("Cache-Control"))
	f.now = f.now.Add(time.Hour)
	require.Equal(t, "public, max-age=0, must-revalidate", f.get(t, "/crl/web.crl").Header().Get("Cache-Control"))
}

// A list that has ended is served all the same: it says so itself, and the metrics do.
func TestFiles_ListsThatEndedAreServed(t *testing.T) {
	f := newFixture(t)
	f.now = f.now.Add(2 * time.Hour)
	answer := f.get(t, "/crl/web.crl")
	require.Equal(t, http.StatusOK, answer.Code)
	require.Equal(t, "0123456789", answer.Body.String())
	require.Contains(t, answer.Header().Get("Cache-Control"), "max-age=0,")
	require.Regexp(t, `pki_edge_crl_expiry_seconds\{issuer="[^"]+",list="complete"\} -3[56]\d\d`, f.get(t, "/metrics").Body.String())
}

func TestReady_SaysHowStaleInWords(t *testing.T) {
	f := newFixture(t)
	response := f.get(t, "/readyz")
	require.Equal(t, http.StatusOK, response.Code)
	require.Equal(t, "ready: in step with the mount 0s ago, 1 certificates, sequence 9\n", body(response))
	f.now = f.now.Add(10 * time.Minute)
	require.Equal(t, "ready: in step with the mount 10m0s ago, 1 certificates, sequence 9: OCSP goes on for 50m0s\n", body(f.get(t, "/readyz")))
	f.now = f.now.Add(time.Hour)
	response = f.get(t, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, response.Code)
	require.Contains(t, body(response), "beyond the limit of 1h0m0s, OCSP answers tryLater")
}

func TestMetrics_CountWhatWasAsked(t *testing.T) {
	f := newFixture(t)
	f.get(t, "/ocsp/"+url.PathEscape(base64.StdEncoding.EncodeToString(f.request(t, "\x01"))))
	f.get(t, "/ocsp/!")
	f.get(t, "/crl/web.crl")
	f.get(t, "/nothing")
	said := body(f.get(t, "/metrics"))
	for _, line := range []string{
		`pki_edge_requests_total{kind="ocsp-get",status="200"} 1`, `pki_edge_requests_total{kind="ocsp-get",status="400"} 1`,
		`pki_edge_requests_total{kind="crl",status="200"} 1`, `pki_edge_requests_total{kind="other",status="404"} 1`,
		`pki_edge_ocsp_responses_total{status="successful"} 1`, `pki_edge_polls_total 5`, `pki_edge_poll_failures_total 2`,
		`pki_edge_rows 1`, `pki_edge_feed_sequence 9`, `pki_edge_ready 1`, `pki_edge_info{version="v\"1"} 1`,
		`pki_edge_staleness_limit_seconds 3600`, `pki_edge_ocsp_signer_expiry_seconds{issuer="` + edgemount.Issuer + `"} 3600`,
		`pki_edge_crl_number{issuer="` + edgemount.Issuer + `",list="8-3"} 7`,
	} {
		require.Contains(t, said, line+"\n")
	}
	for line := range strings.Lines(said) {
		require.Regexp(t, `^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[^}]*\})? -?[0-9.]+)\n$`, line)
	}
}

func TestDos2_WhatAClientSendsIsNotRepeated(t *testing.T) {
	f := newFixture(t)
	mark := hex.EncodeToString([]byte("<script>"))
	for _, path := range []string{"/" + mark, "/crl/" + mark + ".crl", "/ocsp/" + mark} {
		response := f.get(t, path, "X-Test", mark)
		require.NotContains(t, body(response), mark)
	}
}

func BenchmarkServe(b *testing.B) {
	f := newFixture(b)
	known := f.request(b, "\x01")
	path := &url.URL{Path: "/ocsp/" + base64.StdEncoding.EncodeToString(known)}
	run := func(b *testing.B, request func() *http.Request) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				w := &discard{header: http.Header{}}
				f.ServeHTTP(w, request())
				if w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
	b.Run("GET/kept", func(b *testing.B) {
		run(b, func() *http.Request { return &http.Request{Method: http.MethodGet, URL: path, Header: http.Header{}} })
	})
	b.Run("POST/kept", func(b *testing.B) {
		run(b, func() *http.Request { return post(known) })
	})
	b.Run("POST/signed", func(b *testing.B) { // P-256
		unknown := f.request(b, "\x02never")
		run(b, func() *http.Request { return post(unknown) })
	})
}

func post(der []byte) *http.Request {
	return httptest.NewRequest(http.MethodPost, "/ocsp", strings.NewReader(string(der)))
}

// discard is a response that nobody reads.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header              { return d.header }
func (d *discard) Write(octets []byte) (int, error) { return len(octets), nil }
func (d *discard) WriteHeader(status int)           { d.status = status }
