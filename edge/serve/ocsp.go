package serve

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
)

const (
	ocspPath = "/ocsp"
	// maxGET is the longest base64 of a request in a path, in octets: several times what
	// 16 CertIDs take.
	maxGET = 4 << 10
	// maxPOST is the longest request in a body, in octets.
	maxPOST = ocsp.MaxRequest
)

// buffers hold requests while they are answered. The answerer keeps none of them.
var buffers = sync.Pool{New: func() any { return new([maxGET]byte) }}

// ocsp answers a request by GET or POST (RFC 6960 appendix A, RFC 5019 section 5). Text is
// what follows the responder's path.
func (s *Server) ocsp(w http.ResponseWriter, r *http.Request, text string) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		buffer, _ := buffers.Get().(*[maxGET]byte) // nothing else is put there
		defer buffers.Put(buffer)
		s.ocspGET(w, r, text, buffer[:])
	case http.MethodPost:
		s.ocspPOST(w, r, text)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		s.refuse(w, kindGET, http.StatusMethodNotAllowed, "only GET, HEAD and POST here")
	}
}

func (s *Server) ocspGET(w http.ResponseWriter, r *http.Request, text string, buffer []byte) {
	if len(text) > maxGET {
		s.refuse(w, kindGET, http.StatusRequestURITooLong, "the request is too long")
		return
	}
	request, ok := decodePath(buffer, text)
	if !ok {
		w.WriteHeader(s.head(w, kindGET, http.StatusBadRequest, ocsp.MalformedRequest.Response()))
		_, _ = w.Write(ocsp.MalformedRequest.Response()) // who asked may be gone
		return
	}
	answer := s.config.Answerer.Answer(request)
	header := w.Header()
	if answer.Status == ocsp.Successful && answer.MaxAge > 0 {
		// RFC 5019 section 6.2.
		sum := sha256.Sum256(answer.DER)
		tag := `"` + hex.EncodeToString(sum[:16]) + `"`
		header["Last-Modified"] = []string{httpTime(answer.ThisUpdate)}
		header["Etag"] = []string{tag}
		// Cache-Control is what caches of our day follow, and Expires says no other.
		header["Expires"] = []string{httpTime(s.config.Now().Add(answer.MaxAge))}
		header["Cache-Control"] = []string{"max-age=" + strconv.Itoa(int(answer.MaxAge/time.Second)) + ", public, no-transform, must-revalidate"}
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			s.counts.add(kindGET, http.StatusNotModified)
			return
		}
	} else {
		header["Cache-Control"] = noStore
	}
	s.say(w, r, kindGET, answer)
}

var (
	noStore      = []string{"no-store"}
	responseType = []string{"application/ocsp-response"}
)

func (s *Server) ocspPOST(w http.ResponseWriter, r *http.Request, text string) {
	if strings.Trim(text, "/") != "" {
		s.refuse(w, kindPOST, http.StatusNotFound, "POST the request to the responder's URL itself, nothing after it")
		return
	}
	if r.ContentLength > maxPOST {
		w.Header().Set("Connection", "close") // nothing of it is read
		s.refuse(w, kindPOST, http.StatusRequestEntityTooLarge, "the request is too long")
		return
	}
	request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPOST))
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		s.refuse(w, kindPOST, http.StatusRequestEntityTooLarge, "the request is too long")
		return
	}
	if err != nil {
		s.refuse(w, kindPOST, http.StatusBadRequest, "the request was cut short")
		return
	}
	w.Header()["Cache-Control"] = noStore
	s.say(w, r, kindPOST, s.config.Answerer.Answer(request))
}

// say sends an answer. Its status is in it: HTTP's is 200 (RFC 6960 appendix A.2).
func (s *Server) say(w http.ResponseWriter, r *http.Request, kind requestKind, answer ocsp.Answer) {
	s.counts.answered(answer.Status)
	w.WriteHeader(s.head(w, kind, http.StatusOK, answer.DER))
	if r.Method != http.MethodHead {
		_, _ = w.Write(answer.DER) // who asked may be gone
	}
}

// head sets the headers that every OCSP response has, and counts it.
func (s *Server) head(w http.ResponseWriter, kind requestKind, status int, der []byte) int {
	header := w.Header()
	header["Content-Type"] = responseType
	header["Content-Length"] = []string{strconv.Itoa(len(der))}
	s.counts.add(kind, status)
	return status
}

// decodePath decodes the part of a path that is a request. net/http has undone one
// percent-encoding; what else clients and proxies do to base64 is undone here: slashes
// before it, a second percent-encoding, "+" as a space, no padding. A DER SEQUENCE
// begins with 0x30, so that no base64 of one begins with a slash.
func decodePath(buffer []byte, text string) ([]byte, bool) {
	text = strings.TrimLeft(text, "/")
	if strings.Contains(text, "%") {
		text = undoPercent.Replace(text)
	}
	if strings.Contains(text, " ") {
		text = strings.ReplaceAll(text, " ", "+")
	}
	text = strings.TrimRight(text, "=")
	if text == "" || base64.RawStdEncoding.DecodedLen(len(text)) > len(buffer) || strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	n, err := base64.RawStdEncoding.Decode(buffer, []byte(text))
	return buffer[:n], err == nil
}

// undoPercent undoes the percent-encoding of what base64 has beside letters and digits.
var undoPercent = strings.NewReplacer("%2B", "+", "%2b", "+", "%2F", "/", "%2f", "/", "%3D", "=", "%3d", "=")

// httpTime returns a time as HTTP headers have it.
func httpTime(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// panicked answers when a request has met a defect.
func (s *Server) panicked(w http.ResponseWriter, cause any) {
	what, stack := fault.Panicked(cause)
	s.config.Log.Error("answering a request panicked", "cause", what, "stack", stack)
	s.refuse(w, kindOther, http.StatusInternalServerError, "internal error")
}
