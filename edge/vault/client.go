// Package vault promises an edge's side of the conversation with its mount: typed
// calls with caps and deadlines, a login that is kept alive and taken again when it
// is lost, and errors that say whether to wait, to ask anew or to ask an operator. It
// never repeats what was sent or answered in an error or a log.
//
// It speaks plain HTTP requests, not Vault's client library, which takes addresses,
// tokens and namespaces from VAULT_ variables that nobody gave to the edge.
package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/edge/config"
)

// maxAnswer is the largest answer that is read, in octets.
const maxAnswer = 64 << 20

// Client talks to one mount. All methods may be called at the same time.
type Client struct {
	config config.Vault
	now    func() time.Time
	http   *http.Client

	mu      sync.Mutex // held while logging in: one login at a time
	session session
}

// New returns a client that has not connected yet.
func New(config config.Vault, now func() time.Time) (*Client, error) {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, ServerName: config.ServerName},
	}
	if config.CAFile != "" {
		pem, err := os.ReadFile(config.CAFile)
		if err != nil {
			return nil, fault.Field("vault.ca_file", "cannot be read: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.Field("vault.ca_file", "holds no PEM certificate")
		}
	}
	return &Client{
		config: config, now: now,
		http: &http.Client{Transport: transport, Timeout: config.Timeout, CheckRedirect: redirected},
	}, nil
}

// Through makes requests go through a transport of the caller's: for what is no network.
func (c *Client) Through(transport http.RoundTripper) *Client {
	c.http.Transport = transport
	return c
}

// redirected follows a standby's one redirect to the active node, and never from TLS
// to clear text: the token goes with it.
func redirected(request *http.Request, before []*http.Request) error {
	if len(before) > 1 || before[0].URL.Scheme == "https" && request.URL.Scheme != "https" {
		return http.ErrUseLastResponse
	}
	return nil
}

// exchange is one request to Vault, below v1/.
type exchange struct {
	method string
	path   string
	query  url.Values
	body   any // nil: none
	token  string
	target any // what data or auth is decoded into; nil: neither
}

// answer is the frame of every answer of Vault.
type answer struct {
	Data json.RawMessage `json:"data"`
	Auth json.RawMessage `json:"auth"`
}

// do carries out an exchange.
func (c *Client) do(ctx context.Context, e exchange) (answer, error) {
	var body io.Reader
	if e.body != nil {
		content, err := json.Marshal(e.body)
		if err != nil {
			return answer{}, fault.New(fault.Internal, "encoding a request to %s: %w", e.path, err)
		}
		body = bytes.NewReader(content)
	}
	address := strings.TrimSuffix(c.config.Address, "/") + "/v1/" + e.path
	if len(e.query) > 0 {
		address += "?" + e.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, e.method, address, body)
	if err != nil {
		return answer{}, fault.New(fault.Internal, "making a request to %s: %w", e.path, err)
	}
	request.Header.Set("X-Vault-Request", "true")
	if e.token != "" {
		request.Header.Set("X-Vault-Token", e.token)
	}
	if c.config.Namespace != "" {
		request.Header.Set("X-Vault-Namespace", c.config.Namespace)
	}
	response, err := c.http.Do(request)
	if err != nil {
		// The URL in it has no secret: tokens and bodies are elsewhere.
		return answer{}, fault.New(fault.Unavailable, "asking Vault: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return answer{}, fault.New(fault.Unavailable, "reading Vault's response to %s: %w", e.path, err)
	}
	if len(content) > maxAnswer {
		return answer{}, fault.New(fault.TooLarge, "Vault's response to %s is longer than %d bytes", e.path, maxAnswer)
	}
	if response.StatusCode/100 != 2 {
		return answer{}, refusal(response.StatusCode, e.path, content)
	}
	var frame answer
	if len(content) > 0 {
		if err := json.Unmarshal(content, &frame); err != nil {
			return answer{}, fault.New(fault.Internal, "Vault's response to %s is not JSON", e.path)
		}
	}
	return frame, nil
}

// kinds says what a status of Vault means to the edge.
var kinds = map[int]fault.Kind{
	http.StatusBadRequest: fault.Invalid, http.StatusForbidden: fault.Denied, http.StatusNotFound: fault.NotFound,
	http.StatusConflict: fault.Conflict, http.StatusTooManyRequests: fault.Throttled,
}

// refusal returns the error that an answer with an error status means, with what
// Vault says about it.
func refusal(status int, path string, content []byte) error {
	kind, known := kinds[status]
	if !known {
		kind = fault.Unavailable // sealed, standby without a leader, a gateway's own
	}
	var said struct {
		Errors []string `json:"errors"`
	}
	_ = json.Unmarshal(content, &said) // without it the status says enough
	text := strings.Join(said.Errors, "; ")
	const most = 500
	if len(text) > most {
		text = text[:most]
	}
	if kind == fault.Denied && (text == "" || strings.Contains(text, "permission denied")) {
		return fault.New(kind, "Vault refused the token: permission denied on %s", path)
	}
	if text == "" {
		return fault.New(kind, "%s: Vault answers %d", path, status)
	}
	return fault.New(kind, "%s: Vault answers %d: %s", path, status, strings.Join(strings.Fields(text), " "))
}

// call is an exchange with the mount, logged in. A token that is refused is given up,
// and the call made once more with a new one.
func (c *Client) call(ctx context.Context, e exchange) error {
	e.path = c.config.Mount + "/" + e.path
	for attempt := 0; ; attempt++ {
		token, err := c.token(ctx)
		if err != nil {
			return err
		}
		e.token = token
		frame, err := c.do(ctx, e)
		if fault.Is(err, fault.Denied) && attempt == 0 && c.giveUp(token) {
			continue
		}
		if err != nil || e.target == nil {
			return err
		}
		if err := json.Unmarshal(frame.Data, e.target); err != nil {
			var wrong *json.UnmarshalTypeError
			if errors.As(err, &wrong) {
				return fault.New(fault.Internal, "%s: field %s of the response has an unexpected type", e.path, wrong.Field)
			}
			return fault.New(fault.Internal, "%s: the response has an unexpected format", e.path)
		}
		return nil
	}
}
