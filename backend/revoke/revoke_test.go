package revoke_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
)

var now = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

// mount is a ledger with one certificate, and the service on it.
type mount struct {
	store   *kvtest.Store
	ledger  *ledger.Ledger
	revoke  *revoke.Service
	bulk    *revoke.Bulk
	changed []cert.Reason
	issuers map[cert.Serial]bool
	locks   map[byte]bool
	refuses map[cert.Reason]bool // by every profile
	clock   time.Time

	serial cert.Serial
	der    []byte
	key    crypto.Signer
}

func start(t testing.TB) *mount {
	t.Helper()
	m := &mount{store: kvtest.New(), clock: now, issuers: map[cert.Serial]bool{"ca": true}, locks: map[byte]bool{}, refuses: map[cert.Reason]bool{}}
	m.open(t)
	page, err := m.ledger.NewPage(1)
	require.NoError(t, err)
	m.serial = page.Serial()
	m.key, err = cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	m.der = certificate(t, m.serial, m.key, "a.example.com")
	require.NoError(t, page.Add(ledger.Record{Serial: m.serial, DER: m.der, Issuer: "issuer", Profile: "web@1", IssuedAt: now}))
	require.NoError(t, m.ledger.Commit(context.Background(), page))
	return m
}

// open starts the rooms on the store, as after a restart.
func (m *mount) open(t testing.TB) {
	t.Helper()
	m.wire()
	require.NoError(t, m.ledger.Load(context.Background()))
}

// wire makes the rooms, which load nothing.
func (m *mount) wire() { m.use(m.store) }

// use is wire on another store.
func (m *mount) use(store kv.Store) {
	clock := func() time.Time { return m.clock }
	m.ledger = ledger.New(ledger.Config{Store: store, Log: hclog.NewNullLogger(), Now: clock})
	m.revoke = revoke.New(revoke.Config{
		Ledger: m.ledger, Changed: func(_ string, reason cert.Reason) { m.changed = append(m.changed, reason) },
		Issuers: signing(m.issuers), Now: clock,
		SignedBy: func(c *x509.Certificate) (string, bool) {
			return "issuer", c.Subject.CommonName != "forged.example.com"
		},
		Allows: func(_ context.Context, profile string, reason cert.Reason) (bool, error) {
			return !m.refuses[reason] && (profile != "web@1" || reason != cert.AACompromise), nil
		},
	})
	m.bulk = revoke.NewBulk(revoke.BulkConfig{Revoke: m.revoke, Store: store})
}

func certificate(t testing.TB, serial cert.Serial, key crypto.Signer, name string) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial.Big(), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: now, NotAfter: now.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return der
}

func keyPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestRevokedOnceWithTheSameAnswerEverAfter(t *testing.T) {
	ctx := context.Background()
	m := start(t)
	first, err := m.revoke.BySerial(ctx, m.serial, revoke.Request{Reason: cert.Superseded, InvalidityAt: now.Add(-time.Hour), Comment: "replaced"})
	require.NoError(t, err)
	require.True(t, first.Changed)
	require.Equal(t, now, first.Record.Revocation.At)
	m.clock = now.Add(time.Minute)
	for _, reason := range []cert.Reason{cert.KeyCompromise, cert.AACompromise} {
		again, err := m.revoke.BySerial(ctx, m.serial, revoke.Request{Reason: reason})
		require.NoError(t, err)
		require.False(t, again.Changed)
		require.Equal(t, first.Record.Revocation, again.Record.Revocation)
	}
	require.Equal(t, []cert.Reason{cert.Superseded}, m.changed)
}

