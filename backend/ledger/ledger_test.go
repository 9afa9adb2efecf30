package ledger_test

import (
	"context"
	"crypto/x509"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

func TestSerialNamesItsPage(t *testing.T) {
	l := newLedger(kvtest.New(), newClock())
	page, err := l.NewPage(2)
	require.NoError(t, err)
	a, b := page.Serial(), page.Serial()
	require.Len(t, a, cert.MaxSerialOctets)
	require.EqualValues(t, 1, a[0], "positive, and never shorter than 20 octets")
	require.Equal(t, a[:12], b[:12], "one page")
	require.NotEqual(t, a[12:], b[12:])
	hour := start.Unix() / 3600
	require.Equal(t, []byte{byte(hour >> 16), byte(hour >> 8), byte(hour)}, []byte(a[1:4]))
	key, ok := ledger.PageKey(a)
	require.True(t, ok)
	require.Regexp(t, `^page/[0-9a-f]{6}/[0-9a-f]{16}$`, key)
	at, ok := ledger.Hour(a)
	require.True(t, ok)
	require.EqualValues(t, hour, at)
	_, ok = ledger.PageKey("\x02" + a[1:])
	require.False(t, ok, "another format")
	_, ok = ledger.PageKey(a[:19])
	require.False(t, ok)
	back, ok := ledger.ParseDirtyKey(ledger.DirtyKey(a))
	require.True(t, ok)
	require.Equal(t, a, back)
}

func TestSerialsAreNeverTheSameTwice(t *testing.T) {
	l := newLedger(kvtest.New(), newClock())
	seen := map[string]bool{}
	for range 100 {
		page, err := l.NewPage(ledger.MaxPage)
		require.NoError(t, err)
		for range ledger.MaxPage {
			serial := page.Serial()
			require.False(t, seen[string(serial[12:])], "64 fresh bits")
			seen[string(serial[12:])] = true
		}
	}
}

func TestPageHolds1To256(t *testing.T) {
	l := newLedger(kvtest.New(), newClock())
	for _, n := range []int{-1, 0, ledger.MaxPage + 1} {
		_, err := l.NewPage(n)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%d", n)
	}
}

func TestBudgets(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := newLedger(store, c)
	require.Equal(t, kvtest.Counts{}, store.Counts(), "New touches no storage")
	require.NoError(t, l.Load(ctx))
	steps := []struct {
		name string
		want kvtest.Counts
		work func()
	}{
		{"NewPage", kvtest.Counts{}, func() { _, _ = l.NewPage(1) }},
		{"commit of one", kvtest.Counts{Puts: 1}, func() { issue(t, l, 1) }},
		{"commit of a batch", kvtest.Counts{Puts: 1}, func() { issue(t, l, ledger.MaxPage) }},
		{"a certificate that is not stored", kvtest.Counts{}, func() {
			page, _ := l.NewPage(1)
			l.Note(record(t, page.Serial(), "short.example.com"))
		}},
	}
	for _, step := range steps {
		store.Reset()
		step.work()
		require.Equal(t, step.want, store.Counts(), step.name)
	}
	serial := issue(t, l, 1)[0]
	old := issue(t, l, 1)[0]

	store.Reset()
	_, err := l.Get(ctx, serial)
	require.NoError(t, err)
	require.Equal(t, kvtest.Counts{Gets: 1}, store.Counts())

	store.Reset()
	_, changed, err := l.Revoke(ctx, serial, revocation(cert.Superseded))
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, kvtest.Counts{Gets: 1, Puts: 1}, store.Counts(), "no segment has it: no marker")

	require.NoError(t, l.Flush(ctx))
	store.Reset()
	_, changed, err = l.Revoke(ctx, old, revocation(cert.Superseded))
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, kvtest.Counts{Gets: 1, Puts: 2}, store.Counts())
	page, _ := ledger.PageKey(old)
	require.Equal(t, []string{ledger.DirtyKey(old), page}, store.Written(), "the marker first")

	store.Reset()
	_, changed, err = l.Revoke(ctx, old, revocation(cert.KeyCompromise))
	require.NoError(t, err)
	require.False(t, changed)
	require.Equal(t, kvtest.Counts{Gets: 1}, store.Counts())

	store.Reset()
	_, _, err = l.Row(serial)
	require.NoError(t, err)
	for _, ask := range []func() error{
		func() error { _, err := l.Rows(""); return err },
		func() error { _, err := l.Revoked("issuer-1"); return err },
		func() error { _, err := l.ByKey(cert.Fingerprint{}); return err },
	} {
		require.NoError(t, ask())
	}
	require.Equal(t, kvtest.Counts{}, store.Counts(), "questions read memory")
	clean(t, store)
}

