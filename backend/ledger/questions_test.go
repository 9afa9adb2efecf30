package ledger_test

import (
	"crypto/x509"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

func TestRowSaysWhatTheCertificateSays(t *testing.T) {
	l := loaded(t, kvtest.New(), newClock())
	cases := []struct {
		name   string
		change func(*x509.Certificate)
		want   string
	}{
		{"common name", func(*x509.Certificate) {}, "www.example.com"},
		{"DNS name", func(c *x509.Certificate) { c.Subject.CommonName = "" }, "www.example.com"},
		{"address", func(c *x509.Certificate) {
			c.Subject.CommonName, c.DNSNames, c.IPAddresses = "", nil, []net.IP{net.ParseIP("2001:db8::1")}
		}, "2001:db8::1"},
		{"URI", func(c *x509.Certificate) {
			c.Subject.CommonName, c.DNSNames, c.URIs = "", nil, []*url.URL{{Scheme: "spiffe", Host: "example", Path: "/ns"}}
		}, "spiffe://example/ns"},
		{"email", func(c *x509.Certificate) {
			c.Subject.CommonName, c.DNSNames, c.EmailAddresses = "", nil, []string{"a@example.com"}
		}, "a@example.com"},
		{"none", func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = "", nil }, ""},
		{"long name", func(c *x509.Certificate) { c.Subject.CommonName = strings.Repeat("ä", 200) }, strings.Repeat("ä", 127)},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			page, err := l.NewPage(1)
			require.NoError(t, err)
			planned := template(page.Serial(), "www.example.com")
			test.change(planned)
			r := ledger.Record{
				Serial: cert.SerialOf(planned.SerialNumber), DER: sign(t, planned), Issuer: "i", Role: "r", Profile: "p@1", Owner: "o",
			}
			require.NoError(t, page.Add(r))
			require.NoError(t, l.Commit(t.Context(), page))
			row, found, err := l.Row(r.Serial)
			require.NoError(t, err)
			require.True(t, found)
			require.NotZero(t, row.Sequence)
			key, err := cert.KeyFingerprint(caKey().Public())
			require.NoError(t, err)
			require.Equal(t, ledger.Row{
				Serial: r.Serial, Issuer: "i", Role: "r", Profile: "p@1", Owner: "o", Name: test.want,
				NotBefore: planned.NotBefore, NotAfter: planned.NotAfter, KeyHash: [8]byte(key[:8]), Sequence: row.Sequence,
			}, row)
		})
	}
}

func TestRevokedIsAStableSnapshot(t *testing.T) {
	ctx := t.Context()
	l := loaded(t, kvtest.New(), newClock())
	var all []cert.Serial
	for range 5 {
		all = append(all, issue(t, l, 100)...)
	}
	for _, serial := range all[:50] {
		_, _, err := l.Revoke(ctx, serial, revocation(cert.Superseded))
		require.NoError(t, err)
	}
	revoked, err := l.Revoked("issuer-1")
	require.NoError(t, err)
	first := serials(revoked)
	for _, serial := range all[50:200] {
		_, _, err := l.Revoke(ctx, serial, revocation(cert.Superseded))
		require.NoError(t, err)
	}
	issue(t, l, 200)
	require.Equal(t, first, serials(revoked), "walked again after changes")
	want := slices.Clone(all[:50])
	slices.Sort(want)
	require.Equal(t, want, first)
	later, err := l.Revoked("issuer-1")
	require.NoError(t, err)
	require.Len(t, serials(later), 200)
	none, err := l.Revoked("issuer-2")
	require.NoError(t, err)
	require.Empty(t, serials(none))
}

func TestRevokedRowsAfterSkipStretchesWithoutOne(t *testing.T) {
	l := loaded(t, kvtest.New(), newClock())
	var all []cert.Serial
	for range 10 {
		all = append(all, issue(t, l, 256)...)
	}
	slices.Sort(all)
	want := []cert.Serial{all[3], all[1300], all[1301], all[2559]}
	for _, serial := range want {
		_, _, err := l.Revoke(t.Context(), serial, revocation(cert.Superseded))
		require.NoError(t, err)
	}
	for i, after := range append([]cert.Serial{""}, want...) {
		rows, err := l.RevokedRows(after)
		require.NoError(t, err)
		require.ElementsMatch(t, want[i:], serials(rows), "after %s", after)
	}
	rows, err := l.RevokedRows(all[1299])
	require.NoError(t, err)
	require.Equal(t, want[1:], serials(rows), "after one that is not revoked")
}