// However the certificate is named, loaded or not, in a segment or not: one get, and
// two puts at most.
func TestBudgetOfRevocation(t *testing.T) {
	ctx := context.Background()
	for name, work := range map[string]func(*mount) error{
		"by serial": func(m *mount) error {
			_, err := m.revoke.BySerial(ctx, m.serial, revoke.Request{})
			return err
		},
		"by certificate": func(m *mount) error {
			_, err := m.revoke.ByCertificate(ctx, m.der, revoke.Request{})
			return err
		},
		"by key": func(m *mount) error {
			_, err := m.revoke.ByKey(ctx, m.serial, keyPEM(t, m.key), revoke.Request{Reason: cert.KeyCompromise})
			return err
		},
	} {
		for state, prepare := range map[string]func(*mount){
			"new":     func(*mount) {},
			"flushed": func(m *mount) { require.NoError(t, m.ledger.Flush(ctx)) },
			"loading": func(m *mount) { m.wire() },
		} {
			m := start(t)
			prepare(m)
			m.store.Reset()
			require.NoError(t, work(m))
			want := kvtest.Counts{Gets: 1, Puts: 2}
			if state == "new" {
				want.Puts = 1
			}
			require.Equal(t, want, m.store.Counts(), "%s, %s", name, state)
		}
	}
}

func TestRetryAfterALostAnswerTellsTheLists(t *testing.T) {
	ctx := context.Background()
	m := start(t)
	m.store.Break(2, kvtest.LoseAnswer)
	_, err := m.revoke.BySerial(ctx, m.serial, revoke.Request{Reason: cert.KeyCompromise})
	require.ErrorIs(t, err, kvtest.ErrLost)
	require.Empty(t, m.changed)
	_, err = m.revoke.BySerial(ctx, m.serial, revoke.Request{Reason: cert.Superseded})
	require.NoError(t, err)
	require.Equal(t, []cert.Reason{cert.KeyCompromise}, m.changed, "the reason on record")
}

func TestRev1_CertificateMustBeTheOneOnRecord(t *testing.T) {
	ctx := context.Background()
	m := start(t)
	forged := certificate(t, m.serial, m.key, "b.example.com")
	_, err := m.revoke.ByCertificate(ctx, forged, revoke.Request{})
	require.Equal(t, "certificate", fault.FieldOfError(err), "%v", err)
	row, found, err := m.ledger.Row(m.serial)
	require.NoError(t, err)
	require.True(t, found)
	require.True(t, row.RevokedAt.IsZero())

	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.der})
	_, err = m.revoke.ByCertificate(ctx, append(text, text...), revoke.Request{})
	require.Error(t, err, "one certificate and nothing else")
	result, err := m.revoke.ByCertificate(ctx, text, revoke.Request{})
	require.NoError(t, err)
	require.True(t, result.Changed)
}

func TestRev1_KeyMustMatch(t *testing.T) {
	ctx := context.Background()
	m := start(t)
	other, err := cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	for _, text := range [][]byte{keyPEM(t, other), []byte("hello"), nil} {
		_, err := m.revoke.ByKey(ctx, m.serial, text, revoke.Request{Reason: cert.KeyCompromise})
		require.Equal(t, "private_key", fault.FieldOfError(err), "%v", err)
		require.NotContains(t, err.Error(), "hello")
	}
	result, err := m.revoke.ByKey(ctx, m.serial, keyPEM(t, m.key), revoke.Request{Reason: cert.KeyCompromise})
	require.NoError(t, err)
	require.True(t, result.Changed)
}

