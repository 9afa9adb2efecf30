package load

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// edgeBinary is the name of the edge's binary in bin/.
const edgeBinary = "pki-edge"

// edgePolicy is what an edge of a mount may do; see docs/how-to/edge-policy.md.
const edgePolicy = `
path "%[1]s/edge/manifest" { capabilities = ["read"] }
path "%[1]s/edge/status/*" { capabilities = ["read"] }
path "%[1]s/edge/crl/+/+/+/+" { capabilities = ["read"] }
path "%[1]s/edge/ocsp-signer/*" { capabilities = ["update"] }
`

// edge is one pki-edge process, in its default configuration but for its key: that is
// on disk, so that a restart needs nothing of Vault.
type edge struct {
	mount   *mount
	root    *x509.Certificate
	dir     string
	address string // host:port
	http    *http.Client
	binary  string
	process *exec.Cmd
	log     *os.File
}

// newEdge gives an edge of a mount its folder, token and configuration. It does not
// run yet.
func (b *bench) newEdge(ctx context.Context, m *mount) (*edge, error) {
	root, err := certificateIn(m.authored)
	if err != nil {
		return nil, err
	}
	binary, err := harness.Binary(edgeBinary)
	if err != nil {
		return nil, err
	}
	if err := b.client.post(ctx, "sys/policies/acl/edge-"+m.path, map[string]any{"policy": fmt.Sprintf(edgePolicy, m.path)}, nil); err != nil {
		return nil, err
	}
	token, err := b.client.newToken(ctx, "edge-"+m.path)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &edge{mount: m, root: root, binary: binary, address: listener.Addr().String(), http: newClient("", "", preparers).http}
	if err := listener.Close(); err != nil {
		return nil, err
	}
	if e.dir, err = os.MkdirTemp("", "pki-edge-load"); err != nil {
		return nil, err
	}
	settings := fmt.Sprintf("name: edge\ndata_dir: %[1]s/data\nlisten: {address: %[2]q}\nsigner: {key: file}\nvault: {address: %[3]q, mount: %[4]s, token_file: %[1]s/token}\n",
		e.dir, e.address, b.server.Address, m.path)
	return e, errors.Join(
		os.WriteFile(filepath.Join(e.dir, "token"), []byte(token), 0o600),
		os.WriteFile(filepath.Join(e.dir, "edge.yaml"), []byte(settings), 0o600),
	)
}

// newToken makes a token with one policy.
func (c *client) newToken(ctx context.Context, policy string) (string, error) {
	var buffer bytes.Buffer
	r := request{method: http.MethodPost, path: "auth/token/create", body: encode(map[string]any{"policies": []string{policy}, "period": "24h"})}
	if err := c.send(ctx, r, &buffer); err != nil {
		return "", err
	}
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	err := json.Unmarshal(buffer.Bytes(), &made)
	return made.Auth.Token, err
}

// startEdge starts an edge, which is the one that is measured until it is stopped.
func (b *bench) startEdge(e *edge) error {
	var err error
	if e.log, err = os.OpenFile(filepath.Join(e.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	e.process = exec.Command(e.binary, "-config", filepath.Join(e.dir, "edge.yaml")) //nolint:noctx // it outlives what starts it, until stopEdge
	e.process.Stdout, e.process.Stderr = e.log, e.log
	e.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := e.process.Start(); err != nil {
		return errors.Join(fmt.Errorf("starting the edge: %w", err), e.log.Close())
	}
	b.edge = e
	return nil
}

// stopEdge ends the edge that runs, if there is one, in order.
func (b *bench) stopEdge() error {
	e := b.edge
	if e == nil {
		return nil
	}
	b.edge = nil
	if err := e.process.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping the edge: %w", err)
	}
	if err := errors.Join(e.process.Wait(), e.log.Close()); err != nil {
		return fmt.Errorf("stopping the edge: %w; it said: %s", err, e.said())
	}
	return nil
}

// dropEdge ends the edge and removes its folder.
func (b *bench) dropEdge() error {
	e := b.edge
	if e == nil {
		return nil
	}
	return errors.Join(b.stopEdge(), os.RemoveAll(e.dir))
}

func (e *edge) id() int { return e.process.Process.Pid }

// said returns the end of the edge's log.
func (e *edge) said() string {
	content, err := os.ReadFile(filepath.Join(e.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-1000):])
}

