package page_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/edge/page"
)

// get asks for the page of a repository.
func get(t testing.TB, repository page.Repository, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://edge.example.net/", nil)
	if change != nil {
		change(request)
	}
	answer := httptest.NewRecorder()
	page.Handler(source(repository)).ServeHTTP(answer, request)
	return answer
}

func text(t testing.TB, repository page.Repository) string {
	t.Helper()
	answer := get(t, repository, nil)
	require.Equal(t, http.StatusOK, answer.Code, answer.Body.String())
	return html.UnescapeString(answer.Body.String())
}

// says looks for a text, without printing the whole page when it is not there.
func says(t testing.TB, shown, wanted string) {
	t.Helper()
	if !strings.Contains(shown, wanted) {
		t.Fatalf("the page does not say %q", wanted)
	}
}

func saysNot(t testing.TB, shown, unwanted string) {
	t.Helper()
	if strings.Contains(shown, unwanted) {
		t.Fatalf("the page says %q", unwanted)
	}
}

func TestPageShowsEveryAuthority(t *testing.T) {
	repository := bank(t)
	shown := text(t, repository)
	for _, issuer := range repository.Issuers {
		digest := sha256.Sum256(issuer.Certificate.Raw)
		fingerprint := fmt.Sprintf("%X", digest)
		bare := strings.NewReplacer("<wbr>", "", ":", "").Replace(shown)
		says(t, bare, fingerprint)
		says(t, shown, issuer.Certificate.Subject.String())
		for _, extension := range []string{".cer", ".pem", ".p7c"} {
			says(t, shown, `href="/ca/`+issuer.Name+extension+`"`)
		}
		says(t, shown, `href="/crl/`+issuer.Name+`.crl"`)
	}
	for _, wanted := range []string{
		"RSA, 2048 bits", "ECDSA, curve P-256", "Root CA", "Subordinate CA", "29617890123", "1.3 MB", "2.1 kB", "812 bytes",
		`href="/crl/servers-delta.crl"`, `href="/crl/servers/8-3.crl"`, "8 partial lists", `href="/ca/bundle.pem"`, `href="/ca/bundle.p7c"`,
		`datetime="2026-03-06T07:30:00Z"`, "6 Mar 2026, 07:30 UTC", "(9 years left)", "Example Bank People CA 1, Example Bank Server CA 3",
		`href="https://www.example.com/pki/cps-2.1.pdf"`, "Certificate Policy for servers, version 1.4",
	} {
		says(t, shown, wanted)
	}
	root, people := strings.Index(shown, `id="ca-c0ffee00`), strings.Index(shown, `id="ca-7d1e2f3a`)
	require.True(t, 0 < root && root < people, "a root stands before the CAs that it issued")
}

func TestPageTellsCommandsThatCanBeTyped(t *testing.T) {
	shown := text(t, bank(t))
	for _, wanted := range []string{
		"curl -fsSO http://pki.example.com/ca/root.pem\n",
		"openssl x509 -in root.pem -noout -subject -fingerprint -sha256",
		"openssl ocsp -issuer people.pem -cert server.pem -url http://pki.example.com/ocsp -CAfile bundle.pem",
		"openssl crl -inform DER -in people.crl -CAfile bundle.pem",
		"certutil -hashfile root.cer SHA256", "certutil -addstore -f Root root.cer", "certutil -verify -urlfetch server.cer",
	} {
		says(t, shown, wanted)
	}
}

func TestPageWithNothingToShow(t *testing.T) {
	shown := text(t, page.Repository{Now: now})
	says(t, shown, "There is no CA certificate here yet.")
	says(t, shown, "Starting")
	says(t, shown, "does not answer OCSP requests")
	saysNot(t, shown, "How to verify")
	saysNot(t, shown, "Policies</")
	saysNot(t, shown, "bundle.pem")
}

func TestPageSaysHowFarItIsBehind(t *testing.T) {
	for name, row := range map[string]struct {
		age  time.Duration
		want string
	}{
		"a second":   {time.Second, "<strong>Up to date</strong>"},
		"a minute":   {time.Minute, "Working from copies</strong> The last word from the certification authority came on 2 Mar 2026, 09:29 UTC, a minute ago."},
		"two hours":  {2 * time.Hour, "09:30 UTC"},
		"past limit": {25 * time.Hour, "<strong>Out of date</strong>"},
	} {
		t.Run(name, func(t *testing.T) {
			repository := bank(t)
			repository.Synchronized = now.Add(-row.age)
			says(t, text(t, repository), row.want)
		})
	}
	repository := bank(t)
	repository.Synchronized, repository.StalenessLimit = now.Add(-1000*time.Hour), 0
	says(t, text(t, repository), "Working from copies")
}

