// Package page promises the repository page of an edge: what RFC 3647 section 4.2
// calls the repository, in one HTML document that anybody can read. It shows the CA
// certificates with their fingerprints, the revocation lists, the policies, and how
// to check all of that with other software. There is no script in it, nothing is
// loaded from elsewhere, and what a name, a title or a header says is shown as text,
// whatever it says.
package page

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Source is where a page takes its content.
type Source interface {
	// Repository returns what the edge serves now. The page does not change what it
	// gets, nor may the source afterwards. It must cost no more than a look at memory:
	// everybody may ask.
	Repository() Repository
}

// Repository is what an edge serves at one moment.
type Repository struct {
	// Organization is whose repository it is, "" when nobody said.
	Organization string
	// BaseURL is where relying parties reach the edge, such as http://pki.example.com;
	// "" means wherever the browser found it.
	BaseURL   string
	Issuers   []Issuer
	Documents []Document
	// Synchronized is when the edge last heard from the CA, zero when it never did.
	Synchronized time.Time
	// StalenessLimit is how long after Synchronized fresh OCSP answers end; 0 is never.
	StalenessLimit time.Duration
	// Now is the moment of the snapshot.
	Now time.Time
}

// Issuer is one certification authority.
type Issuer struct {
	ID, Name    string // either of them names its files: /ca/<id or name>.cer
	Certificate *x509.Certificate
	OCSP        bool // whether this edge answers for it
	Signs       bool // whether its key is at work: its certificates are in use
	Lists       []List
}

// List is one revocation list as feed.List has it.
type List struct {
	Kind                   string // "complete", "delta" or "shard"
	Shard                  string // "8-3": the fourth of eight; else ""
	Number                 string // CRL number, decimal
	ThisUpdate, NextUpdate time.Time
	Size                   int // octets
}

// Document is a CP, a CPS or another text for relying parties.
type Document struct {
	Title string
	URL   string // http or https; anything else is shown without a link
}

//go:embed page.html
var markup string

//go:embed style.css
var style string

var document = template.Must(template.New("page").Funcs(template.FuncMap{
	"style": func() template.CSS { return template.CSS(style) }, //nolint:gosec // ours, embedded
	"table": func(title, suffix string, lists []list) table { return table{title, suffix, lists} },
	"file":  func(path string) string { return path[strings.LastIndexByte(path, '/')+1:] },
}).Parse(markup))

// policy lets the page's own style through by its digest, and nothing else.
var policy = func() string {
	digest := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) +
		"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// freshFor is how long a client may show a copy, and how long we do.
const freshFor = time.Second

// handler renders at most once a second for a base URL, however many ask.
type handler struct {
	source Source
	last   atomic.Pointer[rendered]
}

type rendered struct {
	base string
	at   time.Time
	tag  string
	body []byte
}

// Handler serves the page to GET and HEAD, whatever the path: the caller routes "/".
func Handler(source Source) http.Handler { return &handler{source: source} }

// ServeHTTP answers with the page, or with 304 when the client has it.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this page is read with GET or HEAD", http.StatusMethodNotAllowed)
		return
	}
	page, err := h.render(h.source.Repository(), r.Host)
	if err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-cache")
	header.Set("ETag", page.tag)
	if r.Header.Get("If-None-Match") == page.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(page.body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(page.body) // the client is gone: nothing to do
	}
}

func (h *handler) render(repository Repository, host string) (*rendered, error) {
	base := baseURL(repository.BaseURL, host)
	if last := h.last.Load(); last != nil && last.base == base {
		if age := repository.Now.Sub(last.at); age >= 0 && age < freshFor {
			return last, nil
		}
	}
	var body bytes.Buffer
	if err := document.Execute(&body, viewOf(repository, base)); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(body.Bytes())
	page := &rendered{base: base, at: repository.Now, tag: `"` + hex.EncodeToString(digest[:16]) + `"`, body: body.Bytes()}
	h.last.Store(page)
	return page, nil
}
