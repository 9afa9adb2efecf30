package edge_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// watched is an edge process that relying parties ask.
type watched struct {
	t        testing.TB
	settings string // path
	url      string
	log      string // path; it grows
	dir      string // of its copies
	ca       *x509.Certificate
	process  *exec.Cmd
	http     *http.Client
}

// watch lays out an edge of a mount, which start starts. It keeps its key in a file.
func watch(t testing.TB, vault, mount, token string, ca *x509.Certificate) *watched {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	w := &watched{
		t: t, url: "http://" + address, log: filepath.Join(dir, "log"), dir: filepath.Join(dir, "data"), ca: ca,
		http: &http.Client{Timeout: 10 * time.Second},
	}
	w.settings = writeFile(t, filepath.Join(dir, "edge.yaml"), fmt.Sprintf(`
name: edge-1
data_dir: %s
poll_interval: 200ms
vault: {address: "%s", mount: %s, token_file: %s}
listen: {address: "%s"}
signer: {key: file}
`, w.dir, vault, mount, writeFile(t, filepath.Join(dir, "token"), token), address))
	t.Cleanup(func() {
		w.end(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("log of the edge:\n%s", w.logged())
		}
	})
	return w
}

// away returns the settings of an edge that reaches no Vault.
func (w *watched) away() string {
	w.t.Helper()
	content, err := os.ReadFile(w.settings)
	require.NoError(w.t, err)
	nowhere := regexp.MustCompile(`address: "http://[^"]+", mount`).ReplaceAllString(string(content), `address: "http://127.0.0.1:1", mount`)
	require.NotEqual(w.t, string(content), nowhere)
	return writeFile(w.t, w.settings+".away", nowhere)
}

