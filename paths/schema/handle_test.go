package schema_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

type ask struct {
	Name string `json:"name" in:"path" kind:"name" doc:"Name."`
	Text string `json:"text" doc:"Text."`
}

type told struct {
	Text string `json:"text" doc:"Text."`
}

// fixture is a backend with one path whose behaviour a test chooses.
type fixture struct {
	*framework.Backend
	log    bytes.Buffer
	answer func(ask) (*told, error)
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{answer: func(in ask) (*told, error) { return &told{Text: in.Name + in.Text}, nil }}
	handler := func(_ context.Context, call *schema.Call, in ask) (*told, error) {
		if in.Text == "warn" {
			call.Warn("careful with %s", in.Name)
			call.Edit(func(r *logical.Response) { r.Headers = map[string][]string{"X-Test": {"1"}} })
		}
		return f.answer(in)
	}
	raw := func(context.Context, *schema.Call, schema.None) (schema.Raw, error) {
		return schema.Raw{ContentType: "application/pkix-crl", Body: []byte("body")}, nil
	}
	f.Backend = &framework.Backend{Paths: []*framework.Path{
		schema.Path("thing/"+schema.Segment("name"), "A thing.", "Things.",
			schema.Read("Read.", handler), schema.Write("Write.", handler).Limit(100),
			schema.Delete("Delete.", func(context.Context, *schema.Call, struct {
				Name string `json:"name" in:"path" doc:"Name."`
			},
			) (schema.None, error) {
				return schema.None{}, nil
			})),
		schema.Path("raw", "Raw.", "Raw.", schema.Read("Read.", raw)),
	}}
	log := hclog.New(&hclog.LoggerOptions{Output: &f.log})
	require.NoError(t, f.Setup(t.Context(), &logical.BackendConfig{Logger: log, System: logical.TestSystemView()}))
	return f
}

func (f *fixture) do(t *testing.T, operation logical.Operation, path string, data map[string]any) (int, *logical.Response, string) {
	t.Helper()
	req := &logical.Request{ID: "request-1", Operation: operation, Path: path, Data: data}
	response, err := schema.Handle(t.Context(), f.Backend, req)
	status, cause := logical.RespondErrorCommon(req, response, err)
	if cause == nil {
		return status, response, ""
	}
	logical.AdjustErrorStatusCode(&status, cause)
	return status, response, cause.Error()
}

func TestHandleDecodesAndEncodes(t *testing.T) {
	f := newFixture(t)
	_, response, message := f.do(t, logical.UpdateOperation, "thing/a", map[string]any{"text": "b", "name": "a"})
	require.Empty(t, message)
	require.Equal(t, map[string]any{"text": "ab"}, response.Data)

	_, response, _ = f.do(t, logical.UpdateOperation, "thing/a", map[string]any{"text": "warn"})
	require.Equal(t, []string{"careful with a"}, response.Warnings)
	require.Contains(t, response.Headers, "X-Test")

	_, response, message = f.do(t, logical.DeleteOperation, "thing/a", nil)
	require.Empty(t, message)
	require.Nil(t, response)
}

func TestHandleRefusesBeforeTheHandlerRuns(t *testing.T) {
	f := newFixture(t)
	f.answer = func(ask) (*told, error) { panic("the handler must not run") }
	for message, data := range map[string]map[string]any{
		"txet: is not a known field; did you mean text?":  {"txet": "b"},
		"text: must be a string, not a number":            {"text": 1.0},
		"name: is part of the path":                       {"name": "other"},
		"the request's values exceed the 100 bytes":       {"text": strings.Repeat("x", 101)},
		"lengthy_name_" + strings.Repeat("x", 51) + "...": {"lengthy_name_" + strings.Repeat("x", 60): ""},
	} {
		status, _, got := f.do(t, logical.UpdateOperation, "thing/a", data)
		require.Equal(t, http.StatusBadRequest, status, got)
		require.Contains(t, got, message)
	}
	status, _, got := f.do(t, logical.ReadOperation, "thing/a..b", nil)
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, got, "name: ")
}

