package crash_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

const (
	plugin = "vault-plugin-secrets-enterprise-pki"
	mount  = "pki"
	token  = "root"

	// requestLimit is how long one request may take; one that was cut off could be
	// carried out later, so it is long.
	requestLimit = 60 * time.Second
)

// fields is the body of a request.
type fields = map[string]any

// site is a cluster with the engine mounted, and what its users wrote down.
type site struct {
	t       *testing.T
	cluster *harness.Cluster
	uuid    string // of the mount: its folder in storage
	root    *x509.Certificate
	http    *http.Client
	node    atomic.Int64 // the one that answered last
	book    *book
	kills   int // so far
}

// newSite starts a cluster of so many nodes, mounts the engine and makes a root CA
// and the role "web" for any name.
func newSite(t *testing.T, nodes int) *site {
	t.Helper()
	cluster, err := harness.StartRaft(harness.Config{Settings: "raw_storage_endpoint = true"}, nodes)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cluster.Stop()) })
	for _, node := range cluster.Nodes {
		node.ShowLog(t)
	}
	require.NoError(t, cluster.Register(harness.PluginName, plugin))
	active, err := cluster.Active()
	require.NoError(t, err)
	require.NoError(t, active.Client().Sys().Mount(mount, &api.MountInput{Type: harness.PluginName}))
	info, err := active.Client().Sys().GetMount(mount)
	require.NoError(t, err)

	s := &site{
		t: t, cluster: cluster, uuid: info.UUID, book: newBook(t),
		http: &http.Client{
			Timeout: requestLimit, Transport: &http.Transport{MaxIdleConnsPerHost: 16},
			// A standby that cannot forward redirects to a URL in which "//" is one slash:
			// that is another OCSP request.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	var made struct {
		Certificate string `json:"certificate"`
	}
	s.write(mount+"/issuers/generate/root/internal", fields{"common_name": "Crash Root", "key_type": "ec", "issuer_name": "root"}).decode(t, &made)
	s.root, err = x509.ParseCertificate(derOf(made.Certificate))
	require.NoError(t, err)
	s.write(mount+"/roles/web", fields{"allow_any_name": true, "key_type": "ec", "ttl": "24h", "max_ttl": "24h"})
	s.write(mount+"/config/crl", fields{"rebuild_delay": "2s"})
	return s
}

// answer is what came back; Status 0 says that nothing did.
type answer struct {
	Status int
	Body   []byte
}

func (a answer) ok() bool { return a.Status == http.StatusOK || a.Status == http.StatusNoContent }

// elsewhere reports whether another node may be of more use.
func (a answer) elsewhere() bool {
	return a.Status < http.StatusBadRequest && !a.ok() || a.Status >= http.StatusInternalServerError
}

// decode reads what is under "data".
func (a answer) decode(t *testing.T, target any) {
	t.Helper()
	envelope := struct {
		Data any `json:"data"`
	}{target}
	require.NoError(t, json.Unmarshal(a.Body, &envelope), "%s", a.Body)
}

// ask makes one request, once, to the node that answered last; when that one is
// gone or of no use, the next request goes to the next.
func (s *site) ask(method, path string, body fields) answer {
	at := s.node.Load()
	a := s.askNode(s.cluster.Nodes[int(at)%len(s.cluster.Nodes)], method, path, body)
	if a.elsewhere() {
		s.node.CompareAndSwap(at, at+1)
	}
	s.book.answered(method, path, a)
	return a
}

func (s *site) askNode(node *harness.Server, method, path string, body fields) answer {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			panic(err) // maps of texts and numbers have an encoding
		}
	}
	request, err := http.NewRequestWithContext(context.Background(), method, node.Address+"/v1/"+path, bytes.NewReader(content))
	if err != nil {
		panic(err) // the paths are the tests' own
	}
	request.Header.Set("X-Vault-Token", token)
	response, err := s.http.Do(request)
	if err != nil {
		return answer{Body: []byte(err.Error())}
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{Body: []byte(err.Error())} // cut off: nobody received it
	}
	return answer{Status: response.StatusCode, Body: raw}
}

// write writes where nothing is killed: it has to succeed.
func (s *site) write(path string, body fields) answer {
	s.t.Helper()
	return s.must(http.MethodPost, path, body)
}

// must repeats a request until it succeeds, which it has to by itself.
func (s *site) must(method, path string, body fields) (a answer) {
	s.t.Helper()
	s.until(method+" "+path, func() bool {
		a = s.ask(method, path, body)
		return a.ok()
	})
	return a
}

// until asks again and again until the condition holds, in the test's own goroutine.
func (s *site) until(what string, condition func() bool) {
	s.t.Helper()
	for watch := wait.New(); !condition(); time.Sleep(20 * time.Millisecond) {
		if watch.Still() {
			s.t.Fatalf("%s: nothing moves; %s", what, s.book)
		}
	}
}

// active returns the active node.
func (s *site) active() *harness.Server {
	s.t.Helper()
	node, err := s.cluster.Active()
	require.NoError(s.t, err)
	return node
}

// derOf returns the content of the first PEM block, nil when there is none.
func derOf(text string) []byte {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil
	}
	return block.Bytes
}
