package paths

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const ocspHelp = `
Answers one OCSP request (RFC 6960) that comes as base64 in the path, with the
signature of a delegated responder and from memory alone. Requests by POST do not
reach a plugin; pki-edge takes them. The HTTP status is always 200: refusals are
OCSP answers.
`

type ocspInput struct {
	Request string `json:"req" in:"path" max:"98304" doc:"OCSP request in DER, base64."`
}

func (m *mount) ocspPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("ocsp/(?P<req>.+)", "Ask for the status of a certificate.", ocspHelp,
			schema.Read("Answer an OCSP request.", m.answerOCSP)),
	}
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