// start starts the process with these settings.
func (w *watched) start(settings string) {
	w.t.Helper()
	binary, err := harness.Binary("pki-edge")
	require.NoError(w.t, err)
	log, err := os.OpenFile(w.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(w.t, err)
	defer log.Close() // the process has its own copy of the descriptor
	w.process = exec.CommandContext(context.WithoutCancel(w.t.Context()), binary, "-config", settings)
	w.process.Stdout, w.process.Stderr = log, log
	w.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(w.t, w.process.Start())
}

// end signals the process and waits for its end.
func (w *watched) end(signal syscall.Signal) {
	if w.process != nil {
		_ = w.process.Process.Signal(signal) // it may have ended
		_ = w.process.Wait()
		w.process = nil
	}
}

func (w *watched) logged() string {
	content, _ := os.ReadFile(w.log) // none before the first start
	return string(content)
}

// get returns 0 when nobody answers.
func (w *watched) get(path string) (int, []byte) {
	response, err := w.http.Get(w.url + path)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return response.StatusCode, body
}

// until asks again and again until the condition holds.
func (w *watched) until(what string, condition func() bool) {
	w.t.Helper()
	for watch := wait.New(); !condition(); time.Sleep(10 * time.Millisecond) {
		if watch.Still() {
			_, ready := w.get("/readyz")
			w.t.Fatalf("%s: nothing moves; %s", what, ready)
		}
	}
}

func (w *watched) ready() {
	w.t.Helper()
	w.until("the edge is ready", func() bool {
		status, _ := w.get("/readyz")
		return status == http.StatusOK
	})
}

// metric returns the value of a metric without labels, 0 when there is none.
func (w *watched) metric(name string) float64 {
	_, body := w.get("/metrics")
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(body)
	if found == nil {
		return 0
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	require.NoError(w.t, err)
	return value
}

// says asks by GET or POST, by chance of the serial number's last bit, and returns
// "good", "revoked", "unknown", or what came in place of an answer.
func (w *watched) says(serial *big.Int) string {
	request, err := ocsp.CreateRequest(&x509.Certificate{SerialNumber: serial}, w.ca, nil)
	if err != nil {
		return err.Error()
	}
	var response *http.Response
	if serial.Bit(0) == 0 {
		response, err = w.http.Get(w.url + "/ocsp/" + url.PathEscape(base64.StdEncoding.EncodeToString(request)))
	} else {
		response, err = w.http.Post(w.url+"/ocsp", "application/ocsp-request", bytes.NewReader(request))
	}
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	answer, err := ocsp.ParseResponse(body, w.ca)
	if errors.Is(err, ocsp.ResponseError{Status: ocsp.TryLater}) {
		return "tryLater"
	}
	if err != nil {
		return err.Error()
	}
	if answer.SerialNumber.Cmp(serial) != 0 {
		return "an answer about another"
	}
	return [...]string{"good", "revoked", "unknown"}[answer.Status]
}

// list fetches a CRL and verifies it, nil when it is not served.
func (w *watched) list(path string) *x509.RevocationList {
	w.t.Helper()
	status, body := w.get(path)
	if status != http.StatusOK {
		return nil
	}
	list, err := x509.ParseRevocationList(body)
	require.NoError(w.t, err)
	require.NoError(w.t, list.CheckSignatureFrom(w.ca))
	return list
}

// meanwhile does something again and again until the returned function is called,
// which tells how often.
func meanwhile(do func()) (stop func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	times := 0
	group.Go(func() {
		for ; ctx.Err() == nil; times++ {
			do()
			time.Sleep(2 * time.Millisecond)
		}
	})
	return func() int {
		cancel()
		group.Wait()
		return times
	}
}

// cluster is a Vault server with raft storage, for all tests of the package that want
// one: started by the first, stopped by TestMain.
var cluster *harness.Cluster

func TestMain(m *testing.M) {
	code := m.Run()
	if cluster != nil {
		if err := cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "harness:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// plant is an edge of a mount of the cluster.
type plant struct {
	*watched
	node  *harness.Server
	mount string
}

// newPlant mounts the engine, makes a root and the role "web", and lays out an edge.
func newPlant(t testing.TB) *plant {
	t.Helper()
	if cluster == nil {
		started, err := harness.StartRaft(harness.Config{}, 1)
		require.NoError(t, err)
		cluster = started
		require.NoError(t, cluster.Register(harness.PluginName, "vault-plugin-secrets-enterprise-pki"))
	}
	node := cluster.Nodes[0]
	p := &plant{node: node, mount: node.Mount(t)}
	p.watched = &watched{t: t}
	made := p.write("root/generate/internal", map[string]any{"common_name": "Fault Root", "key_type": "ec", "issuer_name": "root", "ttl": "8760h"})
	block, _ := pem.Decode([]byte(made["certificate"].(string)))
	ca, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	p.write("roles/web", map[string]any{"allow_any_name": true, "enforce_hostnames": false, "require_cn": false, "key_type": "ec", "ttl": "24h", "max_ttl": "24h"})
	p.write("config/crl", map[string]any{"rebuild_delay": "1s"})
	p.watched = watch(t, node.Address, p.mount, node.Client().Token(), ca)
	return p
}

// write writes below the mount and returns the answer's data.
func (p *plant) write(path string, body map[string]any) map[string]any {
	p.t.Helper()
	secret, err := p.node.Client().Logical().WriteWithContext(p.t.Context(), p.mount+"/"+path, body)
	require.NoError(p.t, err)
	if secret == nil {
		return nil
	}
	return secret.Data
}

// issue has a certificate issued and returns its serial number.
func (p *plant) issue() *big.Int {
	p.t.Helper()
	return number(p.write("issue/web", map[string]any{"common_name": "www.example.com"})["serial_number"].(string))
}

// revoke revokes for a reason that the CRL shows at once.
func (p *plant) revoke(serial *big.Int) {
	p.t.Helper()
	p.write("revoke", map[string]any{"serial_number": colons(serial), "reason": "keyCompromise"})
}

// follows waits until the edge says this of a certificate.
func (p *plant) follows(serial *big.Int, word string) {
	p.t.Helper()
	p.until(fmt.Sprintf("the edge says that %x is %s", serial, word), func() bool { return p.says(serial) == word })
}

// number returns a serial number that the API wrote.
func number(text string) *big.Int {
	n, _ := new(big.Int).SetString(strings.ReplaceAll(text, ":", ""), 16)
	return n
}

// colons is the inverse of number.
func colons(serial *big.Int) string {
	var parts []string
	for _, octet := range serial.Bytes() {
		parts = append(parts, fmt.Sprintf("%02x", octet))
	}
	return strings.Join(parts, ":")
}
