package ocsp_test

import (
	"context"
	"crypto"
	"crypto/fips140"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// noon is the time at which most tests begin.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// algorithm is one row of the algorithms that a response can be signed with.
type algorithm struct {
	name      string
	key       cert.KeySpec
	signature x509.SignatureAlgorithm
}

var algorithms = []algorithm{
	{"P-256", cert.P256, x509.ECDSAWithSHA256},
	{"P-384", cert.P384, x509.ECDSAWithSHA384},
	{"P-521", cert.P521, x509.ECDSAWithSHA512},
	{"RSA PKCS1", cert.RSA2048, x509.SHA256WithRSA},
	{"RSA PSS", cert.RSA2048, x509.SHA256WithRSAPSS},
	{"Ed25519", cert.Edwards25519, x509.PureEd25519},
}

// ca is a CA with its key.
type ca struct {
	certificate *x509.Certificate
	key         crypto.Signer
	signature   x509.SignatureAlgorithm
}

// newCA makes a self-signed CA that lives from a year before now to a year after.
func newCA(t testing.TB, a algorithm, name string, now time.Time) ca {
	t.Helper()
	key, err := cert.GenerateKey(a.key)
	require.NoError(t, err)
	return selfSigned(t, key, a, name, now)
}

func selfSigned(t testing.TB, key crypto.Signer, a algorithm, name string, now time.Time) ca {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, SignatureAlgorithm: a.signature, Subject: pkix.Name{CommonName: name},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, SubjectKeyId: []byte(name),
		KeyUsage: x509.KeyUsageCRLSign | x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return ca{certificate, key, a.signature}
}

// issue signs a certificate.
func (c ca) issue(t testing.TB, template *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, c.certificate, pub, c.key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return certificate
}

// authority returns the CA as one that signs.
func (c ca) authority(t testing.TB) *sign.Authority {
	t.Helper()
	authority, err := sign.NewAuthority(sign.Config{Certificate: c.certificate, Signer: c.key, Algorithm: c.signature})
	require.NoError(t, err)
	return authority
}

// source is an ocsp.Source over CAs in memory.
type source struct {
	t   testing.TB
	now func() time.Time

	mu          sync.Mutex // guards what follows
	issuers     []ocsp.Issuer
	byID        map[string]ca
	delegations int
	refuse      func(issuer string) error
	noDirect    error
	edit        func(*x509.Certificate) // changes the responder's certificate
}

func (s *source) Issuers() []ocsp.Issuer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issuers
}

// Delegate certifies a responder for 14 days, as the preset ocsp-responder does.
func (s *source) Delegate(_ context.Context, issuer string, pub crypto.PublicKey, validity time.Duration) (*x509.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		if err := s.refuse(issuer); err != nil {
			return nil, err
		}
	}
	s.delegations++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(0x7000 + s.delegations)), Subject: pkix.Name{CommonName: "responder"},
		NotBefore: s.now().Add(-time.Minute), NotAfter: s.now().Add(validity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: []byte{5, 0}}},
	}
	if end := s.byID[issuer].certificate.NotAfter; template.NotAfter.After(end) {
		template.NotAfter = end
	}
	if s.edit != nil {
		s.edit(template)
	}
	return s.byID[issuer].issue(s.t, template, pub), nil
}

func (s *source) Direct(_ context.Context, issuer string) (*sign.Authority, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noDirect != nil {
		return nil, s.noDirect
	}
	return s.byID[issuer].authority(s.t), nil
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delegations
}

func (s *source) add(id string, c ca) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[id] = c
	s.issuers = append(s.issuers[:len(s.issuers):len(s.issuers)], ocsp.Issuer{ID: id, DER: c.certificate.Raw})
}

// mount is a responder with one issuer, "root".
type mount struct {
	*ocsp.Responder
	clock  *clock
	store  *kvtest.Store // of the responder
	pages  *kvtest.Store // of the ledger
	ledger *ledger.Ledger
	source *source
	ca     ca
}

// newMount returns a mount whose responder is prepared.
func newMount(t testing.TB, now time.Time) *mount {
	t.Helper()
	m := &mount{clock: &clock{now: now}, store: kvtest.New(), pages: kvtest.New(), ca: newCA(t, algorithms[0], "root", now)}
	m.ledger = ledger.New(ledger.Config{Store: m.pages, Now: m.clock.Now})
	require.NoError(t, m.ledger.Load(t.Context()))
	m.source = &source{t: t, now: m.clock.Now, byID: map[string]ca{}}
	m.source.add("root", m.ca)
	m.Responder = m.restart()
	require.NoError(t, m.Prepare(t.Context()))
	return m
}

// restart returns the responder of another process.
func (m *mount) restart() *ocsp.Responder {
	return ocsp.New(ocsp.Config{Store: m.store, Ledger: m.ledger, Source: m.source, Now: m.clock.Now})
}

// add records n certificates of an issuer.
func (m *mount) add(t testing.TB, issuer string, n int) []*x509.Certificate {
	t.Helper()
	var certificates []*x509.Certificate
	for len(certificates) < n {
		batch := min(n-len(certificates), ledger.MaxPage)
		page, err := m.ledger.NewPage(batch)
		require.NoError(t, err)
		for range batch {
			serial := page.Serial()
			template := &x509.Certificate{
				SerialNumber: serial.Big(), Subject: pkix.Name{CommonName: "leaf"},
				NotBefore: m.clock.Now().AddDate(0, 0, -1), NotAfter: m.clock.Now().AddDate(0, 0, 30),
			}
			by := m.source.byID[issuer]
			leaf := by.issue(t, template, by.key.Public())
			require.NoError(t, page.Add(ledger.Record{Serial: serial, DER: leaf.Raw, Issuer: issuer, IssuedAt: m.clock.Now()}))
			certificates = append(certificates, leaf)
		}
		require.NoError(t, m.ledger.Commit(t.Context(), page))
	}
	return certificates
}

// revoke records a revocation and nothing else: nobody tells the responder.
func (m *mount) revoke(t testing.TB, certificate *x509.Certificate, reason cert.Reason) {
	t.Helper()
	_, changed, err := m.ledger.Revoke(t.Context(), cert.SerialOf(certificate.SerialNumber), ledger.Revocation{At: m.clock.Now(), Reason: reason})
	require.NoError(t, err)
	require.True(t, changed)
}

// hash hashes as requests do, in strict FIPS mode as well.
func hash(h crypto.Hash, data []byte) (sum []byte) {
	fips140.WithoutEnforcement(func() {
		d := h.New()
		d.Write(data)
		sum = d.Sum(nil)
	})
	return sum
}

// Belongs implements ocsp.Source: an issuer is a CA of its own.
func (s *source) Belongs(issuer, ca string) (bool, error) { return issuer == ca, nil }

// Former implements ocsp.Source.
func (s *source) Former(context.Context, string) ([]string, error) { return nil, nil }