func TestEveryKindKeepsItsStatusAcrossTheBoundary(t *testing.T) {
	f := newFixture(t)
	for _, kind := range fault.Kinds() {
		f.answer = func(ask) (*told, error) { return nil, fmt.Errorf("reading thing: %w", fault.New(kind, "the rule")) }
		status, _, message := f.do(t, logical.ReadOperation, "thing/a", nil)
		if kind == fault.ReadOnly {
			// Vault itself forwards on this text, so nothing may stand around it.
			require.Equal(t, logical.ErrReadOnly.Error(), message)
			continue
		}
		require.Equal(t, kind.HTTPStatus(), status, kind)
		require.Equal(t, "reading thing: the rule", message)
	}
	f.answer = func(ask) (*told, error) { return nil, nil }
	status, _, _ := f.do(t, logical.ReadOperation, "thing/a", nil)
	require.Equal(t, http.StatusNotFound, status)
	f.answer = func(ask) (*told, error) { return nil, fmt.Errorf("asking: %w", logical.CodedError(418, "teapot")) }
	status, _, message := f.do(t, logical.ReadOperation, "thing/a", nil)
	require.Equal(t, 418, status)
	require.Equal(t, "asking: teapot", message)
}

func TestInternalErrorsAreLoggedAndNotTold(t *testing.T) {
	f := newFixture(t)
	cause := errors.New("dial tcp 10.0.0.3:8201: refused")
	f.answer = func(ask) (*told, error) {
		return nil, fmt.Errorf("reading thing: %w", fmt.Errorf("reading storage: %w", cause))
	}
	status, _, message := f.do(t, logical.ReadOperation, "thing/a", nil)
	require.Equal(t, http.StatusInternalServerError, status)
	require.Equal(t, "reading thing: reading storage: internal error; the server log has the details", message)
	require.Contains(t, f.log.String(), "10.0.0.3")
	require.Contains(t, f.log.String(), "request-1")

	f.answer = func(ask) (*told, error) { return nil, fmt.Errorf("reading thing: %w", context.Canceled) }
	status, _, _ = f.do(t, logical.ReadOperation, "thing/a", nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
}

func TestAPanicIsAnsweredAndItsValueNotLogged(t *testing.T) {
	f := newFixture(t)
	f.answer = func(in ask) (*told, error) { panic("secret " + in.Text) }
	status, _, message := f.do(t, logical.UpdateOperation, "thing/a", map[string]any{"text": "hunter2"})
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, message, "internal error")
	require.Contains(t, f.log.String(), "request panicked")
	require.NotContains(t, f.log.String(), "hunter2")
	var none []string
	f.answer = func(ask) (*told, error) { return &told{Text: none[3]}, nil }
	_, _, _ = f.do(t, logical.ReadOperation, "thing/a", nil)
	require.Contains(t, f.log.String(), "index out of range")
}

func TestRawAnswersAreBytes(t *testing.T) {
	f := newFixture(t)
	_, response, message := f.do(t, logical.ReadOperation, "raw", nil)
	require.Empty(t, message)
	require.Equal(t, []byte("body"), response.Data[logical.HTTPRawBody])
	require.Equal(t, http.StatusOK, response.Data[logical.HTTPStatusCode])
	status, _, message := f.do(t, logical.ReadOperation, "raw", map[string]any{"x": "y"})
	require.Equal(t, http.StatusBadRequest, status, message)
	status, _, _ = f.do(t, logical.UpdateOperation, "raw", nil)
	require.Equal(t, http.StatusMethodNotAllowed, status)
	status, _, _ = f.do(t, logical.ReadOperation, "nowhere", nil)
	require.Equal(t, http.StatusNotFound, status)
}

func TestWrongTagsPanicWhenTheBackendIsMade(t *testing.T) {
	require.PanicsWithValue(t, `schema: struct { A string "json:\"a\" kind:\"nonsense\"" }.A has the unknown kind "nonsense"`, func() {
		schema.Fields[struct {
			A string `json:"a" kind:"nonsense"`
		}]()
	})
	require.Panics(t, func() {
		schema.Fields[struct {
			A bool `json:"a" default:"maybe"`
		}]()
	})
	require.Panics(t, func() {
		schema.Decode[struct {
			A chan int `json:"a"`
		}](nil)
	})
	require.Panics(t, func() {
		schema.Fields[struct {
			A string `json:"a"`
			B string `json:"b" alias:"a"`
		}]()
	})
}
