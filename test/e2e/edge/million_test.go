package edge_test

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// maxResident is what an edge may take with a million certificates, in octets.
const maxResident = 150 << 20

// A million certificates, changes of them, a restored mount whose rows are all fetched
// anew, then all revoked and on one list: the whole process stays small.
func TestMillionCertificatesFit(t *testing.T) {
	f := startFront(t)
	const million = 1_000_000
	f.mount.Fill(million)
	f.waitRows(t, million)
	for range 20 {
		f.mount.Fill(1000)
	}
	f.waitRows(t, million+20_000)
	f.mount.Restore("e9", million-10_000)
	f.mount.Fill(40_000)
	f.waitMetric(t, "pki_edge_feed_sequence", million+30_000)
	t.Logf("resident: %d MiB now, %d MiB at most, before they are revoked", f.resident(t, "VmRSS")>>20, f.resident(t, "VmHWM")>>20)
	list := f.mount.List(t, 18, f.mount.RevokeAll(cert.Superseded)...)
	wait.Until(t, "the list is served", func() bool {
		_, body := f.get(t, "/crl/"+edgemount.IssuerName+".crl", nil)
		return bytes.Equal(body, list)
	}, func() any { return f.mount.Requests("crl") })
	f.waitMetric(t, "pki_edge_feed_sequence", f.mount.Sequence())
	peak := f.resident(t, "VmHWM")
	t.Logf("resident: %d MiB now, %d MiB at most", f.resident(t, "VmRSS")>>20, peak>>20)
	require.Less(t, peak, maxResident)
}

// waitRows waits until the edge knows so many certificates beside its own.
func (f front) waitRows(t testing.TB, count int) {
	t.Helper()
	f.waitMetric(t, "pki_edge_rows", count)
}

// waitMetric waits until a metric without labels has reached a number.
func (f front) waitMetric(t testing.TB, name string, least int) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + name + ` (\d+)$`)
	seen := 0
	wait.Until(t, fmt.Sprintf("%s is at least %d", name, least), func() bool {
		_, body := f.get(t, "/metrics", nil)
		found := line.FindSubmatch(body)
		if found == nil {
			return false
		}
		var err error
		seen, err = strconv.Atoi(string(found[1]))
		require.NoError(t, err)
		return seen >= least
	}, func() any { return seen })
}

// resident reads a figure of the edge's memory from the system.
func (f front) resident(t testing.TB, name string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.process(t)))
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB$`).FindSubmatch(status)
	require.NotNil(t, found)
	kib, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return kib << 10
}

// process finds the edge among this process's children by its configuration.
func (f front) process(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, entry := range entries {
		line, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
		if err == nil && bytes.Contains(line, []byte("pki-edge\x00-config\x00"+f.file("edge.yaml"))) {
			id, err := strconv.Atoi(entry.Name())
			require.NoError(t, err)
			return id
		}
	}
	t.Fatal("the edge is gone")
	return 0
}

// BenchmarkOCSP measures a whole edge over loopback, with clients that cost as little
// as they can: one request on a kept connection after the other.
func BenchmarkOCSP(b *testing.B) {
	f := startFront(b)
	der, err := ocsp.CreateRequest(&x509.Certificate{SerialNumber: f.serials["good"].Big()}, f.mount.CA, nil)
	require.NoError(b, err)
	never, err := ocsp.CreateRequest(&x509.Certificate{SerialNumber: cert.Serial("\x07never").Big()}, f.mount.CA, nil)
	require.NoError(b, err)
	get := "GET /ocsp/" + url.PathEscape(base64.StdEncoding.EncodeToString(der)) + " HTTP/1.1\r\nHost: x\r\n\r\n"
	post := func(body []byte) string {
		return fmt.Sprintf("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Type: application/ocsp-request\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	for name, request := range map[string]string{"GET/kept": get, "POST/kept": post(der), "POST/signed": post(never)} {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				connection, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
				if err != nil {
					b.Error(err)
					return
				}
				defer connection.Close()
				reader := bufio.NewReader(connection)
				for pb.Next() {
					if err := exchange(connection, reader, request); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
		})
	}
}

// exchange sends a request and reads its response.
func exchange(w io.Writer, r *bufio.Reader, request string) error {
	if _, err := io.WriteString(w, request); err != nil {
		return err
	}
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
