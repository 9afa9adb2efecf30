// Package edgemount promises a Vault server with one mount, as far as an edge sees it:
// an HTTP server that speaks the contract of the paths below edge/, with a CA of its
// own, whose history tests write. It knows nothing of the engine.
package edgemount

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

// The issuer of every Mount.
const (
	Issuer     = "4fb6b7b0-7f0f-4d3e-9c65-a2b0b1e5a101"
	IssuerName = "web"
)

// Token is the token that a Mount takes, RoleID and SecretID what it gives one for.
const (
	Token    = "hvs.edge"
	RoleID   = "role"
	SecretID = "secret"
)

// Mount is a running server.
type Mount struct {
	Server *httptest.Server
	CA     *x509.Certificate
	Key    crypto.Signer
	now    func() time.Time // dates what is signed

	mu       sync.Mutex // guards what follows
	manifest feed.Manifest
	rows     []feed.Row
	bodies   map[string][]byte // lists by name and number
	history  map[string]int64  // epochs that may be continued, with where they ended
	requests map[string]int
	serial   int64
	conduct
}

// conduct is how a mount behaves.
type conduct struct {
	refuse    int // status of every answer, 0: none
	pageRows  int
	responder time.Duration // life of responder certificates
	token     string
	lifetime  time.Duration // of tokens
}

// New starts a mount with one CA and no certificates.
func New(t testing.TB, now func() time.Time) *Mount {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := &Mount{
		Key: key, now: now, bodies: map[string][]byte{}, requests: map[string]int{}, history: map[string]int64{},
		serial: 1 << 20, conduct: conduct{pageRows: feed.MaxRows, responder: 14 * 24 * time.Hour, token: Token, lifetime: time.Hour},
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Edge Test CA"}, SubjectKeyId: []byte("edge test ca"),
		NotBefore: now().AddDate(-1, 0, 0), NotAfter: now().AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if m.CA, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	m.manifest = feed.Manifest{
		Epoch: "e1", Publishers: []feed.Publisher{},
		Issuers: []feed.Issuer{{
			ID: Issuer, Name: IssuerName, Certificate: pemOf(der), Chain: []string{}, CRLSigning: true, OCSP: true, Lists: []feed.List{},
		}},
		OCSP:       feed.OCSP{Expiry: 12 * 3600, NeverIssued: "unknown", Nonce: true, SHA1: true},
		Repository: feed.Repository{StalenessLimit: 24 * 3600, Organization: "Example"},
	}
	m.Server = httptest.NewServer(m.handler())
	t.Cleanup(m.Server.Close)
	return m
}

// Transport returns a way to the mount without a network, for synctest: there the clock
// moves only when nothing waits for a connection.
func (m *Mount) Transport() http.RoundTripper { return direct{m.Server.Config.Handler} }

type direct struct{ handler http.Handler }

// RoundTrip has the handler answer.
func (d direct) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	recorder := httptest.NewRecorder()
	if request.Body == nil {
		request = request.Clone(request.Context())
		request.Body = http.NoBody
	}
	d.handler.ServeHTTP(recorder, request)
	return recorder.Result(), nil
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// Edit changes the manifest.
func (m *Mount) Edit(edit func(manifest *feed.Manifest)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	edit(&m.manifest)
}

// Refuse makes every answer one of a status; 0 ends that.
func (m *Mount) Refuse(status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = status
}

// Requests returns how many requests to paths with a beginning there were.
func (m *Mount) Requests(prefix string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.requests[prefix]
}

// PageRows sets how many rows an answer holds at most.
func (m *Mount) PageRows(count int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pageRows = count
}

// ResponderLife sets how long responder certificates live from now on.
func (m *Mount) ResponderLife(life time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.responder = life
}

// TokenLife sets how long tokens live from now on.
func (m *Mount) TokenLife(life time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lifetime = life
}

// ChangeToken has logins give another token, the only one that is taken from now on.
func (m *Mount) ChangeToken(token string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.token = token
}

// Good puts a certificate into the feed; its serial number is returned.
func (m *Mount) Good() cert.Serial {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.serial++
	serial := cert.SerialOf(big.NewInt(m.serial))
	m.add(feed.Row{Serial: serial, State: feed.Good})
	return serial
}

// Revoke puts the revocation of a certificate into the feed.
func (m *Mount) Revoke(serial cert.Serial, reason cert.Reason) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(feed.Row{Serial: serial, State: feed.Revoked, Reason: reason, RevokedAt: m.now().Truncate(time.Second)})
}

