package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

func everyOne(*ledger.Record) (bool, error) { return true, nil }

// However many certificates of a page are revoked: one get and two puts, of which one
// is the marker that names one of them, or none when a restart reads the page anyway.
func TestBudgetOfRevokingAPage(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*ledger.Ledger, []cert.Serial)
		want    kvtest.Counts
	}{
		"new":     {func(*ledger.Ledger, []cert.Serial) {}, kvtest.Counts{Gets: 1, Puts: 1}},
		"flushed": {func(l *ledger.Ledger, _ []cert.Serial) { require.NoError(t, l.Flush(t.Context())) }, kvtest.Counts{Gets: 1, Puts: 2}},
		"one of them changed since the flush": {func(l *ledger.Ledger, all []cert.Serial) {
			require.NoError(t, l.Flush(t.Context()))
			_, _, err := l.Revoke(t.Context(), all[7], revocation(cert.CertificateHold))
			require.NoError(t, err)
		}, kvtest.Counts{Gets: 1, Puts: 1}},
		"one was revoked since the flush": {func(l *ledger.Ledger, all []cert.Serial) {
			require.NoError(t, l.Flush(t.Context()))
			_, _, err := l.Revoke(t.Context(), all[7], revocation(cert.Superseded))
			require.NoError(t, err)
		}, kvtest.Counts{Gets: 1, Puts: 2}},
		"all revoked": {func(l *ledger.Ledger, all []cert.Serial) {
			_, err := l.RevokePage(t.Context(), all, revocation(cert.Superseded), everyOne)
			require.NoError(t, err)
		}, kvtest.Counts{Gets: 1}},
	} {
		store := kvtest.New()
		l := loaded(t, store, newClock())
		all := issue(t, l, ledger.MaxPage)
		c.prepare(l, all)
		store.Reset()
		news, err := l.RevokePage(t.Context(), all, revocation(cert.KeyCompromise), everyOne)
		require.NoError(t, err)
		require.Equal(t, c.want, store.Counts(), name)
		for _, row := range news {
			require.Equal(t, cert.KeyCompromise, row.Reason, name)
		}
		clean(t, store)
		l = loaded(t, store, newClock())
		require.Equal(t, ledger.MaxPage, l.CountRevoked(), name)
	}
}

func TestRevokingAPageAsksAboutEachRecord(t *testing.T) {
	store := kvtest.New()
	l := loaded(t, store, newClock())
	all, other := issue(t, l, 4), issue(t, l, 1)
	asked := 0
	news, err := l.RevokePage(t.Context(), all[:3], revocation(cert.Superseded), func(r *ledger.Record) (bool, error) {
		asked++
		return r.Serial != all[1], nil
	})
	require.NoError(t, err)
	require.Equal(t, 3, asked)
	require.Len(t, news, 2)
	require.Equal(t, 2, l.CountRevoked())

	store.Reset()
	refused := errors.New("refused")
	_, err = l.RevokePage(t.Context(), all, revocation(cert.Superseded), func(*ledger.Record) (bool, error) { return true, refused })
	require.ErrorIs(t, err, refused)
	_, err = l.RevokePage(t.Context(), []cert.Serial{all[3], other[0]}, revocation(cert.Superseded), everyOne)
	require.True(t, fault.Is(err, fault.Internal), "%v", err)
	require.Zero(t, store.Counts().Puts)
	require.Equal(t, 2, l.CountRevoked())
	clean(t, store)
}

// The marker of a page is found to lead to all of it, also when the Flush that is under
// way removes the one of a certificate that had changed before.
func TestCrash1_RevokingAPageKeepsTheMarkerThatItReliesOn(t *testing.T) {
	store, c := &pausing{Store: kvtest.New(), on: map[string]func(){}}, newClock()
	l := store.process(t, c)
	all := issue(t, l, 5)
	require.NoError(t, l.Flush(t.Context()))
	_, _, err := l.Revoke(t.Context(), all[0], revocation(cert.Superseded))
	require.NoError(t, err)
	store.on["segment/"] = func() {
		_, err := l.RevokePage(t.Context(), all, revocation(cert.KeyCompromise), everyOne)
		require.NoError(t, err)
	}
	require.NoError(t, l.Flush(t.Context()))
	clean(t, store.Store)
	again := store.process(t, c)
	require.Equal(t, len(all), again.CountRevoked())
	require.NoError(t, l.Flush(t.Context()))
	clean(t, store.Store)
	require.Equal(t, len(all), store.process(t, c).CountRevoked())
}

func TestCrash1_RevokingAPage(t *testing.T) {
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			store, c := kvtest.New(), newClock()
			l := loaded(t, store, c)
			all := issue(t, l, 4)
			require.NoError(t, l.Flush(t.Context()))
			store.Break(n, loss)
			_, err := l.RevokePage(t.Context(), all, revocation(cert.Superseded), everyOne)
			if !store.Broken() {
				require.NoError(t, err)
				require.Equal(t, 4, n, "get, marker, page")
				break
			}
			require.ErrorIs(t, err, kvtest.ErrLost)
			clean(t, store)
			restarted := loaded(t, store.Clone(), c)
			require.Contains(t, []int{0, len(all)}, restarted.CountRevoked())
			c.turn(time.Minute)
			if n%2 == 0 { // the process that saw the fault goes on, before or after a Flush
				require.NoError(t, l.Flush(t.Context()))
			}
			_, err = l.RevokePage(t.Context(), all, revocation(cert.Superseded), everyOne)
			require.NoError(t, err)
			require.Equal(t, len(all), l.CountRevoked())
			require.NoError(t, l.Flush(t.Context()))
			clean(t, store)
			require.Equal(t, len(all), loaded(t, store, c).CountRevoked())
		}
	}
}
