// Package pathstest promises contract tests that see the engine as a client does:
// values go through JSON in both directions and errors become status codes as in
// Vault, either in process or across the real gRPC hop of an external plugin.
package pathstest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths"
)

// Mount is one mount of the engine with its storage.
type Mount struct {
	Storage logical.Storage
	// System may be changed between requests: TTLs, the entity and its groups.
	System *logical.StaticSystemView
	Log    *Log // what the engine logged; in process only

	connect func(testing.TB, *logical.BackendConfig) logical.Backend
	backend logical.Backend
	caller  logical.Request // fields copied into every request
	serial  *atomic.Int64
}

// InProcess mounts the engine without a plugin process.
func InProcess(t testing.TB) *Mount { return mount(t, local) }

// OverGRPC mounts the engine behind the gRPC hop that Vault uses: numbers arrive as
// float64, bytes as base64, and only some errors keep their type.
func OverGRPC(t testing.TB) *Mount { return mount(t, dial) }

// Each runs a contract test at both levels.
func Each(t *testing.T, test func(t *testing.T, m *Mount)) {
	t.Run("in process", func(t *testing.T) { test(t, InProcess(t)) })
	t.Run("over gRPC", func(t *testing.T) { test(t, OverGRPC(t)) })
}

// quiet: go-plugin reports every closed stream of a test to the default logger. Once,
// because its goroutines read that variable without a lock.
var quiet = sync.OnceFunc(func() { hclog.SetDefault(hclog.NewNullLogger()) })

func mount(t testing.TB, connect func(testing.TB, *logical.BackendConfig) logical.Backend) *Mount {
	m := &Mount{
		Storage: &logical.InmemStorage{},
		System: &logical.StaticSystemView{
			DefaultLeaseTTLVal: 32 * 24 * time.Hour,
			MaxLeaseTTLVal:     10 * 365 * 24 * time.Hour,
			VersionString:      "1.21.1",
			PluginEnvironment:  &logical.PluginEnvironment{VaultVersion: "1.21.1"},
		},
		Log:     &Log{},
		connect: connect,
		serial:  &atomic.Int64{},
	}
	m.setup(t)
	t.Cleanup(func() { m.backend.Cleanup(context.Background()) })
	return m
}

// As returns the same mount for another caller: what Vault says of the token.
func (m *Mount) As(entity, displayName string) *Mount {
	other := *m
	other.caller.EntityID, other.caller.DisplayName = entity, displayName
	return &other
}

// Restart ends the engine and starts it again on the same storage.
func (m *Mount) Restart(t testing.TB) {
	t.Helper()
	m.backend.Cleanup(context.Background())
	m.setup(t)
}

// Backend returns the engine for what the methods of Mount do not cover.
func (m *Mount) Backend() logical.Backend { return m.backend }

func (m *Mount) setup(t testing.TB) {
	t.Helper()
	log := hclog.New(&hclog.LoggerOptions{Output: m.Log, Level: hclog.Debug})
	config := &logical.BackendConfig{
		Logger:      log,
		System:      m.System,
		StorageView: m.Storage,
		BackendUUID: "8f6a2c5e-7a35-4bb1-9b0a-5d4f2f1f3a10",
	}
	m.backend = m.connect(t, config)
	require.NoError(t, m.backend.Initialize(context.Background(), &logical.InitializationRequest{Storage: m.Storage}))
}

// local makes the engine as a built-in one would be made.
func local(t testing.TB, config *logical.BackendConfig) logical.Backend {
	t.Helper()
	backend, err := paths.Factory(context.Background(), config)
	require.NoError(t, err)
	return backend
}

// dial serves the engine as a plugin in this process and connects to it.
func dial(t testing.TB, config *logical.BackendConfig) logical.Backend {
	t.Helper()
	quiet()
	client, _ := goplugin.TestPluginGRPCConn(t, false, map[string]goplugin.Plugin{
		plugin.BackendPluginName: &plugin.GRPCBackendPlugin{
			Factory: paths.Factory,
			Logger:  hclog.NewNullLogger(),
		},
	})
	t.Cleanup(func() { _ = client.Close() })
	raw, err := client.Dispense(plugin.BackendPluginName)
	require.NoError(t, err)
	backend, ok := raw.(logical.Backend)
	require.True(t, ok)
	require.NoError(t, backend.Setup(context.Background(), config))
	return backend
}