func TestRowsAfter(t *testing.T) {
	l := loaded(t, kvtest.New(), newClock())
	var all []cert.Serial
	for range 10 {
		all = append(all, issue(t, l, 40)...)
	}
	slices.Sort(all)
	for i, serial := range all {
		seq, err := l.Rows(serial)
		require.NoError(t, err)
		require.Len(t, serials(seq), len(all)-i-1)
		seq, err = l.Rows(serial[:19])
		require.NoError(t, err)
		for row := range seq {
			require.Equal(t, all[0], row.Serial, "a shorter serial is a smaller number")
			break
		}
	}
}

func TestByKey(t *testing.T) {
	ctx := t.Context()
	l := loaded(t, kvtest.New(), newClock())
	all := append(issue(t, l, 3), issue(t, l, 2)...)
	other := newKey()
	page, err := l.NewPage(1)
	require.NoError(t, err)
	r := ledger.Record{Serial: page.Serial()}
	planned := template(r.Serial, "other")
	r.DER, err = x509.CreateCertificate(nil, planned, planned, other.Public(), other)
	require.NoError(t, err)
	require.NoError(t, page.Add(r))
	require.NoError(t, l.Commit(ctx, page))
	_, _, err = l.Revoke(ctx, all[1], revocation(cert.KeyCompromise))
	require.NoError(t, err)

	slices.Sort(all)
	for want, key := range map[string]cert.Fingerprint{"ours": fingerprint(t, caKey().Public()), "other": fingerprint(t, other.Public())} {
		seq, err := l.ByKey(key)
		require.NoError(t, err)
		if want == "ours" {
			require.Equal(t, all, serials(seq))
		} else {
			require.Equal(t, []cert.Serial{r.Serial}, serials(seq))
		}
	}
	seq, err := l.ByKey(cert.Fingerprint{1})
	require.NoError(t, err)
	require.Empty(t, serials(seq))
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = l.ByKey(cert.Fingerprint{1}) }), "a new key is the hot path")
}

func fingerprint(t testing.TB, pub any) cert.Fingerprint {
	t.Helper()
	f, err := cert.KeyFingerprint(pub)
	require.NoError(t, err)
	return f
}

// Writers, readers, Load and Flush at once; what was acknowledged is there at the end,
// and after a restart. Worth its time with -race.
func TestEverythingAtOnce(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	first := loaded(t, store, c)
	issue(t, first, 50)
	require.NoError(t, first.Flush(ctx))
	l := newLedger(store, c)
	var group, writers sync.WaitGroup
	done := make(chan struct{})
	var mu sync.Mutex
	var revoked []cert.Serial
	for range 4 {
		writers.Go(func() {
			for range 20 {
				serials := issue(t, l, 3)
				_, _, err := l.Revoke(ctx, serials[1], revocation(cert.Superseded))
				require.NoError(t, err)
				mu.Lock()
				revoked = append(revoked, serials[1])
				mu.Unlock()
			}
		})
	}
	group.Go(func() { require.NoError(t, l.Load(ctx)) })
	for _, work := range []func(){
		func() { _ = l.Flush(ctx) },
		func() {
			if seq, err := l.Revoked("issuer-1"); err == nil {
				once := serials(seq)
				require.Equal(t, once, serials(seq))
			}
		},
		func() {
			if seq, err := l.Rows(""); err == nil {
				once := serials(seq)
				require.Equal(t, once, serials(seq))
			}
			_, _ = l.ByKey(cert.Fingerprint{})
			_, _, _ = l.Row("\x01")
		},
	} {
		group.Go(func() {
			for {
				work()
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	group.Wait()
	require.NoError(t, l.Load(ctx))
	require.Equal(t, 50+4*20*3, l.Count())
	slices.Sort(revoked)
	for _, ledger := range []*ledger.Ledger{l, loaded(t, store, c)} {
		seq, err := ledger.Revoked("issuer-1")
		require.NoError(t, err)
		require.Equal(t, revoked, serials(seq))
	}
	clean(t, store)
}
