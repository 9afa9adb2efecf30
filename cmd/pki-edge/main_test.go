package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestRun_CommandLines(t *testing.T) {
	good := file(t, "name: e\nvault: {address: 'https://v:8200', token_file: /t}\n")
	cases := []struct {
		args []string
		out  string
		kind fault.Kind
		err  string
	}{
		{[]string{"-version"}, "development\n", 0, ""},
		{[]string{"-help"}, "", 0, ""},
		{[]string{"-config", good, "-check-config"}, "the configuration is valid\n", 0, ""},
		{[]string{"-config", "/nonexistent"}, "", fault.NotFound, "no such file"},
		{[]string{"-config", file(t, "x: 1")}, "", fault.Invalid, "field x is not known here"},
		{[]string{"-config", good, "serve"}, "", fault.Invalid, `unknown command "serve"`},
		{[]string{"-config", good, "selftest", "now"}, "", fault.Invalid, "unknown command"},
		{[]string{"-config", good, "selftest"}, "", fault.Invalid, "selftest.role: must name"},
		{[]string{"-loud"}, "", fault.Invalid, "-loud"},
	}
	for _, c := range cases {
		var out bytes.Buffer
		err := run(t.Context(), c.args, &out, io.Discard)
		require.Equal(t, c.out, out.String(), c.args)
		if c.err == "" {
			require.NoError(t, err, c.args)
			continue
		}
		require.ErrorContains(t, err, c.err, c.args)
		require.True(t, fault.Is(err, c.kind), c.args)
	}
}

// TestSelftest_FailsWhenTheRevocationDoesNotShow: the mount revokes and never makes
// another CRL.
func TestSelftest_FailsWhenTheRevocationDoesNotShow(t *testing.T) {
	mount := edgemount.New(t, time.Now)
	mount.List(t, 1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	settings := file(t, fmt.Sprintf(`
name: e
data_dir: %s
poll_interval: 100ms
vault: {address: "%s", token_file: %s}
listen: {address: "%s"}
selftest: {role: canary, timeout: 5s}
`, t.TempDir(), mount.Server.URL, file(t, edgemount.Token), address))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"-config", settings}, io.Discard, io.Discard) }()
	wait.Until(t, "the edge is ready", func() bool {
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false
		}
		return response.Body.Close() == nil && response.StatusCode == http.StatusOK
	})
	var out bytes.Buffer
	err = run(t.Context(), []string{"-config", settings, "selftest"}, &out, io.Discard)
	require.ErrorContains(t, err, "CRL says revoked: CRL number 1 does not list the certificate")
	require.Regexp(t, `OCSP says revoked +ok`, out.String())
	require.Regexp(t, `CRL says revoked +FAILED`, out.String())
	stop()
	require.NoError(t, <-ended)
}