// RevokeAll puts the revocation of every certificate into the feed and returns their
// serial numbers.
func (m *Mount) RevokeAll(reason cert.Reason) []cert.Serial {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := map[cert.Serial]bool{}
	for i := range m.rows {
		known[m.rows[i].Serial] = true
	}
	serials := slices.Collect(maps.Keys(known))
	at := m.now().Truncate(time.Second)
	for _, serial := range serials {
		m.add(feed.Row{Serial: serial, State: feed.Revoked, Reason: reason, RevokedAt: at})
	}
	return serials
}

// Sequence returns the sequence number of the newest row.
func (m *Mount) Sequence() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int(m.manifest.Sequence)
}

func (m *Mount) add(row feed.Row) {
	m.manifest.Sequence++
	row.Issuer, row.NotAfter, row.Sequence = Issuer, m.now().AddDate(0, 3, 0), uint64(m.manifest.Sequence)
	m.rows = append(m.rows, row)
}

// Restart begins another epoch that continues the history.
func (m *Mount) Restart(epoch string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.history[m.manifest.Epoch] = m.manifest.Sequence
	m.manifest.Epoch = epoch
}

// Restore begins another epoch that knows the first rows alone, and no epoch before.
func (m *Mount) Restore(epoch string, rows int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.history = map[string]int64{}
	m.rows = m.rows[:rows]
	m.manifest.Epoch, m.manifest.Sequence = epoch, 0
	for i := range m.rows {
		m.manifest.Sequence++
		m.rows[i].Sequence = uint64(m.manifest.Sequence)
	}
}

// List signs a complete CRL with a number and announces it.
func (m *Mount) List(t testing.TB, number int64, entries ...cert.Serial) []byte {
	t.Helper()
	return m.Sign(t, m.Key, feed.List{Kind: string(feed.Complete), Number: number}, entries...)
}

// Sign signs a CRL with a key and announces it in place of that of the same kind.
func (m *Mount) Sign(t testing.TB, key crypto.Signer, list feed.List, entries ...cert.Serial) []byte {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now().UTC().Truncate(time.Second)
	template := &x509.RevocationList{Number: big.NewInt(list.Number), ThisUpdate: now, NextUpdate: now.Add(4 * time.Hour)}
	for _, serial := range entries {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial.Big(), RevocationTime: now})
	}
	if list.BaseNumber != 0 {
		template.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, byte(list.BaseNumber)}}}
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, m.CA, key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	list.ThisUpdate, list.NextUpdate = now.Format(time.RFC3339), template.NextUpdate.Format(time.RFC3339)
	list.Size, list.SHA256 = int64(len(der)), hex.EncodeToString(sum[:])
	m.announce(list, der)
	return der
}

func (m *Mount) announce(list feed.List, der []byte) {
	issuer := &m.manifest.Issuers[0]
	lists := []feed.List{list}
	for _, other := range issuer.Lists {
		if other.Kind != list.Kind || other.Shard != list.Shard {
			lists = append(lists, other)
		}
	}
	issuer.Lists = lists
	m.bodies[bodyKey(nameOf(list), list.Number)] = der
}

// Spoil makes what is sent of a list differ from what is announced.
func (m *Mount) Spoil(list string, number int64, edit func(der []byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bodies[bodyKey(list, number)] = edit(m.bodies[bodyKey(list, number)])
}

func nameOf(list feed.List) string {
	if list.Kind == string(feed.Shard) {
		return list.Shard
	}
	return list.Kind
}

// Fill puts many certificates into the feed, with serial numbers as the ledger makes
// them.
func (m *Mount) Fill(count int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range count {
		octets := make([]byte, cert.MaxSerialOctets)
		_, _ = rand.Read(octets) // never fails
		octets[0] = 1
		m.add(feed.Row{Serial: cert.Serial(octets), State: feed.Good})
	}
}
