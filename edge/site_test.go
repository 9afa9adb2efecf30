package edge_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/edge"
	"vault-plugin-secrets-enterprise-pki/edge/config"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// site is an edge and its mount.
type site struct {
	t        testing.TB
	mount    *edgemount.Mount
	settings config.Config
	log      *bytes.Buffer
	url      string
	metrics  string
	stop     func()
}

// newSite starts a mount, and an edge that logs in by AppRole.
func newSite(t testing.TB, edits ...func(*config.Config)) *site {
	t.Helper()
	s := &site{t: t, mount: edgemount.New(t, time.Now), log: &bytes.Buffer{}}
	secret := filepath.Join(t.TempDir(), "secret-id")
	require.NoError(t, os.WriteFile(secret, []byte(edgemount.SecretID+"\n"), 0o600))
	s.settings = config.Default()
	s.settings.Name, s.settings.DataDir = "edge-1", filepath.Join(t.TempDir(), "data")
	s.settings.PollInterval = 100 * time.Millisecond
	s.settings.Vault.Address = s.mount.Server.URL
	s.settings.Vault.AppRole = config.AppRole{Path: "approle", RoleID: edgemount.RoleID, SecretIDFile: secret}
	s.settings.Listen.Address = "127.0.0.1:0"
	for _, edit := range edits {
		edit(&s.settings)
	}
	s.mount.List(t, 1)
	s.start()
	return s
}

// start runs the edge until stop is called, or the test ends.
func (s *site) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	log := hclog.New(&hclog.LoggerOptions{Output: s.log, Level: hclog.Trace})
	e, err := edge.New(ctx, edge.Config{Settings: s.settings, Version: "v1", Log: log, Now: time.Now})
	require.NoError(s.t, err)
	s.url, s.metrics = "http://"+e.Address(), "http://"+e.MetricsAddress()
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err, open := <-ended; open {
			close(ended)
			require.NoError(s.t, err)
		}
	}
	s.t.Cleanup(s.stop)
}

// ready waits until the edge says that it is.
func (s *site) ready() {
	s.t.Helper()
	s.eventually(func() bool { return s.get("/readyz").status == http.StatusOK })
}

func (s *site) eventually(is func() bool) {
	s.t.Helper()
	wait.Until(s.t, "the edge is as it should be", is)
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (s *site) do(request *http.Request) reply {
	s.t.Helper()
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return reply{response.StatusCode, response.Header, body}
}

func (s *site) get(path string, headers ...string) reply {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, http.NoBody)
	require.NoError(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return s.do(request)
}

// scrape reads a path of the listener of metrics.
func (s *site) scrape(path string) string {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.metrics+path, http.NoBody)
	require.NoError(s.t, err)
	return string(s.do(request).body)
}

func (s *site) post(path string, body []byte) reply {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, bytes.NewReader(body))
	require.NoError(s.t, err)
	request.Header.Set("Content-Type", "application/ocsp-request")
	return s.do(request)
}

// request returns a DER request about a serial number.
func (s *site) request(serial cert.Serial) []byte {
	s.t.Helper()
	der, err := ocsp.CreateRequest(&x509.Certificate{SerialNumber: serial.Big()}, s.mount.CA, nil)
	require.NoError(s.t, err)
	return der
}

// says returns the verified status of a serial number.
func (s *site) says(serial cert.Serial) *ocsp.Response {
	s.t.Helper()
	answer := s.post("/ocsp", s.request(serial))
	require.Equal(s.t, http.StatusOK, answer.status)
	require.Equal(s.t, "application/ocsp-response", answer.header.Get("Content-Type"))
	parsed, err := ocsp.ParseResponse(answer.body, s.mount.CA)
	require.NoError(s.t, err)
	return parsed
}

func (s *site) files() (found []string) {
	require.NoError(s.t, filepath.WalkDir(s.settings.DataDir, func(path string, _ os.DirEntry, err error) error {
		found = append(found, path)
		return err
	}))
	return found
}

// dial opens a connection and writes the beginning of a request.
func (s *site) dial(text string) net.Conn {
	s.t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = connection.Close() })
	require.NoError(s.t, connection.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(connection, text)
	require.NoError(s.t, err)
	return connection
}
