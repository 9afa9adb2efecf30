package revoke_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
)

// issue records n certificates like the record, on one page that shares no lock with
// another: synctest does not see who waits for a lock.
func (m *mount) issue(t testing.TB, n int, like ledger.Record) []cert.Serial {
	t.Helper()
	page, err := m.ledger.NewPage(n)
	for err == nil && m.locks[page.Serial()[11]] {
		page, err = m.ledger.NewPage(n)
	}
	require.NoError(t, err)
	serials := make([]cert.Serial, n)
	for i := range serials {
		serials[i] = page.Serial()
		m.locks[serials[i][11]] = true
		record := like
		record.Serial, record.IssuedAt = serials[i], m.clock
		record.DER = certificate(t, serials[i], m.key, fmt.Sprintf("h%d.example.com", i))
		require.NoError(t, page.Add(record))
	}
	require.NoError(t, m.ledger.Commit(t.Context(), page))
	return serials
}

// keyHash is the fingerprint of the key of all certificates of the mount.
func (m *mount) keyHash(t *testing.T) string {
	t.Helper()
	hash, err := cert.KeyFingerprint(m.key.Public())
	require.NoError(t, err)
	return hash.String()
}

func order(filter revoke.Filter, reason cert.Reason) revoke.Order {
	return revoke.Order{Filter: filter, Request: revoke.Request{Reason: reason}}
}

// run orders a bulk revocation and waits for its end. To be called in a bubble.
func (m *mount) run(t *testing.T, o revoke.Order) revoke.Run {
	t.Helper()
	_, err := m.bulk.Start(t.Context(), o)
	require.NoError(t, err)
	synctest.Wait()
	run, err := m.bulk.Status(t.Context())
	require.NoError(t, err)
	return run
}

func (m *mount) whole(t *testing.T) {
	t.Helper()
	report, err := fsck.Check(t.Context(), m.store)
	require.NoError(t, err)
	require.Empty(t, report.Findings)
}

func TestEachFilterFieldNarrows(t *testing.T) {
	m := start(t)
	record := ledger.Record{Issuer: "one", Role: "web", Profile: "tls@2", Owner: "team-a"}
	m.issue(t, 3, record)
	for _, other := range []ledger.Record{
		{Issuer: "two", Role: "web", Profile: "tls@2", Owner: "team-a"},
		{Issuer: "one", Role: "mail", Profile: "tls@2", Owner: "team-a"},
		{Issuer: "one", Role: "web", Profile: "tls@3", Owner: "team-a"},
		{Issuer: "one", Role: "web", Profile: "tls@2", Owner: "team-b"},
	} {
		m.issue(t, 1, other)
	}
	for name, c := range map[string]struct {
		filter revoke.Filter
		want   int
	}{
		"issuer":          {revoke.Filter{Issuer: "one"}, 6},
		"role":            {revoke.Filter{Role: "web"}, 6},
		"owner":           {revoke.Filter{Owner: "team-a"}, 6},
		"profile":         {revoke.Filter{Profile: "tls"}, 7},
		"profile version": {revoke.Filter{Profile: "tls@2"}, 6},
		"key":             {revoke.Filter{Key: m.keyHash(t)}, 8},
		"another key":     {revoke.Filter{Key: cert.FingerprintOf([]byte("other")).Hex()}, 0},
		"all":             {revoke.Filter{Issuer: "one", Role: "web", Profile: "tls@2", Owner: "team-a", Key: m.keyHash(t)}, 3},
	} {
		survey, serials, err := m.bulk.Preview(t.Context(), order(c.filter, cert.Superseded), 2)
		require.NoError(t, err)
		require.Equal(t, c.want, survey.Matched, name)
		require.Len(t, serials, min(c.want, 2), name)
	}
	require.Zero(t, m.ledger.CountRevoked())
}

func TestRev5_BulkNeedsAFilterAndAFinalReason(t *testing.T) {
	m := start(t)
	m.store.Reset()
	for field, o := range map[string]revoke.Order{
		"issuer":          order(revoke.Filter{}, cert.Superseded),
		"key":             order(revoke.Filter{Key: "abcd"}, cert.Superseded),
		"reason":          order(revoke.Filter{Role: "web"}, cert.CertificateHold),
		"invalidity_date": {Filter: revoke.Filter{Role: "web"}, Request: revoke.Request{InvalidityAt: now.Add(time.Hour)}},
	} {
		_, err := m.bulk.Start(t.Context(), o)
		require.Equal(t, field, fault.FieldOfError(err), "%v", err)
		_, _, err = m.bulk.Preview(t.Context(), o, 1)
		require.Equal(t, field, fault.FieldOfError(err), "%v", err)
	}
	m.wire() // not loaded (rev-3)
	_, err := m.bulk.Start(t.Context(), order(revoke.Filter{Role: "web"}, cert.Superseded))
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.Zero(t, m.store.Counts().Total())
}

