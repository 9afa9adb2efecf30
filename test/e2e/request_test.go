package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// rootClient is the token of the server's root; anonymous is no token at all.
const (
	rootClient = "root"
	anonymous  = ""
)

// fields is the body of a request or the data of an answer.
type fields = map[string]any

// answer is what came back over HTTP.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// send makes one HTTP request without any client library in between. A nil body
// sends none.
func send(t testing.TB, token, method, path string, body fields, headers ...string) answer {
	t.Helper()
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		require.NoError(t, err)
		content = strings.NewReader(string(encoded))
	}
	request, err := http.NewRequestWithContext(t.Context(), method, vault.Address+"/v1/"+path, content)
	require.NoError(t, err)
	if token != anonymous {
		request.Header.Set("X-Vault-Token", token)
	}
	if method == http.MethodPatch { // Vault takes no other for a PATCH
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{Status: response.StatusCode, Header: response.Header, Body: raw}
}

func get(t testing.TB, token, path string) answer {
	t.Helper()
	return send(t, token, http.MethodGet, path, nil)
}

func post(t testing.TB, token, path string, body fields) answer {
	t.Helper()
	return send(t, token, http.MethodPost, path, body)
}

// data returns what is under "data"; numbers stay as they were written.
func (a answer) data(t testing.TB) fields {
	t.Helper()
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	var envelope struct{ Data fields }
	a.decode(t, &envelope)
	return envelope.Data
}

// errors returns what is under "errors", as one text.
func (a answer) errors(t testing.TB) string {
	t.Helper()
	var envelope struct{ Errors []string }
	a.decode(t, &envelope)
	return strings.Join(envelope.Errors, "\n")
}

func (a answer) decode(t testing.TB, into any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(a.Body)))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(into), "%s", a.Body)
}

// refused expects a status and, in the one error of the answer, a text.
func (a answer) refused(t testing.TB, status int, text string) {
	t.Helper()
	require.Equal(t, status, a.Status, "%s", a.Body)
	require.Contains(t, a.errors(t), text)
}

// write writes as root and returns the data of the answer, which has to be a success.
func write(t testing.TB, path string, body fields) fields {
	t.Helper()
	a := post(t, rootClient, path, body)
	if a.Status == http.StatusNoContent {
		return nil
	}
	return a.data(t)
}

// read reads as root and returns the data of the answer, which has to be a success.
func read(t testing.TB, path string) fields {
	t.Helper()
	return get(t, rootClient, path).data(t)
}

// text returns a string of the data.
func text(t testing.TB, data fields, name string) string {
	t.Helper()
	value, ok := data[name].(string)
	require.True(t, ok, "%s is %v", name, data[name])
	return value
}

// texts returns a list of strings of the data.
func texts(t testing.TB, data fields, name string) []string {
	t.Helper()
	list, ok := data[name].([]any)
	require.True(t, ok, "%s is %v", name, data[name])
	values := make([]string, len(list))
	for i, value := range list {
		values[i], ok = value.(string)
		require.True(t, ok, "%s holds %v", name, value)
	}
	return values
}

// until asks again and again until the condition holds. It asks in the test's own
// goroutine, so the condition may end the test.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	wait.Until(t, what, condition)
}

// policies counts the policies that tests have made.
var policies atomic.Int64

// tokenWith makes a token that has one policy, in Vault's policy language.
func tokenWith(t testing.TB, rules string) string {
	t.Helper()
	name := fmt.Sprintf("policy-%d", policies.Add(1))
	require.NoError(t, vault.Client().Sys().PutPolicyWithContext(t.Context(), name, rules))
	secret, err := vault.Client().Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{
		Policies: []string{name}, NoDefaultPolicy: true,
	})
	require.NoError(t, err)
	return secret.Auth.ClientToken
}
