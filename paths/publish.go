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
Responds to an OCSP request (RFC 6960) that is base64 in the path. A delegated responder
signs the response. Vault does not pass requests by POST to a plugin; pki-edge accepts
them. The HTTP status is always 200: errors are OCSP responses.
`

type ocspInput struct {
	Request string `json:"req" in:"path" max:"98304" doc:"OCSP request in DER, base64."`
}

func (m *mount) ocspPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("ocsp/(?P<req>.+)", "Send an OCSP request.", ocspHelp,
			schema.Read("Send an OCSP request.", m.answerOCSP)),
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
