package crl_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// shardURL and deltaURL are where certificates of the tests say that lists are.
const (
	shardURL = "http://crl.example.com/" + crl.ShardTemplate + ".crl"
	deltaURL = "http://crl.example.com/delta.crl"
	fullURL  = "http://crl.example.com/full.crl"
)

// configure changes config/crl.
func (m *mount) configure(t testing.TB, edit func(*crl.Settings)) {
	t.Helper()
	settings, err := m.Settings(t.Context())
	require.NoError(t, err)
	edit(&settings)
	require.NoError(t, m.PutSettings(t.Context(), settings))
}

// get returns a list as a relying party sees it: whole, verified and as its head says.
func (m *mount) get(t testing.TB, s *crl.Service, kind crl.Kind) (*x509.RevocationList, crl.Head) {
	t.Helper()
	der, head, err := s.List(t.Context(), "root", kind)
	require.NoError(t, err)
	require.NotNil(t, der, "there is no list %s", kind)
	list, err := x509.ParseRevocationList(der)
	require.NoError(t, err)
	require.NoError(t, list.CheckSignatureFrom(m.ca.Certificate()))
	require.Equal(t, head.Number, list.Number.Int64())
	require.Len(t, list.RevokedCertificateEntries, head.Entries)
	return list, head
}

// extensionOf returns the value of an extension of a list and whether it is critical.
func extensionOf(list *x509.RevocationList, oid string) (value []byte, critical bool) {
	for _, e := range list.Extensions {
		if e.Id.String() == oid {
			return e.Value, e.Critical
		}
	}
	return nil, false
}

// issued is a certificate in the ledger.
type issued struct {
	serial cert.Serial
	der    []byte
}

// issue makes and records a certificate that is placed on the lists of its issuer.
func (m *mount) issue(t testing.TB, urls []string, notAfter time.Time) issued {
	t.Helper()
	page, err := m.ledger.NewPage(1)
	require.NoError(t, err)
	serial := page.Serial()
	points, err := m.Place(t.Context(), "root", serial, urls, notAfter)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial.Big(), Subject: pkix.Name{CommonName: "leaf"}, CRLDistributionPoints: points,
		NotBefore: noon.AddDate(0, 0, -1), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, m.ca.Certificate(), m.ca.key.Public(), m.ca.key)
	require.NoError(t, err)
	require.NoError(t, page.Add(ledger.Record{Serial: serial, DER: der, Issuer: "root", Profile: "web@1", IssuedAt: m.now()}))
	require.NoError(t, m.ledger.Commit(t.Context(), page))
	return issued{serial, der}
}

// revokeOne revokes a certificate and tells nobody.
func (m *mount) revokeOne(t testing.TB, serial cert.Serial, reason cert.Reason) {
	t.Helper()
	_, changed, err := m.ledger.Revoke(t.Context(), serial, ledger.Revocation{At: m.now(), Reason: reason})
	require.NoError(t, err)
	require.True(t, changed)
}

func (m *mount) resume(t testing.TB, serial cert.Serial) {
	t.Helper()
	_, changed, err := m.ledger.Resume(t.Context(), serial, m.now(), func(*ledger.Record) error { return nil })
	require.NoError(t, err)
	require.True(t, changed)
}

// verify asks OpenSSL for the status of a certificate at the mount's time, with lists.
func (m *mount) verify(t testing.TB, leaf issued, lists ...*x509.RevocationList) (ok bool, says string) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is missing: install the Debian package openssl")
	}
	args := []string{
		"verify", "-attime", strconv.FormatInt(m.now().Unix()+1, 10), "-crl_check", "-extended_crl", "-use_deltas",
		"-CAfile", pemFile(t, "CERTIFICATE", m.ca.Certificate().Raw),
	}
	for _, list := range lists {
		args = append(args, "-CRLfile", pemFile(t, "X509 CRL", list.Raw))
	}
	out, err := exec.Command(path, append(args, pemFile(t, "CERTIFICATE", leaf.der))...).CombinedOutput()
	return err == nil, string(out)
}

// good and revoked say what OpenSSL thinks of a certificate.
func (m *mount) good(t testing.TB, leaf issued, lists ...*x509.RevocationList) {
	t.Helper()
	ok, says := m.verify(t, leaf, lists...)
	require.True(t, ok, says)
}

func (m *mount) refused(t testing.TB, leaf issued, lists ...*x509.RevocationList) {
	t.Helper()
	ok, says := m.verify(t, leaf, lists...)
	require.False(t, ok, says)
	require.Contains(t, says, "certificate revoked")
}

// whole checks that storage is in order.
func whole(t testing.TB, store *kvtest.Store) {
	t.Helper()
	report, err := fsck.Check(context.Background(), store)
	require.NoError(t, err)
	require.NoError(t, report.Err())
}

func TestParseKind(t *testing.T) {
	for _, text := range []string{"complete", "delta", "1-0", "8-3", "128-127"} {
		kind, err := crl.ParseKind(text)
		require.NoError(t, err)
		require.Equal(t, text, string(kind))
	}
	for _, text := range []string{"", "shards", "8-8", "8--1", "08-3", "8-03", "129-0", "0-0", "8-3-1", "8", "-", "+8-3"} {
		_, err := crl.ParseKind(text)
		require.Error(t, err, text)
	}
}

func TestEncode_ScopeExtensions(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	list := crl.List{Number: cert.CRLNumberFrom(5), ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
	for name, refuse := range map[string]func(*crl.List){
		"a delta of itself":             func(l *crl.List) { l.Base = cert.CRLNumberFrom(5) },
		"a delta of a later list":       func(l *crl.List) { l.Base = cert.CRLNumberFrom(6) },
		"a delta that has a delta":      func(l *crl.List) { l.Base, l.Freshest = cert.CRLNumberFrom(4), []string{deltaURL} },
		"a shard of CA certificates":    func(l *crl.List) { l.Points, l.OnlyCACerts = []string{fullURL}, true },
		"only CA and only user entries": func(l *crl.List) { l.OnlyCACerts, l.OnlyUserCerts = true, true },
	} {
		refused := list
		refuse(&refused)
		require.Error(t, crl.Encode(discard{}, m.ca.Authority, refused, func(func(crl.Entry) bool) {}), name)
	}
	require.Error(t, crl.Encode(discard{}, m.ca.Authority, list, func(yield func(crl.Entry) bool) {
		yield(crl.Entry{Serial: cert.SerialOf(big.NewInt(7)), RevokedAt: noon, Reason: cert.RemoveFromCRL})
	}), "removeFromCRL is for deltas that this room makes")
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
