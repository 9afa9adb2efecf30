package crl_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// issuers is a crl.Source over authorities in memory.
type issuers struct {
	mu    sync.Mutex // guards what follows
	byID  map[string]ca
	err   error               // what Authority answers instead
	asked func(issuer string) // called by Authority

	members map[string][]string // issuers by CA, not changed; a CA that is not here has itself

	points crl.Points
	kept   map[string]time.Duration // by profile
}

func (s *issuers) Points(context.Context, string) (crl.Points, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.points, nil
}

func (s *issuers) Retention(_ context.Context, profile string) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[profile], nil
}

// point changes where certificates say that the lists are.
func (s *issuers) point(points crl.Points) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.points = points
}

func (s *issuers) Authority(_ context.Context, issuer string) (*sign.Authority, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked != nil {
		s.asked(issuer)
	}
	if s.err != nil {
		return nil, s.err
	}
	found, ok := s.byID[issuer]
	if !ok {
		return nil, fault.New(fault.NotFound, "issuer %s does not exist", issuer)
	}
	return found.Authority, nil
}

func (s *issuers) Publishers(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id := range s.byID {
		ids = append(ids, id)
	}
	return ids, nil
}

func (s *issuers) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *issuers) onAsked(f func(issuer string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = f
}

// mount is a CRL service on storage of its own, so that counts are its own.
type mount struct {
	*crl.Service
	store  *kvtest.Store
	ledger *ledger.Ledger
	source *issuers
	ca     ca
	now    func() time.Time
}

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

// newMount returns a mount with one issuer, "root", and a loaded ledger.
func newMount(t testing.TB, now func() time.Time) *mount {
	t.Helper()
	m := &mount{
		store:  kvtest.New(),
		ledger: ledger.New(ledger.Config{Store: kvtest.New(), Now: now}),
		ca:     newCA(t, algorithms[0]),
		now:    now,
	}
	m.source = &issuers{byID: map[string]ca{"root": m.ca}}
	require.NoError(t, m.ledger.Load(t.Context()))
	m.Service = m.restart(m.store)
	t.Cleanup(func() { m.Close() })
	return m
}

// restart returns the service of another process over a store.
func (m *mount) restart(store *kvtest.Store) *crl.Service {
	return crl.New(crl.Config{Store: store, Ledger: m.ledger, Source: m.source, Now: m.now})
}

// add records n certificates of the issuer "root"; revoke may revoke them.
func (m *mount) add(t testing.TB, n int, revoke *ledger.Revocation) []cert.Serial {
	t.Helper()
	return m.addFor(t, "root", n, revoke)
}

// addFor is add for any issuer.
func (m *mount) addFor(t testing.TB, issuer string, n int, revoke *ledger.Revocation) []cert.Serial {
	t.Helper()
	var serials []cert.Serial
	var leaf []byte // made once: thousands of signatures would be all that the test does
	var first cert.Serial
	for len(serials) < n {
		page, err := m.ledger.NewPage(min(n-len(serials), ledger.MaxPage))
		require.NoError(t, err)
		for range min(n-len(serials), ledger.MaxPage) {
			serial := page.Serial()
			if leaf == nil {
				leaf, first = m.leaf(t, serial), serial
			}
			der := bytes.Replace(leaf, []byte(first), []byte(serial), 1)
			require.NoError(t, page.Add(ledger.Record{Serial: serial, DER: der, Issuer: issuer, IssuedAt: m.now(), Revocation: revoke}))
			serials = append(serials, serial)
		}
		require.NoError(t, m.ledger.Commit(t.Context(), page))
	}
	return serials
}

// leaf makes a certificate.
func (m *mount) leaf(t testing.TB, serial cert.Serial) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial.Big(), Subject: pkix.Name{CommonName: "leaf"},
		NotBefore: noon.AddDate(0, 0, -1), NotAfter: noon.AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, m.ca.Certificate(), m.ca.key.Public(), m.ca.key)
	require.NoError(t, err)
	return der
}

// revoke records n certificates that are revoked now, and tells the service.
func (m *mount) revoke(t testing.TB, n int, reason cert.Reason) []cert.Serial {
	t.Helper()
	serials := m.add(t, n, &ledger.Revocation{At: m.now(), Reason: reason})
	m.Revoked("root", reason)
	return serials
}

// read returns the issuer's list as a relying party sees it: whole and verified.
func (m *mount) read(t testing.TB, s *crl.Service) (*x509.RevocationList, crl.Head) {
	t.Helper()
	der, head, err := s.Get(t.Context(), "root")
	require.NoError(t, err)
	require.NotNil(t, der, "the issuer has no list")
	list, err := x509.ParseRevocationList(der)
	require.NoError(t, err)
	require.NoError(t, list.CheckSignatureFrom(m.ca.Certificate()))
	require.Equal(t, head.Number, list.Number.Int64())
	require.Len(t, list.RevokedCertificateEntries, head.Entries)
	require.Len(t, der, head.Size)
	require.True(t, head.ThisUpdate.Equal(list.ThisUpdate) && head.NextUpdate.Equal(list.NextUpdate))
	return list, head
}

// rebuild makes the next list.
func (m *mount) rebuild(t testing.TB) crl.Head {
	t.Helper()
	head, err := m.Rebuild(t.Context(), "root")
	require.NoError(t, err)
	return head
}

// serials returns the serial numbers on a list.
func serials(list *x509.RevocationList) []cert.Serial {
	var all []cert.Serial
	for _, entry := range list.RevokedCertificateEntries {
		all = append(all, cert.SerialOf(entry.SerialNumber))
	}
	return all
}

// CA implements crl.Source: an issuer is a CA of its own unless members says otherwise.
func (s *issuers) CA(_ context.Context, issuer string) (string, error) {
	for ca, members := range s.members {
		if slices.Contains(members, issuer) {
			return ca, nil
		}
	}
	return issuer, nil
}

// Issuers implements crl.Source.
func (s *issuers) Issuers(_ context.Context, ca string) ([]string, error) {
	if members := s.members[ca]; members != nil {
		return members, nil
	}
	return []string{ca}, nil
}