func TestRefusals(t *testing.T) {
	ctx := context.Background()
	m := start(t)
	for field, request := range map[string]revoke.Request{
		"reason":          {Reason: cert.AACompromise},
		"invalidity_date": {InvalidityAt: now.Add(time.Hour)},
		"comment":         {Comment: string(make([]byte, ledger.MaxComment+1))},
	} {
		_, err := m.revoke.BySerial(ctx, m.serial, request)
		require.Equal(t, field, fault.FieldOfError(err), "%v", err)
	}
	for _, reason := range []cert.Reason{cert.RemoveFromCRL, cert.CertificateHold, 7, 11} {
		_, err := m.revoke.BySerial(ctx, m.serial, revoke.Request{Reason: reason})
		require.Equal(t, "reason", fault.FieldOfError(err), "reason %d", reason)
	}
	_, err := m.revoke.BySerial(ctx, "ca", revoke.Request{})
	require.ErrorContains(t, err, "issuer/:ref/revoke")
	_, err = m.revoke.BySerial(ctx, cert.Serial("\x01unknown"), revoke.Request{})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func TestExpiredCertificatesAreRevokedAndSaidToBeExpired(t *testing.T) {
	m := start(t)
	m.clock = now.Add(2 * time.Hour)
	result, err := m.revoke.BySerial(context.Background(), m.serial, revoke.Request{})
	require.NoError(t, err)
	require.True(t, result.Expired)
}

// Crash1: whatever operation is lost, what was answered as revoked is revoked after
// a restart, and storage stays whole.
func TestCrash1_Revoke(t *testing.T) {
	ctx := context.Background()
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			m := start(t)
			m.store.Break(n, loss)
			_, err := m.revoke.BySerial(ctx, m.serial, revoke.Request{Reason: cert.KeyCompromise})
			broken := m.store.Broken()
			m.open(t)
			row, found, rowErr := m.ledger.Row(m.serial)
			require.NoError(t, rowErr)
			require.True(t, found)
			if err == nil {
				require.False(t, row.RevokedAt.IsZero(), "an answered revocation was lost at operation %d", n)
			}
			_, again := m.revoke.BySerial(ctx, m.serial, revoke.Request{Reason: cert.KeyCompromise})
			require.NoError(t, again)
			report, checkErr := fsck.Check(ctx, m.store)
			require.NoError(t, checkErr)
			require.Empty(t, report.Findings)
			if !broken {
				require.NoError(t, err)
				require.Greater(t, n, 1)
				break
			}
		}
	}
}

// A certificate that was issued without a record can be revoked with the certificate
// in hand, and only then.
func TestRev1_CertificateWithoutARecord(t *testing.T) {
	ctx := context.Background()
	m := start(t)
	page, err := m.ledger.NewPage(1)
	require.NoError(t, err)
	serial := page.Serial()
	der := certificate(t, serial, m.key, "unstored.example.com")
	m.ledger.Note(ledger.Record{Serial: serial, DER: der, Issuer: "issuer", Role: "web", Profile: "web@1", IssuedAt: now})

	_, err = m.revoke.BySerial(ctx, serial, revoke.Request{})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	forged := certificate(t, serial, m.key, "forged.example.com")
	_, err = m.revoke.ByCertificate(ctx, forged, revoke.Request{})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	_, err = m.revoke.ByCertificate(ctx, der, revoke.Request{Reason: cert.AACompromise})
	require.Equal(t, "reason", fault.FieldOfError(err), "its profile still decides")
	result, err := m.revoke.ByCertificate(ctx, der, revoke.Request{Reason: cert.KeyCompromise})
	require.NoError(t, err)
	require.True(t, result.Changed)
	require.Equal(t, "web", result.Record.Role)

	m.open(t)
	row, found, err := m.ledger.Row(serial)
	require.NoError(t, err)
	require.True(t, found)
	require.False(t, row.RevokedAt.IsZero(), "after a restart it is revoked")
	again, err := m.revoke.BySerial(ctx, serial, revoke.Request{})
	require.NoError(t, err)
	require.False(t, again.Changed)
	report, err := fsck.Check(ctx, m.store)
	require.NoError(t, err)
	require.Empty(t, report.Findings)
}

// signing is revoke.Issuers by serial number.
type signing map[cert.Serial]bool

func (s signing) HasCertificate(der []byte) bool {
	c, err := x509.ParseCertificate(der)
	return err == nil && s[cert.SerialOf(c.SerialNumber)]
}

func (s signing) HasRow(_ string, serial cert.Serial) bool { return s[serial] }

func (s signing) HasSerial(serial cert.Serial) bool { return s[serial] }

func (s signing) SameCA(issuer, other string) bool { return issuer == other }