func TestPageSaysWhatHasEnded(t *testing.T) {
	repository := bank(t)
	repository.Issuers[0].Lists[0].NextUpdate = now.Add(-3 * time.Hour)
	shown := text(t, repository)
	says(t, shown, `<span class="tag bad" title="ended 3 hours ago">overdue</span>`)
	repository.Now = now.AddDate(20, 0, 0)
	says(t, text(t, repository), `<span class="tag bad">expired</span>`)
	repository.Now = now.AddDate(-2, 0, 0)
	says(t, text(t, repository), "not yet valid")
}

// What a name, a title or a header says never becomes markup, a link that runs
// something, or a command.
func TestPage1_HostileTextIsShownAsText(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>'; rm -rf ~ #`
	repository := bank(t)
	root := newAuthority(t, hostile, ecKey(t), nil)
	repository.Organization = hostile
	repository.BaseURL = ""
	repository.Issuers = []page.Issuer{{
		ID: "0f2a9c4e", Name: hostile, Certificate: root.certificate, OCSP: true, Signs: true,
		Lists: []page.List{{Kind: "complete", Number: "1"}, {Kind: "shard", Shard: hostile, Number: "1"}},
	}}
	repository.Documents = []page.Document{
		{Title: hostile, URL: "javascript:alert(1)"},
		{Title: "data", URL: "data:text/html,<script>alert(1)</script>"},
		{Title: "file", URL: "file:///etc/passwd"},
		{Title: "good", URL: "https://www.example.com/" + hostile},
	}
	answer := get(t, repository, func(r *http.Request) { r.Host = "evil.example/$(reboot)" })
	raw := answer.Body.String()
	require.Equal(t, http.StatusOK, answer.Code)
	saysNot(t, raw, "<script")
	saysNot(t, raw, "<img")
	saysNot(t, raw, "javascript:")
	saysNot(t, raw, `href="data:text`)
	saysNot(t, raw, "file:///")
	saysNot(t, raw, "reboot")
	says(t, raw, "&lt;script&gt;")
	says(t, raw, "curl -fsSO http://pki.example.com/ca/0f2a9c4e.pem")
	for _, command := range regexp.MustCompile(`(?s)<pre[^>]*>.*?</pre>`).FindAllString(raw, -1) {
		saysNot(t, command, "rm -rf")
	}
}

func TestPageTakesItsAddressFromTheRequestOnlyWhenNothingElseIsKnown(t *testing.T) {
	for host, want := range map[string]string{
		"pki.corp.example:8080": "http://pki.corp.example:8080/ca/root.pem",
		"192.0.2.7":             "http://192.0.2.7/ca/root.pem",
		"[2001:db8::7]:80":      "http://[2001:db8::7]:80/ca/root.pem",
		"a b":                   "http://pki.example.com/ca/root.pem",
		"":                      "http://pki.example.com/ca/root.pem",
	} {
		repository := bank(t)
		repository.BaseURL = ""
		answer := get(t, repository, func(r *http.Request) { r.Host = host })
		says(t, answer.Body.String(), want)
	}
	repository := bank(t)
	repository.BaseURL = "http://crl.example.com/pki/"
	answer := get(t, repository, func(r *http.Request) { r.Host = "other.example" })
	says(t, answer.Body.String(), "http://crl.example.com/pki/ca/root.pem")
	saysNot(t, answer.Body.String(), "other.example")
}

// Names that would clash with other files, or with each other, give way to ids.
func TestPageNamesFilesOnce(t *testing.T) {
	repository := bank(t)
	repository.Issuers[0].Name = "bundle"
	repository.Issuers[1].Name = "servers-delta"
	repository.Issuers[2].Name = ""
	shown := text(t, repository)
	for _, issuer := range repository.Issuers {
		says(t, shown, `href="/ca/`+issuer.ID+`.cer"`)
	}
	repository.Issuers[0].Name, repository.Issuers[1].Name = "same", "same"
	saysNot(t, text(t, repository), "/ca/same.cer")
}

func TestPageHeaders(t *testing.T) {
	repository := bank(t)
	answer := get(t, repository, nil)
	header := answer.Header()
	require.Equal(t, "text/html; charset=utf-8", header.Get("Content-Type"))
	require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
	require.Equal(t, "no-cache", header.Get("Cache-Control"))
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(answer.Body.String())
	require.NotNil(t, style)
	digest := sha256.Sum256([]byte(style[1]))
	policy := header.Get("Content-Security-Policy")
	says(t, policy, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(digest[:])+"';")
	saysNot(t, policy, "unsafe")
	saysNot(t, answer.Body.String(), "style=")

	again := get(t, repository, func(r *http.Request) { r.Header.Set("If-None-Match", header.Get("ETag")) })
	require.Equal(t, http.StatusNotModified, again.Code)
	require.Empty(t, again.Body.String())
	head := get(t, repository, func(r *http.Request) { r.Method = http.MethodHead })
	require.Equal(t, http.StatusOK, head.Code)
	require.Empty(t, head.Body.String())
	require.Equal(t, header.Get("ETag"), head.Header().Get("ETag"))
	post := get(t, repository, func(r *http.Request) { r.Method = http.MethodPost })
	require.Equal(t, http.StatusMethodNotAllowed, post.Code)
	require.Equal(t, "GET, HEAD", post.Header().Get("Allow"))
}

