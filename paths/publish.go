package paths

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const crlHelp = `
A CRL is kept as it was signed and served without signing again. crl is that of
the default issuer, issuer/:ref/crl that of another one; empty while there is none.
`

const ocspHelp = `
Answers one OCSP request (RFC 6960) that comes as base64 in the path, with the
signature of a delegated responder and from memory alone. Requests by POST do not
reach a plugin; pki-edge takes them. The HTTP status is always 200: refusals are
OCSP answers.
`

const crlType = "application/pkix-crl"

type crlAnswer struct {
	CRL string `json:"crl" doc:"The CRL in PEM."`
}

type rotateAnswer struct {
	Success bool `json:"success" doc:"Always true: a failure is an error."`
}

type ocspInput struct {
	Request string `json:"req" in:"path" max:"98304" doc:"OCSP request in DER, base64."`
}

func (m *mount) publishPaths() []*framework.Path {
	named := "issuer/" + schema.Segment("issuer_ref")
	return []*framework.Path{
		schema.Path("ocsp/(?P<req>.+)", "Ask for the status of a certificate.", ocspHelp,
			schema.Read("Answer an OCSP request.", m.answerOCSP)),
		schema.Path("crl", "Fetch the default issuer's CRL in DER.", crlHelp,
			schema.Read("Fetch the CRL in DER.", m.fetchCRL)),
		schema.Path("crl/pem", "Fetch the default issuer's CRL in PEM.", crlHelp,
			schema.Read("Fetch the CRL in PEM.", m.fetchCRLPEM)),
		schema.Path("crl/rotate", "Make all CRLs anew.", crlHelp,
			schema.Read("Make all CRLs anew: a GET that writes, for clients of the built-in engine.", m.rotateCRL),
			schema.Write("Make all CRLs anew.", m.rotateCRL)),
		schema.Path(named+"/crl", "Read an issuer's CRL.", crlHelp,
			schema.Read("Read the CRL in PEM.", m.readIssuerCRL)),
		schema.Path(named+"/crl/der", "Fetch an issuer's CRL in DER.", crlHelp,
			schema.Read("Fetch the CRL in DER.", m.fetchIssuerCRL)),
		schema.Path(named+"/crl/pem", "Fetch an issuer's CRL in PEM.", crlHelp,
			schema.Read("Fetch the CRL in PEM.", m.fetchIssuerCRLPEM)),
	}
}

// nothing is the answer for an object that is not there yet. Clients of the built-in
// engine take an error for a broken server.
func nothing(contentType string) schema.Raw {
	return schema.Raw{Status: http.StatusNoContent, ContentType: contentType}
}

// issuerCRL returns an issuer's CRL. One without a list, such as a root whose key is
// elsewhere, is answered with status 500 and the built-in engine's words: its clients
// take an empty list for a broken one.
func (m *mount) issuerCRL(ctx context.Context, ref string) (list, error) {
	i, err := m.published(ctx, ref)
	if err != nil {
		return list{}, err
	}
	found, err := m.listOf(ctx, i.ID())
	if err == nil && found.der == nil {
		return list{}, fault.New(fault.Internal, "unable to find CRL for issuer: %s", i.ID())
	}
	return found, err
}

// list is a CRL and how long it may be cached.
type list struct {
	der   []byte
	cache string // Cache-Control
}

// listOf returns an issuer's CRL, the zero list when it has none.
func (m *mount) listOf(ctx context.Context, id string) (list, error) {
	der, head, err := m.engine.CRL.Get(ctx, id)
	if err != nil || der == nil {
		return list{}, err
	}
	return list{der: der, cache: m.until(head.NextUpdate)}, nil
}

// defaultCRL returns the default issuer's CRL, the zero list when there is none.
func (m *mount) defaultCRL(ctx context.Context) (list, error) {
	i, err := m.defaultIssuer(ctx)
	if i == nil {
		return list{}, err
	}
	return m.listOf(ctx, i.ID())
}

// until is the Cache-Control of what is true until a time. A list is replaced when
// something is revoked, so caches ask again after a minute at most.
func (m *mount) until(end time.Time) string {
	age := min(end.Sub(m.now()), time.Minute)
	if age <= 0 {
		return "no-store"
	}
	return fmt.Sprintf("public, max-age=%d, no-transform", age/time.Second)
}

func (m *mount) fetchCRL(ctx context.Context, _ *schema.Call, _ schema.None) (schema.Raw, error) {
	return rawCRL(m.defaultCRL(ctx))
}

func (m *mount) fetchCRLPEM(ctx context.Context, _ *schema.Call, _ schema.None) (schema.Raw, error) {
	return rawCRLPEM(m.defaultCRL(ctx))
}

func (m *mount) fetchIssuerCRL(ctx context.Context, _ *schema.Call, in issuerRef) (schema.Raw, error) {
	return rawCRL(m.issuerCRL(ctx, in.Ref))
}

func (m *mount) fetchIssuerCRLPEM(ctx context.Context, _ *schema.Call, in issuerRef) (schema.Raw, error) {
	return rawCRLPEM(m.issuerCRL(ctx, in.Ref))
}

func (m *mount) readIssuerCRL(ctx context.Context, _ *schema.Call, in issuerRef) (crlAnswer, error) {
	found, err := m.issuerCRL(ctx, in.Ref)
	return crlAnswer{CRL: crlPEM(found.der)}, err
}

func (m *mount) readCertCRL(ctx context.Context, _ *schema.Call, _ schema.None) (*pemAnswer, error) {
	found, err := m.defaultCRL(ctx)
	if found.der == nil {
		return nil, err
	}
	return &pemAnswer{Certificate: crlPEM(found.der)}, nil
}

func rawCRL(found list, err error) (schema.Raw, error) {
	if found.der == nil {
		return nothing(crlType), err
	}
	return schema.Raw{ContentType: crlType, CacheControl: found.cache, Body: found.der}, nil
}

func rawCRLPEM(found list, err error) (schema.Raw, error) {
	if found.der == nil {
		return nothing("application/x-pem-file"), err
	}
	return schema.Raw{ContentType: "application/x-pem-file", CacheControl: found.cache, Body: []byte(crlPEM(found.der))}, nil
}

func crlPEM(der []byte) string {
	if der == nil {
		return ""
	}
	return pemBlock("X509 CRL", der)
}

func (m *mount) rotateCRL(ctx context.Context, _ *schema.Call, _ schema.None) (rotateAnswer, error) {
	if err := m.engine.CRL.RebuildAll(ctx); err != nil {
		return rotateAnswer{}, fmt.Errorf("rebuilding CRLs: %w", err)
	}
	return rotateAnswer{Success: true}, nil
}

// answerOCSP takes the request as RFC 6960 appendix A.1 writes it, padded or not.
func (m *mount) answerOCSP(_ context.Context, _ *schema.Call, in ocspInput) (schema.Raw, error) {
	text := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", " ", "+").Replace(in.Request), "=")
	request, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		request = nil // answered as malformed, which is not for HTTP to say
	}
	response, maxAge := m.engine.OCSP.Answer(request)
	answer := schema.Raw{ContentType: "application/ocsp-response", Body: response, CacheControl: "no-store"}
	if maxAge > 0 {
		answer.CacheControl = fmt.Sprintf("public, max-age=%d, no-transform", maxAge/time.Second)
	}
	return answer, nil
}
