package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// request is one HTTP request, its body already encoded.
type request struct {
	method string
	path   string // below /v1/
	body   []byte // nil for none
	// wire is all of it as it goes over a line; nil for one that net/http sends.
	wire []byte
}

// client sends requests over connections that stay open.
type client struct {
	address string
	token   string
	http    *http.Client
}

// newClient returns a client of a server, for up to so many requests at once.
func newClient(address, token string, concurrent int) *client {
	transport := &http.Transport{MaxIdleConns: concurrent, MaxIdleConnsPerHost: concurrent, DisableCompression: true}
	return &client{address: address, token: token, http: &http.Client{Transport: transport}}
}

// send is that of a sender.
func (c *client) send(ctx context.Context, r request, buffer *bytes.Buffer) error {
	message, err := http.NewRequestWithContext(ctx, r.method, c.address+"/v1/"+r.path, bytes.NewReader(r.body))
	if err != nil {
		return err
	}
	message.Header.Set("X-Vault-Token", c.token)
	response, err := c.http.Do(message)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	buffer.Reset()
	if _, err := io.Copy(buffer, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s %s: status %d: %.300s", r.method, r.path, response.StatusCode, buffer.Bytes())
	}
	return nil
}

// post sends a JSON object and decodes the data of the answer into target, unless
// that is nil.
func (c *client) post(ctx context.Context, path string, body map[string]any, target any) error {
	var buffer bytes.Buffer
	if err := c.send(ctx, request{method: http.MethodPost, path: path, body: encode(body)}, &buffer); err != nil {
		return err
	}
	if target == nil {
		return nil
	}
	return decode(buffer.Bytes(), target)
}

// decode reads the data of an answer.
func decode(answer []byte, target any) error {
	envelope := struct {
		Data any `json:"data"`
	}{target}
	return json.Unmarshal(answer, &envelope)
}

// encode makes the body of a request. Maps of texts, numbers and lists have one.
func encode(body map[string]any) []byte {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return encoded
}