func TestRecordComesBackAsItWas(t *testing.T) {
	l := loaded(t, kvtest.New(), newClock())
	page, err := l.NewPage(3)
	require.NoError(t, err)
	full := record(t, page.Serial(), "a.example.com")
	full.Replaces = cert.Serial("\x01\x02\x03")
	full.Revocation = &ledger.Revocation{At: start, Reason: cert.Superseded, InvalidityAt: start.Add(-time.Hour), Comment: "x"}
	bare := ledger.Record{Serial: page.Serial()}
	bare.DER = sign(t, template(bare.Serial, "b.example.com"))
	for _, r := range []ledger.Record{full, bare} {
		require.NoError(t, page.Add(r))
	}
	require.NoError(t, l.Commit(t.Context(), page))
	for _, want := range []ledger.Record{full, bare} {
		parsed, err := x509.ParseCertificate(want.DER)
		require.NoError(t, err)
		want.KeyHash, err = cert.KeyFingerprint(parsed.PublicKey)
		require.NoError(t, err)
		got, err := l.Get(t.Context(), want.Serial)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(&want, got))
	}
}

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

func TestAddRefuses(t *testing.T) {
	l := newLedger(kvtest.New(), newClock())
	page, err := l.NewPage(1)
	require.NoError(t, err)
	other, err := l.NewPage(1)
	require.NoError(t, err)
	good := record(t, page.Serial(), "a.example.com")
	cases := map[string]func(*ledger.Record){
		"serial of another page": func(r *ledger.Record) { *r = record(t, other.Serial(), "a") },
		"another certificate":    func(r *ledger.Record) { r.Serial = page.Serial() },
		"no certificate":         func(r *ledger.Record) { r.DER = nil },
		"not a certificate":      func(r *ledger.Record) { r.DER = r.DER[:100] },
		"long owner":             func(r *ledger.Record) { r.Owner = strings.Repeat("o", ledger.MaxText+1) },
		"long comment": func(r *ledger.Record) {
			r.Revocation = &ledger.Revocation{At: start, Comment: strings.Repeat("c", 256)}
		},
		"revoked for no reason":     func(r *ledger.Record) { r.Revocation = &ledger.Revocation{At: start, Reason: 7} },
		"revoked at no time":        func(r *ledger.Record) { r.Revocation = &ledger.Revocation{} },
		"more than a page can hold": func(r *ledger.Record) { r.Metadata = map[string]string{"a": strings.Repeat("m", 480<<10)} },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			bad := good
			change(&bad)
			require.Error(t, page.Add(bad))
		})
	}
	require.NoError(t, page.Add(good))
	require.Error(t, page.Add(good), "twice")
	require.ErrorIs(t, page.Add(record(t, page.Serial(), "b")), ledger.ErrFull, "reserved for one")
	require.Error(t, l.Commit(t.Context(), other), "empty")
	require.NoError(t, l.Commit(t.Context(), page))
	require.Error(t, l.Commit(t.Context(), page), "twice")
}

func TestPageThatFillsUpSaysSoBeforeSigning(t *testing.T) {
	ctx, store := t.Context(), kvtest.New()
	l := loaded(t, store, newClock())
	page, err := l.NewPage(ledger.MaxPage)
	require.NoError(t, err)
	big := strings.Repeat("m", 3000)
	var on []cert.Serial
	for range ledger.MaxPage {
		r := record(t, page.Serial(), "a.example.com")
		r.Metadata = map[string]string{"big": big}
		if !page.Fits(r) {
			require.NoError(t, page.Add(record(t, page.Serial(), "b")), "a smaller one still fits")
			r.Metadata["big"] += strings.Repeat("n", 4000)
			require.ErrorIs(t, page.Add(r), ledger.ErrFull)
			require.Equal(t, fault.TooLarge, fault.KindOf(page.Add(r)))
			break
		}
		require.NoError(t, page.Add(r))
		on = append(on, r.Serial)
	}
	require.Greater(t, len(on), 100)
	require.Less(t, len(on), ledger.MaxPage)
	require.NoError(t, l.Commit(ctx, page))
	long := revocation(cert.KeyCompromise)
	long.Comment = strings.Repeat("c", ledger.MaxComment)
	for _, serial := range on {
		_, _, err := l.Revoke(ctx, serial, long)
		require.NoError(t, err, "a full page has room for all to be revoked")
	}
	clean(t, store)
}