// get asks the edge for a path, over connections of its own that stay open.
func (e *edge) get(ctx context.Context, path string) ([]byte, error) {
	message, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.address+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := e.http.Do(message)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d: %.300s", path, response.StatusCode, body)
	}
	return body, err
}

// edgePause is between two looks at an edge.
const edgePause = 10 * time.Millisecond

// until repeats a look at the edge until it says yes, and returns when that was. An
// edge that cannot be asked yet, or has nothing to say, is asked again.
func (e *edge) until(ctx context.Context, what string, look func(context.Context) (bool, error)) (time.Time, error) {
	limited, cancel := wait.Context(ctx)
	defer cancel()
	for {
		is, err := look(limited)
		if err == nil && is {
			return time.Now(), nil
		}
		if pause(limited, edgePause) != nil {
			return time.Time{}, errors.Join(fmt.Errorf("waiting until %s: %w; the edge said: %s", what, limited.Err(), e.said()), err)
		}
	}
}

// untilReady waits until the edge is to be asked and knows so many certificates.
func (e *edge) untilReady(ctx context.Context, certificates int) (time.Time, error) {
	return e.until(ctx, "the edge is ready", func(ctx context.Context) (bool, error) {
		if _, err := e.get(ctx, "/readyz"); err != nil {
			return false, err
		}
		rows, err := e.rows(ctx)
		return rows >= certificates, err
	})
}

var rowsMetric = regexp.MustCompile(`(?m)^pki_edge_rows (\d+)$`)

// rows returns how many certificates the edge knows.
func (e *edge) rows(ctx context.Context) (int, error) {
	text, err := e.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	found := rowsMetric.FindSubmatch(text)
	if found == nil {
		return 0, errors.New("the edge does not say how many certificates it knows")
	}
	return strconv.Atoi(string(found[1]))
}

// untilSays waits until the edge says that of a certificate.
func (e *edge) untilSays(ctx context.Context, serial string, status int) (time.Time, error) {
	r, err := e.getStatus(serial)
	if err != nil {
		return time.Time{}, err
	}
	return e.until(ctx, "OCSP tells of "+serial, func(ctx context.Context) (bool, error) {
		answer, err := e.get(ctx, r.path)
		if err != nil {
			return false, err
		}
		err = checkStatus(answer, e.root, status)
		return err == nil, err
	})
}

// list returns the path of the complete CRL.
func (e *edge) list(ctx context.Context) (string, error) {
	metrics, err := e.get(ctx, "/metrics")
	if err != nil {
		return "", err
	}
	found := listMetric.FindSubmatch(metrics)
	if found == nil {
		return "", errors.New("the edge has no CRL")
	}
	return "/crl/" + string(found[1]) + ".crl", nil
}

var listMetric = regexp.MustCompile(`(?m)^pki_edge_crl_number\{issuer="([^"]+)",list="complete"\}`)

// getStatus and postStatus ask the edge about a certificate.
func (e *edge) getStatus(serial string) (request, error) {
	der, err := question(serial, e.root)
	if err != nil {
		return request{}, err
	}
	r := request{method: http.MethodGet, path: "/ocsp/" + inPath(der)}
	r.wire = r.prepared(r.path)
	return r, nil
}

func (e *edge) postStatus(serial string) (request, error) {
	der, err := question(serial, e.root)
	if err != nil {
		return request{}, err
	}
	r := request{method: http.MethodPost, path: "/ocsp", body: der}
	r.wire = r.prepared(r.path)
	return r, nil
}
