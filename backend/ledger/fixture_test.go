package ledger_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

var start = time.Date(2025, 3, 1, 10, 20, 30, 0, time.UTC)

// clock is a Config.Now that tests turn.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: start} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) turn(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

var caKey = sync.OnceValue(newKey)

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// template returns what the fixtures certify.
func template(serial cert.Serial, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial.Big(), Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}}, DNSNames: []string{name},
		NotBefore: start.Add(-time.Minute), NotAfter: start.Add(90 * 24 * time.Hour),
	}
}

func sign(t testing.TB, template *x509.Certificate) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, template, caKey().Public(), caKey())
	require.NoError(t, err)
	return der
}

// record returns a record with a certificate of its own.
func record(t testing.TB, serial cert.Serial, name string) ledger.Record {
	t.Helper()
	return recordOf(t, template(serial, name))
}

// recordUntil is record for a certificate that ends at a time.
func recordUntil(t testing.TB, serial cert.Serial, end time.Time) ledger.Record {
	t.Helper()
	c := template(serial, "www.example.com")
	c.NotAfter = end
	return recordOf(t, c)
}

func recordOf(t testing.TB, c *x509.Certificate) ledger.Record {
	t.Helper()
	return ledger.Record{
		Serial: cert.SerialOf(c.SerialNumber), DER: sign(t, c), Issuer: "issuer-1", Role: "web", Profile: "tls-server@3",
		Requester: "entity-1", Owner: "team@example.com", Contacts: []string{"ops@example.com", "sec@example.com"},
		Metadata: map[string]string{"ticket": "42", "env": "prod"}, IssuedAt: start,
	}
}

func newLedger(store *kvtest.Store, c *clock) *ledger.Ledger {
	return ledger.New(ledger.Config{Store: store, Now: c.Now})
}

// loaded returns a ledger that has loaded the store.
func loaded(t testing.TB, store *kvtest.Store, c *clock) *ledger.Ledger {
	t.Helper()
	l := newLedger(store, c)
	require.NoError(t, l.Load(t.Context()))
	require.True(t, l.Loaded())
	return l
}

// issue records n certificates on one page and returns their serials.
func issue(t testing.TB, l *ledger.Ledger, n int) []cert.Serial {
	t.Helper()
	serials, err := tryIssue(t, t.Context(), l, n)
	require.NoError(t, err)
	return serials
}

func tryIssue(t testing.TB, ctx context.Context, l *ledger.Ledger, n int) ([]cert.Serial, error) {
	t.Helper()
	return tryIssueUntil(t, ctx, l, slices.Repeat([]time.Time{start.Add(90 * 24 * time.Hour)}, n)...)
}

// tryIssueUntil records a certificate for each end, all on one page.
func tryIssueUntil(t testing.TB, ctx context.Context, l *ledger.Ledger, ends ...time.Time) ([]cert.Serial, error) {
	t.Helper()
	page, err := l.NewPage(len(ends))
	require.NoError(t, err)
	serials := make([]cert.Serial, len(ends))
	for i := range serials {
		serials[i] = page.Serial()
		require.NoError(t, page.Add(recordUntil(t, serials[i], ends[i])))
	}
	return serials, l.Commit(ctx, page)
}

// issueUntil is tryIssueUntil when nothing is expected to fail.
func issueUntil(t testing.TB, l *ledger.Ledger, ends ...time.Time) []cert.Serial {
	t.Helper()
	serials, err := tryIssueUntil(t, t.Context(), l, ends...)
	require.NoError(t, err)
	return serials
}

func revocation(reason cert.Reason) ledger.Revocation {
	return ledger.Revocation{At: start.Add(time.Hour), Reason: reason, InvalidityAt: start.Add(time.Minute), Comment: "lost laptop"}
}

// rows returns every row of the ledger, without sequence numbers.
func rows(t testing.TB, l *ledger.Ledger) map[cert.Serial]ledger.Row {
	t.Helper()
	seq, err := l.Rows("")
	require.NoError(t, err)
	all := map[cert.Serial]ledger.Row{}
	before := cert.Serial("")
	for row := range seq {
		require.Greater(t, row.Serial, before, "rows are in the order of serials")
		before = row.Serial
		row.Sequence = 0
		all[row.Serial] = row
	}
	require.Len(t, all, l.Count())
	return all
}

func serials(seq iter.Seq[ledger.Row]) []cert.Serial {
	var all []cert.Serial
	for row := range seq {
		all = append(all, row.Serial)
	}
	return all
}

// clean fails unless fsck finds the store whole.
func clean(t testing.TB, store *kvtest.Store) fsck.Report {
	t.Helper()
	require.Empty(t, fsck.Names(slices.Sorted(maps.Keys(store.Dump()))))
	report, err := fsck.Check(t.Context(), store)
	require.NoError(t, err)
	require.NoError(t, report.Err())
	return report
}

// keysBelow returns the stored keys below a prefix.
func keysBelow(store *kvtest.Store, prefix string) []string {
	var keys []string
	for key := range store.Dump() {
		if len(key) > len(prefix) && key[:len(prefix)] == prefix {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func segments(store *kvtest.Store) []string { return keysBelow(store, layout.Segment) }

func markers(store *kvtest.Store) []string { return keysBelow(store, layout.Dirty) }
