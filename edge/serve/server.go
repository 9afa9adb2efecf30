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
	// Page serves the repository page at "/"; nil: there is none.
	Page http.Handler
	// Metrics writes further metrics, nil: there are none.
	Metrics func(io.Writer)
	Version string
	Log     hclog.Logger
	Now     func() time.Time
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
	if path == ocspPath || strings.HasPrefix(path, ocspPath+"/") {
		s.ocsp(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.refuse(w, kindOther, http.StatusMethodNotAllowed, "only GET and HEAD here")
		return
	}
	switch {
	case path == "/healthz":
		s.healthy(w)
	case path == "/readyz":
		s.ready(w)
	case path == "/metrics":
		s.metrics(w)
	case strings.HasPrefix(path, "/ca/"), strings.HasPrefix(path, "/crl/"):
		s.file(w, r)
	case path == "/" && s.config.Page != nil:
		s.counts.add(kindPage, http.StatusOK)
		s.config.Page.ServeHTTP(w, r)
	default:
		s.file(w, r) // certificates may say that a list is at any path
	}
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
