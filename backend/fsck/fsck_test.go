package fsck_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

var now = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)

// mount is storage with everything that fsck looks at.
type mount struct {
	store   *kvtest.Store
	clock   time.Time
	ledger  *ledger.Ledger
	flushed []cert.Serial // of one page, in a segment, the first one revoked since
	recent  cert.Serial   // in no segment
	profile string        // what certificates remember
}

func newMount(t *testing.T) *mount {
	t.Helper()
	ctx := context.Background()
	m := &mount{store: kvtest.New(), clock: now, profile: "web@1"}
	m.ledger = ledger.New(ledger.Config{Store: m.store, Now: func() time.Time { return m.clock }})
	require.NoError(t, m.ledger.Load(ctx))
	m.flushed = m.issue(t, 2)
	m.clock = now.Add(5 * time.Hour)
	require.NoError(t, m.ledger.Flush(ctx))
	_, _, err := m.ledger.Revoke(ctx, m.flushed[0], ledger.Revocation{At: now.Add(time.Hour), Reason: cert.Superseded})
	require.NoError(t, err)
	m.recent = m.issue(t, 1)[0]
	m.list(t, "issuer")
	return m
}

func (m *mount) issue(t *testing.T, n int) []cert.Serial {
	t.Helper()
	page, err := m.ledger.NewPage(n)
	require.NoError(t, err)
	var serials []cert.Serial
	for range n {
		serial := page.Serial()
		serials = append(serials, serial)
		require.NoError(t, page.Add(ledger.Record{Serial: serial, DER: certificate(t, serial), Issuer: "issuer", Profile: m.profile, IssuedAt: now}))
	}
	require.NoError(t, m.ledger.Commit(context.Background(), page))
	return serials
}

func certificate(t *testing.T, serial cert.Serial) []byte {
	t.Helper()
	key, err := cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial.Big(), Subject: pkix.Name{CommonName: "a.example.com"}, NotBefore: now, NotAfter: now.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	require.NoError(t, err)
	return der
}

// list stores a CRL of an issuer, in two chunks.
func (m *mount) list(t *testing.T, issuer string) {
	t.Helper()
	key, err := cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, KeyUsage: x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	der, err := x509.CreateRevocationList(nil, &x509.RevocationList{
		Number: big.NewInt(7), ThisUpdate: now, NextUpdate: now.Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: m.flushed[0].Big(), RevocationTime: now}},
	}, ca, key)
	require.NoError(t, err)
	digest := sha256.Sum256(der)
	m.put(t, layout.CRLBody+issuer+"/7/0", der[:100])
	m.put(t, layout.CRLBody+issuer+"/7/1", der[100:])
	heads := kv.NewTable[crl.Head](m.store, layout.CRLHead, 1)
	require.NoError(t, heads.Put(context.Background(), issuer, &crl.Head{
		Number: 7, ThisUpdate: now, NextUpdate: now.Add(time.Hour), Entries: 1, Size: len(der), Chunks: 2, SHA256: digest[:],
	}))
}

func (m *mount) put(t *testing.T, key string, value []byte) {
	t.Helper()
	require.NoError(t, m.store.Put(context.Background(), key, value))
}

func (m *mount) remove(t *testing.T, key string) {
	t.Helper()
	require.Contains(t, m.store.Dump(), key)
	require.NoError(t, m.store.Delete(context.Background(), key))
}

