package serve

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
)

// requestKind is what a request asked for.
type requestKind uint8

const (
	kindGET requestKind = iota
	kindPOST
	kindList
	kindCertificate
	kindPage
	kindOther
	kinds
)

var kindNames = [kinds]string{"ocsp-get", "ocsp-post", "crl", "ca", "page", "other"}

// statuses are those that the server answers with; others are counted as the last.
var statuses = [...]int{
	http.StatusOK, http.StatusPartialContent, http.StatusNotModified, http.StatusBadRequest, http.StatusNotFound,
	http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong,
	http.StatusRequestedRangeNotSatisfiable, http.StatusPreconditionFailed,
	http.StatusInternalServerError, http.StatusServiceUnavailable, 0,
}

// ocspStatuses are those of RFC 6960 section 4.2.1.
var ocspStatuses = map[ocsp.Status]string{
	ocsp.Successful: "successful", ocsp.MalformedRequest: "malformedRequest", ocsp.InternalError: "internalError",
	ocsp.TryLater: "tryLater", ocsp.Unauthorized: "unauthorized",
}

// maxStatus is the largest number of an OCSP status.
const maxStatus = 6

// counts are what a server has done since it was started.
type counts struct {
	requests [kinds][len(statuses)]atomic.Uint64
	answers  [maxStatus + 1]atomic.Uint64
}

// add counts a request.
func (c *counts) add(kind requestKind, status int) {
	for i, known := range statuses {
		if known == status || known == 0 {
			c.requests[kind][i].Add(1)
			return
		}
	}
}

// answered counts an OCSP response.
func (c *counts) answered(status ocsp.Status) {
	if int(status) <= maxStatus {
		c.answers[status].Add(1)
	}
}

// write writes the counts as Prometheus reads them.
func (c *counts) write(w io.Writer) {
	fmt.Fprintln(w, "# HELP pki_edge_requests_total HTTP requests by kind and status.")
	fmt.Fprintln(w, "# TYPE pki_edge_requests_total counter")
	for kind := range c.requests {
		for i := range statuses {
			if n := c.requests[kind][i].Load(); n > 0 {
				fmt.Fprintf(w, "pki_edge_requests_total{kind=%q,status=\"%d\"} %d\n", kindNames[kind], statuses[i], n)
			}
		}
	}
	fmt.Fprintln(w, "# HELP pki_edge_ocsp_responses_total OCSP responses by response status (RFC 6960).")
	fmt.Fprintln(w, "# TYPE pki_edge_ocsp_responses_total counter")
	for status := range ocsp.Status(maxStatus + 1) {
		if name, known := ocspStatuses[status]; known {
			fmt.Fprintf(w, "pki_edge_ocsp_responses_total{status=%q} %d\n", name, c.answers[status].Load())
		}
	}
}
