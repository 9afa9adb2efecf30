package ledger_test

import (
	"crypto/x509"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

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
		func() error { _, err := l.Compromised(cert.Fingerprint{}); return err },
		func() error { _, err := l.OtherOwner(cert.Fingerprint{}, ""); return err },
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
	require.Empty(t, markers(store))
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
