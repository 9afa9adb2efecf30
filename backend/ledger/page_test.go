package ledger_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
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

// A restart begins at the same place of everything that only memory knows.
func TestSerialsOfAnotherProcessAreOthers(t *testing.T) {
	pages, tails := map[string]bool{}, map[string]bool{}
	for range 64 {
		page, err := newLedger(kvtest.New(), newClock()).NewPage(1)
		require.NoError(t, err)
		serial := string(page.Serial())
		require.False(t, pages[serial[4:12]], "another process reserved this page")
		require.False(t, tails[serial[12:]], "another process made this serial number")
		pages[serial[4:12]], tails[serial[12:]] = true, true
	}
}

// What became of a page whose write failed is not known: it may be in storage.
func TestCrash1_PagesThatFailedAreNotReservedAgain(t *testing.T) {
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		store := kvtest.New()
		l := loaded(t, store, newClock())
		failed, err := l.NewPage(1)
		require.NoError(t, err)
		serial := failed.Serial()
		require.NoError(t, failed.Add(record(t, serial, "a.example.com")))
		store.Break(1, loss)
		require.Error(t, l.Commit(t.Context(), failed))
		store.Broken()
		next, err := l.NewPage(1)
		require.NoError(t, err)
		require.NotEqual(t, serial[:12], next.Serial()[:12], "the page that failed was reserved again")
	}
}

func TestPageHolds1To256(t *testing.T) {
	l := newLedger(kvtest.New(), newClock())
	for _, n := range []int{-1, 0, ledger.MaxPage + 1} {
		_, err := l.NewPage(n)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%d", n)
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