func (m *mount) below(prefix string) []string {
	var keys []string
	for key := range m.store.Dump() {
		if len(key) > len(prefix) && key[:len(prefix)] == prefix {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func page(t *testing.T, serial cert.Serial) string {
	t.Helper()
	key, ok := ledger.PageKey(serial)
	require.True(t, ok)
	return key
}

func TestAWholeMountIsClean(t *testing.T) {
	m := newMount(t)
	before := m.store.Dump()
	report, err := fsck.Check(t.Context(), m.store)
	require.NoError(t, err)
	require.NoError(t, report.Err())
	require.Equal(t, fsck.Report{Pages: 2, Certificates: 3, Segments: 1, Rows: 2, Markers: 1, CRLs: 1}, report)
	require.Empty(t, fsck.Names(slices.Sorted(maps.Keys(before))))
	require.Equal(t, before, m.store.Dump(), "it changes nothing")
}

func TestEmptyStorageIsWhole(t *testing.T) {
	report, err := fsck.Check(t.Context(), kvtest.New())
	require.NoError(t, err)
	require.Equal(t, fsck.Report{}, report)
}

// Every damage is found, at its key.
func TestDamageIsFound(t *testing.T) {
	type damage struct {
		what string
		do   func(*testing.T, *mount) (key string)
		says string
	}
	segment := func(m *mount) string { return m.below(layout.Segment)[0] }
	for _, d := range []damage{
		{"page that does not decode", func(t *testing.T, m *mount) string {
			key := page(t, m.recent)
			m.put(t, key, m.store.Dump()[key][:50])
			return key
		}, "decoding"},
		{"page under the key of another", func(t *testing.T, m *mount) string {
			m.put(t, page(t, m.recent), m.store.Dump()[page(t, m.flushed[0])])
			return page(t, m.recent)
		}, "is stored under"},
		{"page out of its hour", func(t *testing.T, m *mount) string {
			m.put(t, layout.Page+"0123456789abcdef", m.store.Dump()[page(t, m.recent)])
			return layout.Page + "0123456789abcdef"
		}, "folder of an hour"},
		{"page that a row names is gone", func(t *testing.T, m *mount) string {
			m.remove(t, page(t, m.flushed[0]))
			return layout.Segment
		}, "has no record"},
		{"page that a marker names is gone", func(t *testing.T, m *mount) string {
			m.remove(t, page(t, m.flushed[0]))
			return ledger.DirtyKey(m.flushed[0])
		}, "no record"},
		{"certificate of another serial", func(t *testing.T, m *mount) string {
			key := page(t, m.recent)
			other := []byte(m.recent)
			other[19] ^= 1
			m.put(t, key, bytes.Replace(m.store.Dump()[key], []byte(m.recent), other, 1))
			return key
		}, "holds the certificate"},
		{"revocation without a marker", func(t *testing.T, m *mount) string {
			m.remove(t, ledger.DirtyKey(m.flushed[0]))
			return page(t, m.flushed[0])
		}, "no dirty marker tells"},
		{"rows of a closed hour are gone", func(t *testing.T, m *mount) string {
			m.clock = m.clock.Add(5 * time.Hour)
			require.NoError(t, m.ledger.Flush(context.Background()))
			m.remove(t, segment(m))
			return page(t, m.flushed[1])
		}, "a restart would not look for it"},
		{"page that is said to be removed", func(t *testing.T, m *mount) string {
			m.horizon(t, ledger.Horizon{Removing: now.Add(2 * time.Hour), Ended: now.Add(2 * time.Hour)})
			return page(t, m.recent)
		}, "a restart would not show it"},
		{"horizon that goes further than what was removed", func(t *testing.T, m *mount) string {
			m.horizon(t, ledger.Horizon{Removing: now.Add(-2 * time.Hour), Ended: now.Add(-time.Hour)})
			return layout.TidyHorizon
		}, "said to be gone"},
		{"horizon that does not decode", func(t *testing.T, m *mount) string {
			m.put(t, layout.TidyHorizon, []byte("{"))
			return layout.TidyHorizon
		}, "decoding"},
		{"fence that does not decode", func(t *testing.T, m *mount) string {
			m.put(t, layout.Fence, []byte{2, 1})
			return layout.Fence
		}, "no chain of process starts"},
		{"segment that does not decode", func(t *testing.T, m *mount) string {
			m.put(t, segment(m), []byte{1, 2, 3})
			return segment(m)
		}, "decoding"},
		{"segment with another name", func(t *testing.T, m *mount) string {
			m.put(t, layout.Segment+"one", m.store.Dump()[segment(m)])
			return layout.Segment + "one"
		}, "not named"},
		{"marker with another name", func(t *testing.T, m *mount) string {
			m.put(t, layout.Dirty+"01", []byte{1})
			return layout.Dirty + "01"
		}, "not named"},
		{"profile version that certificates remember is gone", func(t *testing.T, m *mount) string {
			m.put(t, layout.Profile+"web", []byte(`{"v":1,"r":{"latest":1}}`))
			return page(t, m.flushed[0])
		}, "web@1, which cannot be read"},
		{"profile version that certificates remember was never made", func(t *testing.T, m *mount) string {
			m.put(t, layout.Profile+"other", []byte(`{"v":1,"r":{"latest":1}}`))
			return page(t, m.flushed[0])
		}, "web@1, which cannot be read"},
		{"folder in a leaf", func(t *testing.T, m *mount) string {
			m.put(t, layout.Dirty+"a/b", []byte{1})
			return layout.Dirty + "a/"
		}, "has none"},
		{"configuration nobody owns", func(t *testing.T, m *mount) string {
			m.put(t, "config/lost", []byte{1})
			return "config/lost"
		}, "no room owns"},
		{"CRL without a chunk", func(t *testing.T, m *mount) string {
			m.remove(t, layout.CRLBody+"issuer/7/1")
			return layout.CRLBody + "issuer/7/1"
		}, "missing"},
		{"CRL with other octets", func(t *testing.T, m *mount) string {
			m.put(t, layout.CRLBody+"issuer/7/1", []byte{1})
			return layout.CRLHead + "issuer"
		}, "not the one that the head names"},
		{"CRL head that does not decode", func(t *testing.T, m *mount) string {
			m.put(t, layout.CRLHead+"issuer", []byte("{"))
			return layout.CRLHead + "issuer"
		}, "decoding"},
	} {
		t.Run(d.what, func(t *testing.T) {
			m := newMount(t)
			key := d.do(t, m)
			report, err := fsck.Check(t.Context(), m.store)
			require.NoError(t, err)
			require.Equal(t, fault.Internal, fault.KindOf(report.Err()))
			require.True(t, slices.ContainsFunc(report.Findings, func(f fsck.Finding) bool {
				return f.Severity == fsck.Broken && f.Key == key && strings.Contains(f.Problem, d.says)
			}), "%s\n%v", key, report.Findings)
			require.ErrorContains(t, report.Err(), key)
		})
	}
}

func (m *mount) horizon(t *testing.T, h ledger.Horizon) {
	t.Helper()
	require.NoError(t, kv.NewTable[ledger.Horizon](m.store, layout.TidyHorizon, 1).Put(context.Background(), "", &h))
}

func TestWhatWasRemovedNeedsNoPage(t *testing.T) {
	m := newMount(t)
	require.NoError(t, m.ledger.Flush(t.Context()))
	m.remove(t, page(t, m.flushed[0]))
	report, err := fsck.Check(t.Context(), m.store)
	require.NoError(t, err)
	require.Error(t, report.Err())
	m.horizon(t, ledger.Horizon{Removing: now.Add(2 * time.Hour)})
	report, err = fsck.Check(t.Context(), m.store)
	require.NoError(t, err)
	require.NoError(t, report.Err())
}

func TestIntentsAreNoticed(t *testing.T) {
	m := newMount(t)
	p, err := m.ledger.NewPage(1)
	require.NoError(t, err)
	serial := p.Serial()
	require.NoError(t, m.ledger.Intend(t.Context(), p, ledger.Record{Serial: serial, Issuer: "issuer"}))
	report, err := fsck.Check(t.Context(), m.store)
	require.NoError(t, err)
	require.NoError(t, report.Err())
	require.Equal(t, 1, report.Intents)
	require.Len(t, report.Findings, 1)
	require.Equal(t, fsck.Notice, report.Findings[0].Severity)
	require.Contains(t, report.Findings[0].String(), serial.String())
}

func TestNames(t *testing.T) {
	require.Empty(t, fsck.Names([]string{layout.ConfigCRL, layout.Page + "0760ea/00", layout.Key + "id"}))
	require.Len(t, fsck.Names([]string{"lost", layout.Key + "a/b", "page"}), 3)
}

// A check that could not read everything says so, and does not call storage whole.
func TestStorageErrorsAreReturned(t *testing.T) {
	m := newMount(t)
	n := 1
	for ; ; n++ {
		m.store.Break(n, kvtest.LoseAnswer)
		_, err := fsck.Check(t.Context(), m.store)
		if !m.store.Broken() {
			require.NoError(t, err)
			break
		}
		require.ErrorIs(t, err, kvtest.ErrLost, "operation %d", n)
	}
	require.Greater(t, n, 20)
}

// changing is storage that is written to between two looks: what it answers to the
// first Get below a prefix is not there later.
type changing struct {
	kv.Store
	prefix string
	gets   int
}

func (c *changing) Get(ctx context.Context, key string) ([]byte, error) {
	if strings.HasPrefix(key, c.prefix) {
		if c.gets++; c.gets == 1 {
			return []byte("half of it"), nil
		}
	}
	return c.Store.Get(ctx, key)
}

func TestALiveMountIsLookedAtTwice(t *testing.T) {
	m := newMount(t)
	for _, prefix := range []string{layout.Page, layout.Segment} {
		report, err := fsck.CheckLive(t.Context(), &changing{Store: m.store, prefix: prefix}, time.Time{})
		require.NoError(t, err)
		require.Empty(t, report.Findings)
		require.Zero(t, report.Broken())
	}
	m.remove(t, page(t, m.flushed[0]))
	report, err := fsck.CheckLive(t.Context(), &changing{Store: m.store, prefix: layout.CRLHead}, time.Time{})
	require.NoError(t, err)
	require.Equal(t, 3, report.Broken(), "what stays broken is found both times")
	require.Error(t, report.Err())
}

func TestChecksRunInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		s := fsck.NewService(fsck.Config{Store: m.store, Now: time.Now})
		defer s.Close()
		require.Equal(t, fsck.Status{State: fsck.Idle}, s.Status())
		require.False(t, s.Cancel())
		require.True(t, s.Start())
		synctest.Wait()
		status := s.Status()
		require.Equal(t, fsck.Finished, status.State)
		require.Equal(t, 3, status.Report.Certificates)
		require.False(t, status.Finished.IsZero())

		m.store.Break(3, kvtest.LoseAnswer)
		require.True(t, s.Start())
		synctest.Wait()
		require.Equal(t, fsck.Failed, s.Status().State)
		require.NotEmpty(t, s.Status().Error)

		slow := fsck.NewService(fsck.Config{Store: stuck{m.store}, Now: time.Now})
		require.True(t, slow.Start())
		require.False(t, slow.Start(), "one at a time")
		require.Equal(t, fsck.Running, slow.Status().State)
		require.True(t, slow.Cancel())
		synctest.Wait()
		require.Equal(t, fsck.Cancelled, slow.Status().State)
		slow.Close()
		require.False(t, slow.Start())
	})
}

// stuck is storage that answers when its caller gives up.
type stuck struct{ kv.Store }

func (s stuck) List(ctx context.Context, _ string) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
