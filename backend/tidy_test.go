package backend_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
	"vault-plugin-secrets-enterprise-pki/backend/tidy"
)

const year = 365 * 24 * time.Hour

// everything removes what may go, a second after its end.
func everything() tidy.Task {
	task := tidy.DefaultTask()
	task.CertStore, task.RevokedCerts, task.ExpiredIssuers, task.SafetyBuffer = true, true, true, 1
	return task
}

// run tidies and returns how it ended.
func run(t *testing.T, b *backend.Backend, task tidy.Task) tidy.Run {
	t.Helper()
	began, err := b.Tidy.Start(t.Context(), task)
	require.NoError(t, err)
	require.True(t, began)
	synctest.Wait()
	ended, err := b.Tidy.Status(t.Context())
	require.NoError(t, err)
	return ended
}

func whole(t *testing.T, store *kvtest.Store) {
	t.Helper()
	report, err := fsck.CheckAt(context.Background(), store, time.Now())
	require.NoError(t, err)
	require.NoError(t, report.Err())
}

// pass lets time pass as it does in a mount: with a tick now and then.
func pass(b *backend.Backend, d time.Duration) {
	for ; d > 0; d -= min(d, time.Hour) {
		<-time.After(min(d, time.Hour))
		b.Tick()
		synctest.Wait()
	}
}

func keysBelow(store *kvtest.Store, prefix string) int {
	n := 0
	for key := range store.Dump() {
		if strings.HasPrefix(key, prefix) {
			n++
		}
	}
	return n
}

// A revoked certificate leaves the CRL only after it was on one that was issued after
// its end (RFC 5280 section 3.3).
func TestRev2_TidyWaitsForOneMoreCRL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		b, _, issuing := start(t, store)
		defer func() { b.Close() }()
		leaf, other := sign(t, b), sign(t, b)
		_, err := b.Revoke.BySerial(t.Context(), leaf.Serial, revoke.Request{Reason: cert.Superseded})
		require.NoError(t, err)
		pass(b, time.Minute)
		require.Contains(t, listed(t, b, issuing), leaf.Serial.String())

		task := everything()
		require.Zero(t, run(t, b, task).Removed, "nothing has ended")
		pass(b, 2*time.Hour)
		head, err := b.CRL.Newest(t.Context(), issuing.ID())
		require.NoError(t, err)
		require.True(t, head.ThisUpdate.Before(leaf.Certificate.NotAfter))
		ended := run(t, b, task)
		require.Equal(t, tidy.Finished, ended.State, ended.Error)
		require.Equal(t, 1, ended.Removed.Certificates, "the one that was not revoked")
		_, err = b.Ledger.Get(t.Context(), other.Serial)
		require.True(t, fault.Is(err, fault.NotFound))
		require.Equal(t, ocsp.Revoked, status(t, b, leaf.Certificate, issuing).Status)

		require.NoError(t, b.CRL.RebuildAll(t.Context()))
		require.Contains(t, listed(t, b, issuing), leaf.Serial.String(), "one more CRL")
		unrevoked := task
		unrevoked.RevokedCerts = false
		require.Zero(t, run(t, b, unrevoked).Removed)
		ended = run(t, b, task)
		require.Equal(t, 1, ended.Removed.Revoked)
		require.NoError(t, b.CRL.RebuildAll(t.Context()))
		require.Empty(t, listed(t, b, issuing))
		require.Equal(t, ocsp.Unknown, status(t, b, leaf.Certificate, issuing).Status)
		whole(t, store)
		require.NotZero(t, b.Ledger.Count(), "the issuers' own certificates stay")
	})
}

func TestTidyRemovesIssuersThatEndedLongAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		b, root, issuing := start(t, store)
		defer func() { b.Close() }()
		leaf := sign(t, b)
		_, err := b.Revoke.BySerial(t.Context(), leaf.Serial, revoke.Request{Reason: cert.Superseded})
		require.NoError(t, err)
		synctest.Wait()
		time.Sleep(5*year + 364*24*time.Hour)
		task := everything()
		require.Zero(t, run(t, b, task).Issuers, "the buffer is a year")
		time.Sleep(3 * 24 * time.Hour)
		ended := run(t, b, task)
		require.Zero(t, ended.Issuers)
		require.Len(t, ended.Warnings, 1)
		require.Contains(t, ended.Warnings[0], issuing.ID(), "the default one stays")

		_, err = b.Issuers.PutDefaults(t.Context(), issuer.Defaults{Default: "root"})
		require.NoError(t, err)
		ended = run(t, b, task)
		require.Equal(t, 1, ended.Issuers)
		require.Empty(t, ended.Warnings)
		_, err = b.Issuers.Get(t.Context(), "issuing")
		require.True(t, fault.Is(err, fault.NotFound))
		for _, prefix := range []string{layout.CRLHead, layout.CRLBody, layout.Responder} {
			require.Zero(t, keysBelow(store, prefix+issuing.CA()), prefix)
			require.NotZero(t, keysBelow(store, prefix+root.CA()), prefix)
		}
		require.NotZero(t, keysBelow(store, layout.Key+issuing.KeyID()), "keys stay")
		whole(t, store)
	})
}

// A deleted issuer without certificates is kept for an hour, hidden, because requests may
// be under way. Then nothing is left.
func TestDeletedIssuersLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		b, root, issuing := start(t, store)
		defer func() { b.Close() }()
		done, err := b.DeleteIssuer(t.Context(), "issuing", issuer.DeleteOptions{})
		require.NoError(t, err)
		require.True(t, done.WasDefault)
		require.False(t, done.Kept, "nothing was issued")
		_, err = b.DeleteIssuer(t.Context(), "issuing", issuer.DeleteOptions{})
		require.True(t, fault.Is(err, fault.NotFound))
		_, err = b.DeleteIssuer(t.Context(), issuing.ID(), issuer.DeleteOptions{})
		require.True(t, fault.Is(err, fault.NotFound))

		for n := 1; ; n++ {
			next := store.Clone()
			b.Close()
			b = open(next)
			require.NoError(t, b.Ledger.Load(t.Context()))
			time.Sleep(2 * time.Hour)
			next.Break(n, kvtest.LoseWrite)
			b.Tick()
			synctest.Wait()
			if !next.Broken() {
				store = next
				break
			}
			time.Sleep(time.Minute)
			b.Tick()
			synctest.Wait()
			run(t, b, everything())
			require.Zero(t, keysBelow(next, layout.Issuer+issuing.ID()))
			for _, prefix := range []string{layout.CRLHead, layout.CRLBody, layout.Responder} {
				require.Zero(t, keysBelow(next, prefix+issuing.CA()), prefix)
			}
			whole(t, next)
		}
		for _, prefix := range []string{layout.CRLHead, layout.CRLBody, layout.Responder} {
			require.Zero(t, keysBelow(store, prefix+issuing.CA()), prefix)
			require.NotZero(t, keysBelow(store, prefix+root.CA()), prefix)
		}
		whole(t, store)
	})
}

// Runs start by themselves: after the startup backoff, then an interval after the last
// one ended, whatever process that was.
func TestTidyRunsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		b, _, _ := start(t, store)
		defer func() { b.Close() }()
		settings := tidy.DefaultSettings()
		settings.Enabled, settings.Task, settings.Interval = true, everything(), 3600
		require.NoError(t, b.Tidy.PutSettings(t.Context(), settings))
		starts := func(minutes int) (at []int) {
			last, err := b.Tidy.Status(t.Context())
			require.NoError(t, err)
			for minute := 1; minute <= minutes; minute++ {
				time.Sleep(time.Minute)
				b.Tick()
				synctest.Wait()
				now, err := b.Tidy.Status(t.Context())
				require.NoError(t, err)
				if !now.Started.Equal(last.Started) {
					require.True(t, now.Auto)
					require.Equal(t, now.Finished, now.LastAuto)
					at = append(at, minute)
				}
				last = now
			}
			return at
		}
		at := starts(180)
		require.Len(t, at, 3)
		require.GreaterOrEqual(t, at[0], 5)
		require.LessOrEqual(t, at[0], 16)
		require.Equal(t, 60, at[1]-at[0])

		b.Close()
		b = open(store)
		b.Start()
		synctest.Wait()
		before, err := b.Tidy.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, tidy.Finished, before.State)
		again := starts(30)
		require.Len(t, again, 1)
		require.GreaterOrEqual(t, again[0], 60-(180-at[2]), "a restart does not begin again")

		run(t, b, everything()) // resets the interval
		require.Empty(t, starts(59))
		require.Len(t, starts(2), 1)
		settings.Enabled = false
		require.NoError(t, b.Tidy.PutSettings(t.Context(), settings))
		require.Empty(t, starts(200))
	})
}

func TestTidyIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		b, _, _ := start(t, store)
		defer func() { b.Close() }()
		require.False(t, b.Tidy.Cancel())
		for range 5 {
			sign(t, b)
		}
		pass(b, 3*time.Hour)
		task := everything()
		task.PauseDuration = "1m"
		began, err := b.Tidy.Start(t.Context(), task)
		require.NoError(t, err)
		require.True(t, began)
		time.Sleep(90 * time.Second)
		under, err := b.Tidy.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, tidy.Running, under.State)
		require.Equal(t, 2, under.Removed.Certificates)
		began, err = b.Tidy.Start(t.Context(), task)
		require.NoError(t, err)
		require.False(t, began, "one at a time")
		require.True(t, b.Tidy.Cancel())
		synctest.Wait()
		under, err = b.Tidy.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, tidy.Cancelled, under.State)
		whole(t, store)
		require.Equal(t, 3, run(t, b, everything()).Removed.Certificates, "the next one goes on")
	})
}

// A run loses each of its storage operations in turn; the next one, after a restart,
// ends what it began.
func TestCrash1_TidyRunFaultWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		b, root, issuing := start(t, store)
		leaf := sign(t, b)
		_, err := b.Revoke.BySerial(t.Context(), leaf.Serial, revoke.Request{Reason: cert.Superseded})
		require.NoError(t, err)
		synctest.Wait()
		b.Close() // before the first Flush: a start after seven years would list each hour
		time.Sleep(7 * year)
		for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
			n := 1
			for ; ; n++ {
				next := store.Clone()
				b := open(next)
				require.NoError(t, b.Ledger.Load(t.Context()))
				_, err := b.Issuers.PutDefaults(t.Context(), issuer.Defaults{Default: root.ID()})
				require.NoError(t, err)
				next.Break(n, loss)
				began, err := b.Tidy.Start(t.Context(), everything())
				synctest.Wait()
				broken := next.Broken()
				require.True(t, broken || began && err == nil)
				b.Close()
				whole(t, next)
				b = open(next)
				require.NoError(t, b.Ledger.Load(t.Context()))
				ended := run(t, b, everything())
				require.Equal(t, tidy.Finished, ended.State, ended.Error)
				for _, prefix := range []string{layout.CRLHead, layout.CRLBody, layout.Responder, layout.Issuer} {
					require.Zero(t, keysBelow(next, prefix+issuing.CA()), prefix)
				}
				b.Close()
				whole(t, next)
				if !broken {
					break
				}
			}
			require.Greater(t, n, 10)
		}
	})
}

// What is kept on the CRL after its end is kept in the ledger.
func TestRev2_TidyLeavesWhatStaysOnTheCRL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		b, _, issuing := start(t, store)
		defer func() { b.Close() }()
		settings := crl.DefaultSettings()
		settings.KeepAfterExpiry = "48h"
		require.NoError(t, b.CRL.PutSettings(t.Context(), settings))
		leaf := sign(t, b)
		_, err := b.Revoke.BySerial(t.Context(), leaf.Serial, revoke.Request{Reason: cert.Superseded})
		require.NoError(t, err)
		pass(b, 2*time.Hour)
		require.NoError(t, b.CRL.RebuildAll(t.Context()))
		require.Zero(t, run(t, b, everything()).Removed.Revoked)
		require.NoError(t, b.CRL.RebuildAll(t.Context()))
		require.Contains(t, listed(t, b, issuing), leaf.Serial.String())
		pass(b, 48*time.Hour)
		require.NoError(t, b.CRL.RebuildAll(t.Context()))
		require.Equal(t, 1, run(t, b, everything()).Removed.Revoked)
	})
}
