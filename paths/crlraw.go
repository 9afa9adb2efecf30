package paths

import (
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

// crlForm is how a CRL is written in a raw answer.
type crlForm struct {
	contentType string
	body        func(der []byte) []byte
}

var (
	asDER = crlForm{"application/pkix-crl", func(der []byte) []byte { return der }}
	asPEM = crlForm{"application/x-pem-file", func(der []byte) []byte { return []byte(crlPEM(der)) }}
)

func crlPEM(der []byte) string {
	if der == nil {
		return ""
	}
	return pemBlock("X509 CRL", der)
}

// rawCRL answers with a list, or with 304 to a client that has it. The headers for that
// reach and leave the plugin only where the mount is tuned so (passthrough_request_headers
// and allowed_response_headers); without them every answer is a whole one.
func (m *mount) rawCRL(call *schema.Call, found list, form crlForm) schema.Raw {
	if found.der == nil {
		return nothing(form.contentType)
	}
	answer := schema.Raw{ContentType: form.contentType, CacheControl: m.until(found.head.NextUpdate)}
	tag := `"` + hex.EncodeToString(found.head.SHA256[:16]) + `"`
	call.Edit(func(response *logical.Response) {
		if response.Headers == nil {
			response.Headers = map[string][]string{}
		}
		response.Headers["ETag"] = []string{tag}
		// In the second of its making another list may follow with the same time (RFC
		// 9110 section 8.8.2.2).
		if m.now().Truncate(time.Second).After(found.head.ThisUpdate) {
			response.Headers["Last-Modified"] = []string{found.head.ThisUpdate.UTC().Format(http.TimeFormat)}
		}
	})
	if unchanged(call.Request.Headers, tag, found.head.ThisUpdate) {
		answer.Status = http.StatusNotModified
		return answer
	}
	answer.Body = form.body(found.der)
	return answer
}

// unchanged evaluates the preconditions of a GET (RFC 9110 section 13.2.2): If-None-Match
// decides alone where it is given.
func unchanged(headers map[string][]string, tag string, modified time.Time) bool {
	if tags := header(headers, "If-None-Match"); len(tags) > 0 {
		return slices.ContainsFunc(strings.Split(strings.Join(tags, ","), ","), func(given string) bool {
			given = strings.TrimSpace(given)
			return given == "*" || strings.TrimPrefix(given, "W/") == tag
		})
	}
	dates := header(headers, "If-Modified-Since")
	if len(dates) != 1 {
		return false
	}
	since, err := http.ParseTime(dates[0])
	return err == nil && !modified.After(since)
}

// header returns the values of a header, however Vault has spelled its name.
func header(headers map[string][]string, name string) []string {
	for key, values := range headers {
		if strings.EqualFold(key, name) {
			return values
		}
	}
	return nil
}
