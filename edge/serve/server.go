// Package serve promises answers over plain HTTP that cost the same whoever asks: OCSP
// by GET and POST, CRLs and CA certificates with the headers that let caches work
// (RFC 5019, RFC 9110), health and metrics. Requests are capped before they are read,
// nothing is looked for outside of memory and the folder of copies, and nothing that a
// client sends is repeated to it.
package serve

import (
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

// Config says what a Server serves. A nil Log discards.
type Config struct {
	Snapshot func() *state.Snapshot
	Answerer *ocsp.Answerer
	// OpenList opens a list by its SHA-256 in hexadecimal.
	OpenList func(digest string) (*os.File, error)
	// SignerEnds returns when the OCSP signer of an issuer ends, zero when it has none.
	SignerEnds func(issuer string) time.Time
	// Polls returns how often the mount was asked, and how often that failed.
	Polls func() (polls, failures uint64)
	// Failure returns why the mount could not be followed the last time, nil when it could.
	Failure func() error
	// Page serves the repository page at "/"; nil: there is none.
	Page http.Handler
	// Metrics writes further metrics, nil: there are none.
	Metrics func(io.Writer)
	// MetricsApart takes /metrics away: the handler of Server.Metrics has it.
	MetricsApart bool
	Version      string
	Log          hclog.Logger
	Now          func() time.Time
}

// Server is the http.Handler of an edge.
type Server struct {
	config Config
	routes atomic.Pointer[routes]
	counts counts
}

// New returns a server.
func New(config Config) *Server {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	return &Server{config: config}
}

// ServeHTTP routes by hand: http.ServeMux would redirect OCSP requests whose base64
// has "//" in it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if cause := recover(); cause != nil {
			if cause == http.ErrAbortHandler { //nolint:errorlint // a value, not an error chain
				panic(cause)
			}
			s.panicked(w, cause)
		}
	}()
	path := r.URL.Path
	if text, below := strings.CutPrefix(path, ocspPath); below && (text == "" || text[0] == '/') {
		s.ocsp(w, r, text)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.post(w, r)
		return
	}
	switch {
	case path == "/healthz":
		s.healthy(w)
	case path == "/readyz":
		s.ready(w)
	case path == "/metrics" && !s.config.MetricsApart:
		s.metrics(w)
	case path == "/metrics":
		s.refuse(w, kindOther, http.StatusNotFound, "metrics are on a listener of their own")
	case path == "/" && s.config.Page != nil:
		s.counts.add(kindPage, http.StatusOK)
		s.config.Page.ServeHTTP(w, r)
	default:
		s.found(w, r)
	}
}

// Metrics returns the handler of a listener for operators alone: metrics and health.
func (s *Server) Metrics() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { s.metrics(w) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { s.healthy(w) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { s.ready(w) })
	return mux
}

// found answers at the paths that issuers and certificates give: those of files, then
// those of responders.
func (s *Server) found(w http.ResponseWriter, r *http.Request) {
	snapshot := s.config.Snapshot()
	if snapshot.Issuers == nil {
		w.Header().Set("Retry-After", "5")
		s.refuse(w, kindOther, http.StatusServiceUnavailable, "nothing is known yet: no copies on disk, and Vault has not answered")
		return
	}
	routes := s.current(snapshot)
	if file, found := routes.files[r.URL.Path]; found {
		s.file(w, r, file)
		return
	}
	if text, found := routes.request(r.URL.Path); found && strings.Trim(text, "/") != "" {
		s.ocsp(w, r, text)
		return
	}
	s.refuse(w, kindOther, http.StatusNotFound, "nothing is published at this path")
}

// post answers what is no GET or HEAD: only an OCSP request to the URL of a responder.
func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	if snapshot := s.config.Snapshot(); r.Method == http.MethodPost && snapshot.Issuers != nil {
		if text, found := s.current(snapshot).request(r.URL.Path); found && strings.Trim(text, "/") == "" {
			s.ocsp(w, r, text)
			return
		}
	}
	w.Header().Set("Allow", "GET, HEAD")
	s.refuse(w, kindOther, http.StatusMethodNotAllowed, "this path takes only GET and HEAD")
}

// refuse answers with a status and a sentence of ours.
func (s *Server) refuse(w http.ResponseWriter, kind requestKind, status int, text string) {
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // who asked may be gone
	s.counts.add(kind, status)
}