// changing hands out another repository each time.
type changing struct{ repositories []page.Repository }

func (c *changing) Repository() page.Repository {
	next := c.repositories[0]
	c.repositories = c.repositories[1:]
	return next
}

// Everybody may ask, so what one moment looks like is worked out once (dos-2).
func TestDos2_PageIsRenderedOnceASecond(t *testing.T) {
	first, second, third := bank(t), bank(t), bank(t)
	second.Organization, second.Now = "Second", now.Add(500*time.Millisecond)
	third.Organization, third.Now = "Third", now.Add(time.Second)
	handler := page.Handler(&changing{[]page.Repository{first, second, third}})
	var shown []string
	for range 3 {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		shown = append(shown, answer.Body.String())
	}
	saysNot(t, shown[1], "Second")
	says(t, shown[2], "Third")
}

func BenchmarkPageThatChangesEachTime(b *testing.B) {
	repository := bank(b)
	for b.Loop() {
		answer := httptest.NewRecorder()
		page.Handler(source(repository)).ServeHTTP(answer, httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil))
	}
}

// A CA certificate that came along with an import is not offered as one to trust, and not
// shown above the CAs at work.
func TestTrustIsAskedForTheRootOfAWorkingCAAlone(t *testing.T) {
	repository := bank(t)
	stranger := newAuthority(t, "A Stranger Root", ecKey(t), nil)
	repository.Issuers = append([]page.Issuer{{ID: "stranger", Name: "a-stranger", Certificate: stranger.certificate}}, repository.Issuers...)
	body := text(t, repository)
	require.Contains(t, body, "update-ca-certificates")
	require.Contains(t, body, "curl -fsSO http://pki.example.com/ca/root.pem")
	require.NotContains(t, body, "curl -fsSO http://pki.example.com/ca/a-stranger.pem")
	for i := range repository.Issuers {
		repository.Issuers[i].Signs = false
	}
	require.NotContains(t, text(t, repository), "update-ca-certificates", "no CA is at work")

	orphan := bank(t)
	orphan.Issuers = orphan.Issuers[:2] // without the root
	body = text(t, orphan)
	require.NotContains(t, body, "update-ca-certificates")
	require.Contains(t, body, "Is this certificate revoked?")
}

func TestEveryCAStandsBelowTheOneThatIssuedIt(t *testing.T) {
	repository := bank(t)
	other := newAuthority(t, "Other Root", ecKey(t), nil)
	below := newAuthority(t, "Other Issuing", ecKey(t), &other)
	repository.Issuers = append(repository.Issuers,
		page.Issuer{ID: "9", Name: "z-below", Certificate: below.certificate, Signs: true}, page.Issuer{ID: "8", Name: "a-other", Certificate: other.certificate})
	body := text(t, repository)
	at := -1
	for _, title := range []string{"Other Root", "Other Issuing", "Example Bank Root CA 2025", "Example Bank People CA 1", "Example Bank Server CA 3"} {
		next := strings.Index(body, `-title">`+title+`</h3>`)
		require.Greater(t, next, at, title)
		at = next
	}
}

func TestTheWholeChainIsCheckedAgainstTheListOfEachCA(t *testing.T) {
	body := text(t, bank(t))
	require.Contains(t, body, "openssl verify -crl_check_all -CAfile bundle.pem -CRLfile lists.pem server.pem")
	require.Contains(t, body, "cat people.crl.pem root.crl.pem >lists.pem")
	require.NotContains(t, body, "-crl_check -CAfile")
	repository := bank(t)
	repository.Issuers[2].Lists = nil // the root's
	body = text(t, repository)
	require.NotContains(t, body, "-crl_check_all")
	require.Contains(t, body, "openssl verify -crl_check -CAfile bundle.pem -CRLfile list.pem server.pem")
}

func TestACAThatExpiresSoonIsMarked(t *testing.T) {
	repository := bank(t)
	require.NotContains(t, text(t, repository), "expires soon")
	repository.Now = repository.Issuers[0].Certificate.NotAfter.AddDate(0, 0, -89)
	require.Contains(t, text(t, repository), `<span class="tag warn">expires soon</span>`)
}