// What is passed over is counted: what has ended or is revoked, what profiles do not
// allow, issuers and responders, what has no record.
func TestRev5_BulkPassesOverWhatSingleRevocationRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t)
		m.clock = now.Add(time.Minute)
		all := m.issue(t, 6, ledger.Record{Issuer: "issuer", Profile: "any@1", Role: "web"})
		m.issuers[all[0]] = true
		ca := m.issue(t, 1, ledger.Record{Issuer: "issuer", Profile: "sub-ca@1"})[0]
		m.issuers[ca] = true
		m.issue(t, 1, ledger.Record{Issuer: "issuer", Profile: "ocsp-responder@0"})
		_, err := m.revoke.BySerial(t.Context(), all[1], revoke.Request{Reason: cert.Superseded})
		require.NoError(t, err)
		m.changed = nil
		page, err := m.ledger.NewPage(1)
		require.NoError(t, err)
		serial := page.Serial()
		m.ledger.Note(ledger.Record{Serial: serial, DER: certificate(t, serial, m.key, "unstored.example.com"), Issuer: "issuer", Profile: "any@1", Role: "web", IssuedAt: now})

		o := order(revoke.Filter{Issuer: "issuer"}, cert.AACompromise)
		want := revoke.Survey{Matched: 4, Refused: []revoke.Refusal{{Profile: "web@1", Count: 1}}, Own: 3, Unrecorded: 1, Revoked: 1, Pages: 1}
		survey, _, err := m.bulk.Preview(t.Context(), o, 0)
		require.NoError(t, err)
		require.Equal(t, want, survey)
		run := m.run(t, o)
		require.Equal(t, revoke.Finished, run.State)
		require.Equal(t, want, run.Survey)
		require.Equal(t, revoke.Progress{Pages: 1, Revoked: 4}, run.Done)
		require.Equal(t, []cert.Reason{cert.AACompromise}, m.changed, "once for the issuer")
		require.Equal(t, 5, m.ledger.CountRevoked())

		m.clock = now.Add(2 * time.Hour)
		survey, _, err = m.bulk.Preview(t.Context(), o, 0)
		require.NoError(t, err)
		require.Zero(t, survey, "all have ended")
		m.whole(t)
	})
}

// Each page costs one get and two puts, however many certificates it holds; the run
// itself a note at its start and one at its end.
func TestBudgetOfBulkRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t)
		for range 3 {
			m.issue(t, ledger.MaxPage, ledger.Record{Issuer: "issuer", Role: "web"})
		}
		require.NoError(t, m.ledger.Flush(t.Context()))
		m.store.Reset()
		survey, _, err := m.bulk.Preview(t.Context(), order(revoke.Filter{Role: "web"}, cert.Superseded), 100)
		require.NoError(t, err)
		require.Equal(t, 3*ledger.MaxPage, survey.Matched)
		require.Zero(t, m.store.Counts().Total(), "a preview reads memory")

		run := m.run(t, order(revoke.Filter{Role: "web"}, cert.Superseded))
		require.Equal(t, 3*ledger.MaxPage, run.Done.Revoked)
		require.Equal(t, kvtest.Counts{Gets: 4, Puts: 3*2 + 2}, m.store.Counts())
		m.store.Reset()
		run = m.run(t, order(revoke.Filter{Role: "web"}, cert.Superseded))
		require.Zero(t, run.Done.Revoked)
		require.Equal(t, kvtest.Counts{Puts: 2}, m.store.Counts(), "what is revoked is not read again")
		m.whole(t)
	})
}

// A key is compared in full with the record: rows name 64 bits of it.
func TestRev5_BulkByKeyComparesTheWholeFingerprint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t)
		hash, err := cert.KeyFingerprint(m.key.Public())
		require.NoError(t, err)
		hash[31] ^= 1
		run := m.run(t, order(revoke.Filter{Key: hash.Hex()}, cert.KeyCompromise))
		require.Equal(t, 1, run.Survey.Matched)
		require.Zero(t, run.Done.Revoked)
		run = m.run(t, order(revoke.Filter{Key: m.keyHash(t)}, cert.KeyCompromise))
		require.Equal(t, 1, run.Done.Revoked)
		require.Equal(t, []cert.Reason{cert.KeyCompromise}, m.changed)
	})
}

// stopping is a store of which the writes of pages wait until they are let go.
type stopping struct {
	*kvtest.Store
	pages chan struct{}
}

func (s *stopping) Get(ctx context.Context, key string) ([]byte, error) {
	if len(key) > len(layout.Page) && key[:len(layout.Page)] == layout.Page {
		select {
		case <-s.pages:
		case <-ctx.Done():
		}
	}
	return s.Store.Get(ctx, key)
}

