package publish_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/config"
	"vault-plugin-secrets-enterprise-pki/edge/publish"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// authority is a CA that signs lists.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1, 2, 3},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{certificate, key}
}

// list signs a CRL with entries; the number of them tells lists apart.
func (a authority) list(t testing.TB, number int64, entries int) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for i := range entries {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(int64(i) + 7), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.certificate, a.key)
	require.NoError(t, err)
	return der
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// mount is a Source and a Reporter as an edge has them.
type mount struct {
	mu       sync.Mutex
	manifest *feed.Manifest
	changed  chan struct{}
	lists    map[string][]byte
	reported map[string]feed.ReportItem // by publisher, issuer and list
	refuse   error                      // what Report answers
	heard    chan struct{}              // closed and replaced with each report
}

func newMount() *mount {
	return &mount{changed: make(chan struct{}), lists: map[string][]byte{}, reported: map[string]feed.ReportItem{}, heard: make(chan struct{})}
}

func (m *mount) Manifest() (*feed.Manifest, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.manifest, m.changed
}

func (m *mount) List(digest string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	content, ok := m.lists[digest]
	if !ok {
		return nil, errors.New("no such list")
	}
	return content, nil
}

func (m *mount) Report(_ context.Context, publisher string, items []feed.ReportItem) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse == nil {
		for _, item := range items {
			m.reported[publisher+" "+item.Issuer+" "+item.List] = item
		}
	}
	close(m.heard)
	m.heard = make(chan struct{})
	return m.refuse
}

// set publishes a manifest: one issuer with its lists, by "complete", "delta" or "8-3".
func (m *mount) set(a authority, lists map[string][]byte, publishers ...feed.Publisher) {
	issuer := feed.Issuer{ID: "11111111-aaaa", Name: "servers", Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, content := range lists {
		list := feed.List{Kind: name, SHA256: digest(content), Size: int64(len(content))}
		if name != "complete" && name != "delta" {
			list.Kind, list.Shard = "shard", name
		}
		if parsed, err := x509.ParseRevocationList(content); err == nil {
			list.Number = parsed.Number.Int64()
		}
		m.lists[list.SHA256] = content
		issuer.Lists = append(issuer.Lists, list)
	}
	m.manifest = &feed.Manifest{Issuers: []feed.Issuer{issuer}, Publishers: publishers}
	close(m.changed)
	m.changed = make(chan struct{})
}

// wait returns the first report about an item that is as it should be.
func (m *mount) wait(t testing.TB, publisher, list string, is func(feed.ReportItem) bool) feed.ReportItem {
	t.Helper()
	watch, tick := wait.New(), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		m.mu.Lock()
		item, ok := m.reported[publisher+" 11111111-aaaa "+list]
		heard := m.heard
		m.mu.Unlock()
		if ok && is(item) {
			return item
		}
		select {
		case <-heard:
		case <-tick.C:
			require.False(t, watch.Still(), "no such report about %s of %s; the last is %+v", list, publisher, item)
		}
	}
}

// holds waits until a publisher's place was read back with this content.
func (m *mount) holds(t testing.TB, publisher, list string, content []byte) {
	t.Helper()
	m.wait(t, publisher, list, func(item feed.ReportItem) bool { return item.Error == "" && item.SHA256 == digest(content) })
}

// fails waits until an item of a publisher was reported as failed, and says why.
func (m *mount) fails(t testing.TB, publisher, list string) string {
	t.Helper()
	return m.wait(t, publisher, list, func(item feed.ReportItem) bool { return item.Error != "" }).Error
}

// run starts a service for the length of a test.
func run(t testing.TB, m *mount, credentials map[string]config.Credential, directories ...string) *publish.Service {
	t.Helper()
	service := publish.New(publish.Config{
		Source: m, Reporter: m, Credentials: credentials, Directories: directories, Now: time.Now, Log: hclog.NewNullLogger(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { service.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return service
}
