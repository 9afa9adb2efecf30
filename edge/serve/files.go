package serve

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/edge/state"
)

// maxListAge is the longest that a list may be kept without asking whether there is a
// newer one: revocations appear before nextUpdate.
const maxListAge = 5 * time.Minute

// leastTime is what the reader of a list has in any case, and slowestReader how many
// octets of it in a second it has to take beyond that.
const (
	leastTime     = time.Minute
	slowestReader = 16 << 10
)

// certificateAge is how long CA certificates may be kept.
const certificateAge = time.Hour

// target is what is at a path: a list, or octets that do not change.
type target struct {
	list     *state.List // nil: content
	content  []byte
	kind     string // media type
	tag      string // ETag
	modified time.Time
}

func pemOf(certificates ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, certificate := range certificates {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}) // a buffer takes all
	}
	return b.Bytes()
}

// The object identifiers 1.2.840.113549.1.7.2 and 1.2.840.113549.1.7.1, as DER has
// their content.
var (
	oidSignedData = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}
	oidData       = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01}
)

// certsOnly returns a degenerate SignedData that holds certificates and nobody's
// signature (RFC 2315 section 9, RFC 8551 section 3.8), as id-ad-caIssuers may lead
// to (RFC 5280 section 4.2.2.1).
func certsOnly(certificates []*x509.Certificate) []byte {
	var sorted [][]byte
	for _, certificate := range certificates {
		sorted = append(sorted, certificate.Raw)
	}
	// DER sorts a SET OF.
	slices.SortFunc(sorted, func(a, b []byte) int { return cmp.Or(bytes.Compare(a, b), cmp.Compare(len(a), len(b))) })
	first := asn1.Tag(0).Constructed().ContextSpecific()
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(oidSignedData) })
		b.AddASN1(first, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(asn1.SET, func(*cryptobyte.Builder) {})
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(oidData) })
				})
				b.AddASN1(first, func(b *cryptobyte.Builder) {
					for _, der := range sorted {
						b.AddBytes(der)
					}
				})
				b.AddASN1(asn1.SET, func(*cryptobyte.Builder) {})
			})
		})
	})
	return b.BytesOrPanic() // nothing in it can be too long for DER
}

// file serves a list or a certificate.
func (s *Server) file(w http.ResponseWriter, r *http.Request, found target) {
	header := w.Header()
	header.Set("Content-Type", found.kind)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Etag", found.tag)
	counted := &counting{ResponseWriter: w, status: http.StatusOK}
	if found.list == nil {
		header.Set("Cache-Control", maxAge(certificateAge))
		http.ServeContent(counted, r, "", found.modified, bytes.NewReader(found.content))
		s.counts.add(kindCertificate, counted.status)
		return
	}
	s.list(counted, r, found)
}

// list serves a CRL from disk, parts of it and 304 included.
func (s *Server) list(w *counting, r *http.Request, found target) {
	file, err := s.config.OpenList(found.list.SHA256)
	if err != nil {
		s.config.Log.Error("a list that is held cannot be opened", "error", err)
		w.Header().Del("Etag")
		s.refuse(w, kindList, http.StatusServiceUnavailable, "the list cannot be read")
		return
	}
	defer file.Close()
	left := found.list.NextUpdate.Sub(s.config.Now())
	w.Header().Set("Cache-Control", maxAge(max(min(left, maxListAge), 0)))
	// A list may be large and its reader slow, but not as slow as can be: connections
	// are counted.
	deadline := s.config.Now().Add(leastTime + time.Duration(found.list.Size/slowestReader)*time.Second)
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(deadline) // not every writer has one
	http.ServeContent(w, r, "", found.modified, file)
	s.counts.add(kindList, w.status)
}

func maxAge(age time.Duration) string {
	return "public, max-age=" + strconv.Itoa(int(age/time.Second)) + ", must-revalidate"
}

// counting notes the status of a response.
type counting struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status.
func (c *counting) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

// ReadFrom lets the kernel send files (sendfile(2)), as the writer below would.
func (c *counting) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.ResponseWriter, r) }

// Unwrap gives http.ResponseController what it works on.
func (c *counting) Unwrap() http.ResponseWriter { return c.ResponseWriter }