func TestBulkIsOneAtATimeAndCanBeCancelledAndGoneOnWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t)
		for range 40 {
			m.issue(t, 2, ledger.Record{Issuer: "issuer", Role: "web"})
		}
		require.NoError(t, m.ledger.Flush(t.Context()))
		waiting := &stopping{m.store, make(chan struct{})}
		m.use(waiting)
		require.NoError(t, m.ledger.Load(t.Context()))
		o := order(revoke.Filter{Role: "web"}, cert.Superseded)
		require.False(t, m.bulk.Cancel())
		_, err := m.bulk.Start(t.Context(), o)
		require.NoError(t, err)
		_, err = m.bulk.Start(t.Context(), o)
		require.True(t, fault.Is(err, fault.Conflict), "%v", err)
		waiting.pages <- struct{}{}
		synctest.Wait()
		status, err := m.bulk.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, revoke.Running, status.State)
		require.Equal(t, 1, status.Done.Pages)
		require.Empty(t, m.changed)
		require.True(t, m.bulk.Cancel())
		synctest.Wait()
		status, err = m.bulk.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, revoke.Cancelled, status.State)
		require.Equal(t, revoke.Progress{Pages: 1, Revoked: 2}, status.Done)
		require.Equal(t, []cert.Reason{cert.Superseded}, m.changed, "what is revoked is published")
		m.whole(t)

		m.open(t)
		stored, err := m.bulk.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, revoke.Cancelled, stored.State)
		run := m.run(t, o)
		require.Equal(t, revoke.Finished, run.State)
		require.Equal(t, 78, run.Done.Revoked)
		m.whole(t)
	})
}

// A restart ends a run. Whoever asks afterwards is told so, and the same order goes on.
func TestBulkIsInterruptedByTheEndOfTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t)
		for range 3 {
			m.issue(t, 2, ledger.Record{Issuer: "issuer", Role: "web"})
		}
		require.NoError(t, m.ledger.Flush(t.Context()))
		waiting := &stopping{m.store, make(chan struct{})}
		m.use(waiting)
		require.NoError(t, m.ledger.Load(t.Context()))
		o := order(revoke.Filter{Role: "web"}, cert.Superseded)
		_, err := m.bulk.Start(t.Context(), o)
		require.NoError(t, err)
		waiting.pages <- struct{}{}
		synctest.Wait()
		m.bulk.Close()
		synctest.Wait()

		m.open(t)
		run, err := m.bulk.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, revoke.Interrupted, run.State)
		require.Equal(t, 6, run.Survey.Matched, "what was ordered is still known")
		require.False(t, m.bulk.Cancel(), "nothing is under way")
		require.Equal(t, 2, m.ledger.CountRevoked())
		require.Equal(t, 4, m.run(t, o).Done.Revoked)
		m.whole(t)
	})
}

// A page that cannot be read keeps no other from being revoked, and the run says so.
func TestBulkGoesOnPastADamagedPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t)
		bad := m.issue(t, 1, ledger.Record{Issuer: "issuer", Role: "web"})[0]
		good := m.issue(t, 1, ledger.Record{Issuer: "issuer", Role: "web"})[0]
		key, _ := ledger.PageKey(bad)
		require.NoError(t, m.store.Put(t.Context(), key, []byte("half of it")))
		run := m.run(t, order(revoke.Filter{Role: "web"}, cert.Superseded))
		require.Equal(t, revoke.Failed, run.State)
		require.Contains(t, run.Error, "1 pages could not be revoked")
		require.Equal(t, revoke.Progress{Pages: 2, Revoked: 1, Failed: 1}, run.Done)
		row, _, err := m.ledger.Row(good)
		require.NoError(t, err)
		require.False(t, row.RevokedAt.IsZero())
	})
}

// Crash1: whatever operation is lost, what was counted as revoked is revoked after a
// restart, storage stays whole, and the same order goes on.
func TestCrash1_BulkRevocation(t *testing.T) {
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			done := false
			synctest.Test(t, func(t *testing.T) {
				m := start(t)
				for range 3 {
					m.issue(t, 2, ledger.Record{Issuer: "issuer", Role: "web"})
				}
				require.NoError(t, m.ledger.Flush(t.Context()))
				o := order(revoke.Filter{Role: "web"}, cert.Superseded)
				m.store.Break(n, loss)
				_, err := m.bulk.Start(t.Context(), o)
				synctest.Wait()
				run, statusErr := m.bulk.Status(t.Context())
				require.NoError(t, statusErr)
				done = !m.store.Broken()
				if !done && err == nil && run.Error == "" {
					require.Equal(t, 6, run.Done.Revoked, "only the note of the end was lost")
				}
				m.whole(t)
				m.open(t)
				require.GreaterOrEqual(t, m.ledger.CountRevoked(), run.Done.Revoked)
				again, err := m.bulk.Status(t.Context())
				require.NoError(t, err)
				require.NotEqual(t, revoke.Running, again.State, "nothing runs after a restart")
				final := m.run(t, o)
				require.Equal(t, revoke.Finished, final.State)
				require.Equal(t, 6, m.ledger.CountRevoked())
				m.whole(t)
			})
			if done {
				require.Greater(t, n, 9)
				break
			}
		}
	}
}
