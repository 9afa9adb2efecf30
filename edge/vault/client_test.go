package vault_test

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/edge/config"
	"vault-plugin-secrets-enterprise-pki/edge/vault"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// newClient returns a client of a mount; edit says how it logs in.
func newClient(t testing.TB, edit func(*config.Vault)) (*vault.Client, *edgemount.Mount, *clock) {
	t.Helper()
	c := &clock{now: time.Now()}
	mount := edgemount.New(t, c.Now)
	settings := config.Vault{Address: mount.Server.URL, Mount: "pki", Timeout: time.Minute}
	edit(&settings)
	client, err := vault.New(settings, c.Now)
	require.NoError(t, err)
	return client, mount, c
}

func appRole(t testing.TB) func(*config.Vault) {
	return func(v *config.Vault) {
		v.AppRole = config.AppRole{Path: "approle", RoleID: edgemount.RoleID, SecretIDFile: write(t, edgemount.SecretID+"\n")}
	}
}

func TestLogin_AppRoleOnceThenRenewed(t *testing.T) {
	client, mount, c := newClient(t, appRole(t))
	for range 10 {
		_, err := client.Manifest(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, 1, mount.Requests("login"))
	c.move(41 * time.Minute) // two thirds of an hour
	for range 3 {
		_, err := client.Manifest(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, 1, mount.Requests("renew"))
	require.Equal(t, 1, mount.Requests("login"))
}

// A token that has reached its longest life is replaced before it ends.
func TestLogin_AgainWhenRenewingAddsNothing(t *testing.T) {
	client, mount, c := newClient(t, appRole(t))
	_, err := client.Manifest(t.Context())
	require.NoError(t, err)
	c.move(41 * time.Minute)
	mount.TokenLife(19 * time.Minute) // an hour from the login, whatever is asked for
	_, err = client.Manifest(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, mount.Requests("login"))
}

func TestLogin_AgainWhenTheTokenIsLost(t *testing.T) {
	client, mount, c := newClient(t, appRole(t))
	_, err := client.Manifest(t.Context())
	require.NoError(t, err)
	mount.ChangeToken("hvs.other")
	_, err = client.Manifest(t.Context())
	require.True(t, fault.Is(err, fault.Denied), "a refusal right after a login is the policy's: %v", err)
	c.move(time.Minute)
	_, err = client.Manifest(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, mount.Requests("login"))
}

func TestLogin_RefusedIsNotAFlood(t *testing.T) {
	client, mount, _ := newClient(t, func(v *config.Vault) {
		v.AppRole = config.AppRole{Path: "approle", RoleID: "wrong", SecretIDFile: write(t, "s3cret")}
	})
	_, err := client.Manifest(t.Context())
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	require.NotContains(t, err.Error(), "s3cret")
	require.Equal(t, 1, mount.Requests("login"))
	require.Zero(t, mount.Requests("manifest"))
}

func TestLogin_TokenFileIsReadWhenItChanges(t *testing.T) {
	path := write(t, edgemount.Token)
	client, mount, c := newClient(t, func(v *config.Vault) { v.TokenFile = path })
	_, err := client.Manifest(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, mount.Requests("lookup"))
	mount.ChangeToken("hvs.other")
	require.NoError(t, os.WriteFile(path, []byte("hvs.other\n"), 0o600))
	_, err = client.Manifest(t.Context())
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	_, err = client.Manifest(t.Context())
	require.NoError(t, err, "the token at hand serves on")
	c.move(45 * time.Minute)
	_, err = client.Manifest(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, mount.Requests("renew"))
}

func TestLogin_SecretsThatAreNone(t *testing.T) {
	for _, path := range []string{"/nonexistent", write(t, ""), write(t, "two\nlines"), t.TempDir()} {
		client, _, _ := newClient(t, func(v *config.Vault) { v.TokenFile = path })
		_, err := client.Manifest(t.Context())
		require.ErrorContains(t, err, "vault.token_file")
		require.NotContains(t, err.Error(), "lines\n")
	}
}

// TestErrors_SayWhatToDo: what a caller can do about an answer is its kind, and the
// text has no secret.
func TestErrors_SayWhatToDo(t *testing.T) {
	client, mount, _ := newClient(t, appRole(t))
	_, err := client.Manifest(t.Context())
	require.NoError(t, err)
	for status, kind := range map[int]fault.Kind{
		400: fault.Invalid, 403: fault.Denied, 404: fault.NotFound, 409: fault.Conflict, 429: fault.Throttled,
		500: fault.Unavailable, 502: fault.Unavailable, 503: fault.Unavailable, 473: fault.Unavailable,
	} {
		mount.Refuse(status)
		_, err := client.Manifest(t.Context())
		require.Equal(t, kind, fault.KindOf(err), "%d: %v", status, err)
		require.Contains(t, err.Error(), "Vault is sealed")
		require.NotContains(t, err.Error(), edgemount.Token)
	}
	mount.Server.Close()
	_, err = client.Manifest(t.Context())
	require.True(t, fault.Is(err, fault.Unavailable))
}

func TestNew_TrustsTheCAFileAlone(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"data": {"epoch": "e"}}`)
	}))
	defer server.Close()
	token := write(t, "t")
	settings := config.Vault{Address: server.URL, Mount: "pki", Timeout: time.Minute, TokenFile: token}
	client, err := vault.New(settings, time.Now)
	require.NoError(t, err)
	_, err = client.Manifest(t.Context())
	require.ErrorContains(t, err, "certificate")
	settings.CAFile = write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	client, err = vault.New(settings, time.Now)
	require.NoError(t, err)
	manifest, err := client.Manifest(t.Context())
	require.NoError(t, err)
	require.Equal(t, "e", manifest.Epoch)
	settings.CAFile = token
	_, err = vault.New(settings, time.Now)
	require.ErrorContains(t, err, "vault.ca_file")
}

// A standby's redirect is followed with the token, but never away from TLS.
func TestRedirect_NeverToClearText(t *testing.T) {
	var seen []string
	plain := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("X-Vault-Token"))
	}))
	defer plain.Close()
	tls := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer tls.Close()
	ca := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw})))
	client, err := vault.New(config.Vault{Address: tls.URL, CAFile: ca, Mount: "pki", Timeout: time.Minute, TokenFile: write(t, "t")}, time.Now)
	require.NoError(t, err)
	_, err = client.Manifest(t.Context())
	require.Error(t, err)
	require.Empty(t, seen)
}

func TestNamespaceAndMountAreSent(t *testing.T) {
	var paths, namespaces []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths, namespaces = append(paths, r.URL.Path), append(namespaces, r.Header.Get("X-Vault-Namespace"))
		_, _ = io.WriteString(w, `{"data": {}}`)
	}))
	defer server.Close()
	client, err := vault.New(config.Vault{Address: server.URL, Namespace: "team/a", Mount: "deep/pki", Timeout: time.Minute, TokenFile: write(t, "t")}, time.Now)
	require.NoError(t, err)
	_, err = client.Manifest(t.Context())
	require.NoError(t, err)
	require.Equal(t, "/v1/deep/pki/edge/manifest", paths[len(paths)-1])
	require.Equal(t, "team/a", namespaces[0])
}
