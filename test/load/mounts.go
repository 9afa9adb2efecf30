package load

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net/http"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// rootToken is the token of the harness's servers.
const rootToken = "root"

// bench is one run under way: the server, the load and the mounts.
type bench struct {
	config  Config
	cluster *harness.Cluster // of one node
	server  *harness.Server
	client  *client
	csrs    []string // PEM

	certificates *pair // of sign, batch, issue and ocsp
	revocations  *pair // of revoke and crl
	revoked      int   // how many each mount of revocations had revoked for it
	mounted      int

	edge  *edge    // that runs; nil: none
	known []string // serial numbers of certificates that it was seen to know
}

func newBench(config Config, cluster *harness.Cluster) (*bench, error) {
	server := cluster.Nodes[0]
	b := &bench{config: config, cluster: cluster, server: server, client: newClient(server.Address, rootToken, 256)}
	for n := range config.Requests {
		csr, err := newCSR(fmt.Sprintf("host-%d.example.com", n))
		if err != nil {
			return nil, err
		}
		b.csrs = append(b.csrs, csr)
	}
	return b, nil
}

// newCSR makes a P-256 key and its request for one name, in PEM.
func newCSR(name string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

// mount is one mount of one engine with a P-256 root and two roles: web for P-256
// keys of CSRs, rsa for RSA-2048 keys that the engine makes.
type mount struct {
	path     string
	authored string // PEM of the root
}

// pair is a mount of this engine and one of the built-in.
type pair struct{ ours, builtIn *mount }

// newPair mounts both engines and sets them up with the same requests.
func (b *bench) newPair(ctx context.Context) (*pair, error) {
	b.mounted++
	made := make([]*mount, 2)
	for i, engine := range []string{harness.PluginName, "pki"} {
		m := &mount{path: fmt.Sprintf("%s-%d", engine, b.mounted)}
		if err := b.setUp(ctx, m, engine); err != nil {
			return nil, fmt.Errorf("mounting %s: %w", engine, err)
		}
		made[i] = m
	}
	return &pair{ours: made[0], builtIn: made[1]}, nil
}

func (b *bench) setUp(ctx context.Context, m *mount, engine string) error {
	mount := map[string]any{"type": engine, "config": map[string]any{"max_lease_ttl": "87600h"}}
	if err := b.client.post(ctx, "sys/mounts/"+m.path, mount, nil); err != nil {
		return err
	}
	var root struct {
		Certificate string `json:"certificate"`
	}
	err := b.client.post(ctx, m.path+"/root/generate/internal", map[string]any{
		"common_name": "Load Root", "key_type": "ec", "key_bits": 256, "ttl": "87600h",
	}, &root)
	if err != nil {
		return err
	}
	m.authored = root.Certificate
	for name, key := range map[string]map[string]any{
		"web": {"key_type": "ec", "key_bits": 256},
		"rsa": {"key_type": "rsa", "key_bits": 2048},
	} {
		role := map[string]any{"allowed_domains": "example.com", "allow_subdomains": true, "ttl": "24h", "max_ttl": "72h"}
		for field, value := range key {
			role[field] = value
		}
		if err := b.client.post(ctx, m.path+"/roles/"+name, role, nil); err != nil {
			return err
		}
	}
	return nil
}

// shared returns the pair of mounts that most works use.
func (b *bench) shared(ctx context.Context) (*pair, error) {
	if b.certificates == nil {
		made, err := b.newPair(ctx)
		if err != nil {
			return nil, err
		}
		b.certificates = made
	}
	return b.certificates, nil
}

// turns returns a function that gives the requests in turn, for ever.
func turns(requests []request) func() request {
	var count atomic.Uint64
	return func() request { return requests[(count.Add(1)-1)%uint64(len(requests))] }
}

// each returns a function that gives each request once, then empty ones.
func each(requests []request) func() request {
	var count atomic.Uint64
	return func() request {
		if n := count.Add(1); n <= uint64(len(requests)) {
			return requests[n-1]
		}
		return request{}
	}
}

// signed is the data of an answer to sign and issue.
type signed struct {
	Certificate string `json:"certificate"`
	Serial      string `json:"serial_number"`
}

// stock has a mount issue so many certificates, outside any measurement, and returns
// their serial numbers.
func (b *bench) stock(ctx context.Context, m *mount, count int) ([]string, error) {
	serials, next := make([]string, count), turns(b.signRequests(m))
	err := b.spread(ctx, count, func(ctx context.Context, n int, buffer *bytes.Buffer) error {
		if err := b.client.send(ctx, next(), buffer); err != nil {
			return err
		}
		var answer signed
		if err := decode(buffer.Bytes(), &answer); err != nil {
			return err
		}
		serials[n] = answer.Serial
		return nil
	})
	return serials, err
}

// spread calls work for 0..count-1 from several clients at once.
func (b *bench) spread(ctx context.Context, count int, work func(context.Context, int, *bytes.Buffer) error) error {
	ctx, cancel := wait.Context(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	var taken atomic.Int64
	for range preparers {
		group.Go(func() error {
			var buffer bytes.Buffer
			for n := int(taken.Add(1)) - 1; n < count; n = int(taken.Add(1)) - 1 {
				if err := work(ctx, n, &buffer); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// signRequests returns a sign request for every CSR.
func (b *bench) signRequests(m *mount) []request {
	requests := make([]request, len(b.csrs))
	for i, csr := range b.csrs {
		requests[i] = request{method: http.MethodPost, path: m.path + "/sign/web", body: encode(map[string]any{"csr": csr})}
	}
	return requests
}

// certificateIn parses the certificate of an answer.
func certificateIn(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fmt.Errorf("reading a certificate: no PEM in %.80q", text)
	}
	return x509.ParseCertificate(block.Bytes)
}

// preparers is how many clients work at once outside measurements.
const preparers = 32
