package edge_test

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/edge/config"
)

// TestDos2_ConnectionsAreCounted holds as many connections open as there may be, each with
// a request under way: one more is answered when one of them has become idle, which is
// closed for it.
func TestDos2_ConnectionsAreCounted(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Listen.MaxConnections, c.Listen.MetricsAddress = 2, "127.0.0.1:0" })
	http.DefaultClient.CloseIdleConnections()
	first, second := s.dial("GET /healthz"), s.dial("GET /healthz")
	third := s.dial("GET /healthz HTTP/1.0\r\n\r\n")
	s.eventually(func() bool {
		return strings.Contains(s.scrape("/metrics"), `pki_edge_connections{state="waiting"} 1`)
	})
	_, err := io.WriteString(first, " HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	kept := bufio.NewReader(first)
	response, err := http.ReadResponse(kept, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	_, err = io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	answer, err := io.ReadAll(third)
	require.NoError(t, err)
	require.Contains(t, string(answer), "200 OK", "the second has its place still")
	_, err = kept.ReadByte()
	require.ErrorIs(t, err, io.EOF, "the first was closed, because it was idle")
	require.Contains(t, s.scrape("/metrics"), "pki_edge_connections_idle_closed_total 1")
	_, err = io.WriteString(second, " HTTP/1.0\r\n\r\n")
	require.NoError(t, err)
	answer, err = io.ReadAll(second)
	require.NoError(t, err)
	require.Contains(t, string(answer), "200 OK")
}

// Clients that keep connections open and ask nothing keep nobody out.
func TestDos2_IdleConnectionsKeepNobodyOut(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Listen.MaxConnections = 8 })
	http.DefaultClient.CloseIdleConnections()
	for range 40 {
		kept := s.dial("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(kept), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.NoError(t, response.Body.Close())
	}
	require.Equal(t, http.StatusOK, s.get("/healthz").status)
}

func TestReadySaysWhatVaultRefuses(t *testing.T) {
	s := newSite(t, func(c *config.Config) {
		c.Vault.AppRole, c.Vault.TokenFile = config.AppRole{}, filepath.Join(t.TempDir(), "token")
		require.NoError(t, os.WriteFile(c.Vault.TokenFile, []byte("hvs.other"), 0o600))
	})
	s.eventually(func() bool {
		return strings.Contains(string(s.get("/readyz").body), "Vault refused the token: permission denied on pki/edge/manifest")
	})
	require.Equal(t, http.StatusServiceUnavailable, s.get("/readyz").status)
}

func TestMetricsHaveAListenerOfTheirOwn(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Listen.MetricsAddress = "127.0.0.1:0" })
	require.Equal(t, http.StatusNotFound, s.get("/metrics").status)
	require.Contains(t, s.scrape("/metrics"), "pki_edge_connections_limit")
	require.Equal(t, "ok\n", s.scrape("/healthz"))
	s.ready()
	require.Contains(t, s.scrape("/readyz"), "ready: ")
}