func TestUnknownSerialsAreNotFound(t *testing.T) {
	ctx, store := t.Context(), kvtest.New()
	l := loaded(t, store, newClock())
	known := issue(t, l, 1)[0]
	for name, serial := range map[string]cert.Serial{
		"never issued":           known[:19] + cert.Serial([]byte{known[19] ^ 1}),
		"of another CA":          "\x17\x5f",
		"empty":                  "",
		"on a page never made":   "\x01\x00\x00\x01" + known[4:],
		"longer than RFC 5280's": known + "\x01",
	} {
		_, err := l.Get(ctx, serial)
		require.Equal(t, fault.NotFound, fault.KindOf(err), name)
		_, _, err = l.Revoke(ctx, serial, revocation(cert.Unspecified))
		require.Equal(t, fault.NotFound, fault.KindOf(err), name)
		_, found, err := l.Row(serial)
		require.NoError(t, err)
		require.False(t, found, name)
	}
	require.Len(t, keysBelow(store, layout.Dirty), 0)
}

func TestRevokeIsIdempotent(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := loaded(t, store, c)
	serial := issue(t, l, 1)[0]
	given := revocation(cert.KeyCompromise)
	given.At = given.At.Add(123 * time.Millisecond)
	first, changed, err := l.Revoke(ctx, serial, given)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, revocation(cert.KeyCompromise), *first.Revocation, "to the second")
	again, changed, err := l.Revoke(ctx, serial, ledger.Revocation{At: start.Add(9 * time.Hour), Reason: cert.Superseded})
	require.NoError(t, err)
	require.False(t, changed)
	require.Equal(t, first, again)
	row, found, err := l.Row(serial)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, start.Add(time.Hour), row.RevokedAt)
	require.Equal(t, cert.KeyCompromise, row.Reason)
	require.Equal(t, start.Add(time.Minute), row.Invalidity)
}

func TestConcurrentRevocationsOfOnePageLoseNone(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := loaded(t, store, c)
	all := issue(t, l, 64)
	require.NoError(t, l.Flush(ctx))
	var group sync.WaitGroup
	for _, serial := range all {
		group.Go(func() {
			_, _, err := l.Revoke(ctx, serial, revocation(cert.Superseded))
			require.NoError(t, err)
		})
	}
	group.Go(func() { require.NoError(t, l.Flush(ctx)) })
	group.Wait()
	for _, serial := range all {
		r, err := l.Get(ctx, serial)
		require.NoError(t, err)
		require.NotNil(t, r.Revocation)
	}
	revoked, err := loaded(t, store, c).Revoked("issuer-1")
	require.NoError(t, err)
	require.Len(t, serials(revoked), len(all))
	clean(t, store)
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
		require.Equal(t, len(all)-i-1, len(serials(seq)))
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

func TestCommitRefusesAPageOfAnHourThatMayBeClosed(t *testing.T) {
	c := newClock()
	l := loaded(t, kvtest.New(), c)
	for _, test := range []struct {
		wait time.Duration
		kind fault.Kind
	}{{0, 0}, {time.Hour, 0}, {2 * time.Hour, fault.Conflict}} {
		page, err := l.NewPage(1)
		require.NoError(t, err)
		require.NoError(t, page.Add(record(t, page.Serial(), "late")))
		c.turn(test.wait)
		err = l.Commit(t.Context(), page)
		if test.kind == 0 {
			require.NoError(t, err)
		} else {
			require.Equal(t, test.kind, fault.KindOf(err))
		}
	}
}

func TestCancelledCommitIsNotShown(t *testing.T) {
	store := kvtest.New()
	l := loaded(t, store, newClock())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := tryIssue(t, ctx, l, 1)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, rows(t, l))
	require.Zero(t, l.Count())
}
