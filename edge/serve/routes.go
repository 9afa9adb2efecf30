package serve

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

// routes are the paths that a snapshot's issuers give; immutable.
type routes struct {
	issuers []*state.Issuer // what they were made of
	files   map[string]target
	// ocsp are the paths, without a slash at the end, at which certificates say that the
	// responder is; the longest first, "" for the root.
	ocsp []string
}

// current returns the routes of the snapshot.
func (s *Server) current(snapshot *state.Snapshot) *routes {
	known := s.routes.Load()
	if known != nil && slices.Equal(known.issuers, snapshot.Issuers) {
		return known
	}
	made := newRoutes(snapshot.Issuers)
	s.routes.Store(made)
	return made
}

// newRoutes makes the paths of issuers by name and by id, and those that certificates
// name. A path that is taken stays: ids come first, then names in the order of the
// mount, then the URLs of the present settings, then those that CA certificates name,
// then those of earlier settings.
func newRoutes(issuers []*state.Issuer) *routes {
	r := &routes{issuers: issuers, files: map[string]target{}}
	r.bundle(issuers)
	for _, issuer := range issuers {
		r.issuer(issuer.ID, issuer)
	}
	for _, issuer := range issuers {
		if issuer.Name != "" {
			r.issuer(issuer.Name, issuer)
		}
	}
	for _, issuer := range issuers {
		r.named(issuer, func(url string) bool { return !issuer.URLs.Earlier[url] })
	}
	for _, issuer := range issuers {
		r.above(issuer)
	}
	for _, issuer := range issuers {
		r.named(issuer, func(url string) bool { return issuer.URLs.Earlier[url] })
	}
	slices.SortFunc(r.ocsp, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	r.ocsp = slices.Compact(r.ocsp)
	return r
}

// named adds what certificates of an issuer name, as far as a rule wants it.
func (r *routes) named(issuer *state.Issuer, wanted func(url string) bool) {
	for _, url := range issuer.URLs.OCSP {
		r.responder(url)
	}
	for _, url := range issuer.URLs.CAIssuers {
		if wanted(url) {
			r.certificate(url, issuer.Certificate)
		}
	}
	for k := range issuer.Lists {
		for _, url := range issuer.Lists[k].URLs {
			if wanted(url) {
				r.list(pathOf(url), &issuer.Lists[k])
			}
		}
	}
}

// above adds what the certificates of an issuer and of the CAs above it name
// themselves: the CRL, the responder and the certificate of the CA that signed each.
func (r *routes) above(issuer *state.Issuer) {
	chain := append([]*x509.Certificate{issuer.Certificate}, issuer.Chain...)
	for k, certificate := range chain {
		for _, url := range certificate.OCSPServer {
			r.responder(url)
		}
		parent := certificate // a root
		if !cert.SelfIssued(certificate) {
			if k+1 == len(chain) {
				continue
			}
			parent = chain[k+1]
		}
		for _, url := range certificate.IssuingCertificateURL {
			r.certificate(url, parent)
		}
		lists := map[string][]string{"complete": certificate.CRLDistributionPoints, "delta": freshest(certificate)}
		for _, other := range r.issuers {
			if cert.AuthorityID(other.Certificate) != cert.AuthorityID(parent) {
				continue
			}
			for name, urls := range lists {
				if list := other.Find(name); list != nil {
					for _, url := range urls {
						r.list(pathOf(url), list)
					}
				}
			}
		}
	}
}

// freshest returns the URLs of delta CRLs that a certificate names (RFC 5280 section
// 4.2.1.15).
func freshest(certificate *x509.Certificate) []string {
	for _, extension := range certificate.Extensions {
		if extension.Id.String() == "2.5.29.46" {
			return cert.ParsePoints(extension.Value)
		}
	}
	return nil
}

// pathOf returns the path of a URL, "" for what has none to put a file at.
func pathOf(text string) string {
	if parsed, err := url.Parse(text); err == nil && parsed.Path != "/" && parsed.Opaque == "" && strings.HasPrefix(parsed.Scheme, "http") {
		return parsed.Path
	}
	return ""
}

// put adds a file. The first one at a path stays.
func (r *routes) put(path string, t target) {
	if _, taken := r.files[path]; !taken && path != "" {
		r.files[path] = t
	}
}

func (r *routes) list(path string, list *state.List) {
	r.put(path, target{list: list, kind: "application/pkix-crl", tag: `"` + list.SHA256 + `"`, modified: list.ThisUpdate})
}

func (r *routes) static(path, kind string, content []byte, modified time.Time) {
	sum := sha256.Sum256(content)
	r.put(path, target{content: content, kind: kind, tag: `"` + hex.EncodeToString(sum[:16]) + `"`, modified: modified})
}

// The media types of certificates (RFC 2585 section 4.1, RFC 8551 section 3.2).
const (
	typeDER       = "application/pkix-cert"
	typePEM       = "application/x-pem-file"
	typeCertsOnly = "application/pkcs7-mime; smime-type=certs-only"
)

// certificate adds a CA certificate at the URL of a caIssuers: DER, or certs-only where
// the name says so (RFC 5280 section 4.2.2.1). PEM is against the RFC, but what a name
// that ends in "pem" promises.
func (r *routes) certificate(url string, certificate *x509.Certificate) {
	switch path := pathOf(url); {
	case strings.HasSuffix(path, ".pem"), strings.HasSuffix(path, "/pem"):
		r.static(path, typePEM, pemOf(certificate), certificate.NotBefore)
	case strings.HasSuffix(path, ".p7c"), strings.HasSuffix(path, ".p7b"):
		r.static(path, typeCertsOnly, certsOnly([]*x509.Certificate{certificate}), certificate.NotBefore)
	default:
		r.static(path, typeDER, certificate.Raw, certificate.NotBefore)
	}
}

// responder has OCSP answered at the path of a URL, and below it (RFC 6960 appendix A).
func (r *routes) responder(text string) {
	if parsed, err := url.Parse(text); err == nil && parsed.Host != "" {
		r.ocsp = append(r.ocsp, strings.TrimRight(parsed.Path, "/"))
	}
}

// request returns what of a path is the OCSP request, or empty when the path is that of a
// responder itself; false when the path is none of a responder.
func (r *routes) request(path string) (text string, found bool) {
	for _, prefix := range r.ocsp {
		rest, below := strings.CutPrefix(path, prefix)
		switch {
		case !below || rest != "" && rest[0] != '/':
		case prefix != "" || strings.Trim(rest, "/") == "" || beginsRequest(rest):
			return rest, true
		}
	}
	return "", false
}

// beginsRequest reports whether a path could be the base64 of an OCSP request: a DER
// SEQUENCE begins with 0x30, and its base64 with M. At the root of a host it decides
// whether there is nothing or a malformed request.
func beginsRequest(path string) bool { return strings.HasPrefix(strings.TrimLeft(path, "/"), "M") }

// issuer adds the files of an issuer under its id or its name.
func (r *routes) issuer(name string, issuer *state.Issuer) {
	own := issuer.Certificate
	r.static("/ca/"+name+".cer", typeDER, own.Raw, own.NotBefore)
	r.static("/ca/"+name+".pem", typePEM, pemOf(own), own.NotBefore)
	chain := append([]*x509.Certificate{own}, issuer.Chain...)
	r.static("/ca/"+name+".p7c", typeCertsOnly, certsOnly(chain), own.NotBefore)
	for k := range issuer.Lists {
		list := &issuer.Lists[k]
		switch list.Name() {
		case "complete":
			r.list("/crl/"+name+".crl", list)
		case "delta":
			r.list("/crl/"+name+"-delta.crl", list)
		default:
			r.list("/crl/"+name+"/"+list.Shard+".crl", list)
		}
	}
}

// bundle adds the files with every CA certificate there is.
func (r *routes) bundle(issuers []*state.Issuer) {
	var all []*x509.Certificate
	var newest time.Time
	for _, issuer := range issuers {
		for _, certificate := range append([]*x509.Certificate{issuer.Certificate}, issuer.Chain...) {
			if !slices.ContainsFunc(all, certificate.Equal) {
				all = append(all, certificate)
			}
			if certificate.NotBefore.After(newest) {
				newest = certificate.NotBefore
			}
		}
	}
	r.static("/ca/bundle.pem", typePEM, pemOf(all...), newest)
	r.static("/ca/bundle.p7c", typeCertsOnly, certsOnly(all), newest)
}