// Log is what an engine logged, one that ended and its successor alike.
type Log struct {
	mu   sync.Mutex // guards text: background work logs at any time
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

// String returns everything that was logged until now.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Answer is what a client would see.
type Answer struct {
	Status       int
	Data         map[string]any
	Errors       []string
	CacheControl string // of answers that are not JSON, "" for no-store
	Warnings     []string
	Body         []byte // of answers that are not JSON
	ContentType  string
	Response     *logical.Response // nil when there was none

	t    testing.TB
	path string
}

// Expect fails the test unless the answer has the status.
func (a Answer) Expect(status int) Answer {
	a.t.Helper()
	require.Equal(a.t, status, a.Status, "%s: errors %q, data %v", a.path, a.Errors, a.Data)
	return a
}

// OK fails the test unless the answer is 200 or 204.
func (a Answer) OK() Answer {
	a.t.Helper()
	require.Contains(a.t, []int{http.StatusOK, http.StatusNoContent}, a.Status, "%s: errors %q", a.path, a.Errors)
	return a
}

// Text returns a string of the answer's data.
func (a Answer) Text(name string) string {
	a.t.Helper()
	value, ok := a.Data[name].(string)
	require.True(a.t, ok, "%s: %s is %T in %v", a.path, name, a.Data[name], a.Data)
	return value
}

// Texts returns a list of strings of the answer's data.
func (a Answer) Texts(name string) []string {
	a.t.Helper()
	elements, ok := a.Data[name].([]any)
	require.True(a.t, ok, "%s: %s is %T in %v", a.path, name, a.Data[name], a.Data)
	values := make([]string, len(elements))
	for i, element := range elements {
		values[i], ok = element.(string)
		require.True(a.t, ok, "%s: %s holds %T", a.path, name, element)
	}
	return values
}

// Number returns a number of the answer's data.
func (a Answer) Number(name string) int64 {
	a.t.Helper()
	value, ok := a.Data[name].(float64)
	require.True(a.t, ok, "%s: %s is %T in %v", a.path, name, a.Data[name], a.Data)
	return int64(value)
}

// Read is GET; query may be nil.
func (m *Mount) Read(t testing.TB, path string, query map[string]any) Answer {
	t.Helper()
	return m.Do(t, logical.ReadOperation, path, query)
}

// List is LIST; query may be nil. Vault adds the slash to the path.
func (m *Mount) List(t testing.TB, path string, query map[string]any) Answer {
	t.Helper()
	return m.Do(t, logical.ListOperation, path, query)
}

// Write is POST.
func (m *Mount) Write(t testing.TB, path string, data map[string]any) Answer {
	t.Helper()
	return m.Do(t, logical.UpdateOperation, path, data)
}

// Patch is PATCH.
func (m *Mount) Patch(t testing.TB, path string, data map[string]any) Answer {
	t.Helper()
	return m.Do(t, logical.PatchOperation, path, data)
}

// Delete is DELETE.
func (m *Mount) Delete(t testing.TB, path string) Answer {
	t.Helper()
	return m.Do(t, logical.DeleteOperation, path, nil)
}

// DeleteWith is Delete with parameters.
func (m *Mount) DeleteWith(t testing.TB, path string, data map[string]any) Answer {
	t.Helper()
	return m.Do(t, logical.DeleteOperation, path, data)
}

// Do sends a request as Vault does: its existence check first for a write, the
// data as it comes out of JSON.
func (m *Mount) Do(t testing.TB, operation logical.Operation, path string, data map[string]any) Answer {
	t.Helper()
	req := m.caller
	req.ID = "request-" + time.Duration(m.serial.Add(1)).String()
	req.Operation, req.Path, req.Storage = operation, path, m.Storage
	req.MountPoint = "pki/"
	req.Data = throughJSON(t, data)
	if operation == logical.UpdateOperation {
		found, exists, err := m.backend.HandleExistenceCheck(context.Background(), &req)
		require.NoError(t, err)
		if found && !exists {
			req.Operation = logical.CreateOperation
		}
	}
	response, err := m.backend.HandleRequest(context.Background(), &req)
	return answer(t, &req, response, err)
}

// throughJSON returns data as JSON makes it, numbers as json.Number like Vault.
func throughJSON(t testing.TB, data map[string]any) map[string]any {
	t.Helper()
	if data == nil {
		return nil
	}
	encoded, err := json.Marshal(data)
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	var decoded map[string]any
	require.NoError(t, decoder.Decode(&decoded))
	return decoded
}

// answer turns a response and an error into what Vault's HTTP layer makes of them.
func answer(t testing.TB, req *logical.Request, response *logical.Response, err error) Answer {
	t.Helper()
	a := Answer{Status: http.StatusOK, Response: response, t: t, path: string(req.Operation) + " " + req.Path}
	status, cause := logical.RespondErrorCommon(req, response, err)
	if cause != nil || status != 0 {
		logical.AdjustErrorStatusCode(&status, cause)
		a.Status = status
		if cause != nil {
			a.Errors = []string{cause.Error()}
		}
		return a
	}
	if response == nil {
		a.Status = http.StatusNoContent
		return a
	}
	a.Warnings = response.Warnings
	if response.Data == nil {
		if response.Secret == nil && len(response.Warnings) == 0 {
			a.Status = http.StatusNoContent
		}
		return a
	}
	encoded, err := json.Marshal(response.Data)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(encoded, &a.Data))
	if contentType, raw := a.Data[logical.HTTPContentType].(string); raw {
		a.ContentType = contentType
		a.CacheControl, _ = a.Data[logical.HTTPCacheControlHeader].(string)
		a.Status = int(a.Number(logical.HTTPStatusCode))
		body, _ := a.Data[logical.HTTPRawBody].(string)
		a.Body, err = base64.StdEncoding.DecodeString(body)
		require.NoError(t, err, "%s: the raw body must be bytes", a.path)
	}
	return a
}
