package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
)

// course is a use of everything that writes, across hours and restarts.
func (v *life) course(crash bool) {
	steps := []func(){
		v.load, v.flush,
		func() { v.issue(1) },
		func() { v.issue(5) },
		v.issueUnstored,
		v.issueCA,
		func() { v.revoke(0, cert.KeyCompromise) },
		v.flush,
		func() { v.revoke(1, cert.Superseded) },
		func() { v.revoke(2, cert.Superseded) },
		func() { v.clock.turn(5 * time.Hour) },
		func() { v.issue(3) },
		v.flush,
		func() { v.revoke(3, cert.KeyCompromise) },
		func() { v.revokePage(8, cert.Superseded) },
		v.restart, v.load,
		func() { v.revoke(4, cert.Superseded) },
		func() { v.clock.turn(30 * time.Hour) },
		v.flush, v.flush,
		v.restart,
		func() { v.revoke(5, cert.Superseded) }, // while rows still load
		func() { v.issue(2) },
		v.load,
		func() { v.revoke(6, cert.Superseded) },
		v.flush,
	}
	for _, step := range steps {
		failed := v.failed
		step()
		if crash && v.failed && !failed {
			return
		}
	}
}

// TestCrash1_FaultWalk loses each storage operation in turn, its effect or only its
// answer, and either goes on or ends the process there.
func TestCrash1_FaultWalk(t *testing.T) {
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("loss %d, crash %t", loss, crash), func(t *testing.T) {
				n := 1
				for ; ; n++ {
					v := newLife(t)
					v.store.Break(n, loss)
					v.course(crash)
					if !v.store.Broken() {
						v.check()
						break
					}
					require.True(t, v.failed, "an error was swallowed at operation %d", n)
					clean(t, v.store)
					if !crash {
						v.check() // the process that saw the fault
					}
					v.restart()
					v.check()
					clean(t, v.store)
					v.flush()
					v.restart()
					v.check()
					clean(t, v.store)
				}
				require.Greater(t, n, 40)
			})
		}
	}
}

// TestRestartsShowTheSameRows mixes everything in any order, with and without
// faults, and holds the rows against a model.
func TestRestartsShowTheSameRows(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v := newLife(t)
		v.load()
		faults := rapid.Bool().Draw(r, "faults")
		v.brief = rapid.Bool().Draw(r, "brief")
		r.Repeat(map[string]func(*rapid.T){
			"issue":    func(r *rapid.T) { v.issue(rapid.IntRange(1, 4).Draw(r, "n")) },
			"CA":       func(*rapid.T) { v.issueCA() },
			"unstored": func(*rapid.T) { v.issueUnstored() },
			"revoke": func(r *rapid.T) {
				v.revoke(rapid.IntRange(0, 50).Draw(r, "which"), rapid.SampledFrom([]cert.Reason{cert.KeyCompromise, cert.Superseded}).Draw(r, "reason"))
			},
			"page":    func(r *rapid.T) { v.revokePage(rapid.IntRange(0, 50).Draw(r, "which"), cert.CessationOfOperation) },
			"flush":   func(*rapid.T) { v.flush() },
			"load":    func(*rapid.T) { v.load() },
			"tidy":    func(*rapid.T) { v.tidy() },
			"restart": func(*rapid.T) { v.restart() },
			"wait":    func(r *rapid.T) { v.clock.turn(time.Duration(rapid.IntRange(1, 9).Draw(r, "hours")) * time.Hour) },
			"fault": func(r *rapid.T) {
				if faults {
					v.store.Break(rapid.IntRange(1, 6).Draw(r, "operation"), rapid.SampledFrom([]kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer}).Draw(r, "loss"))
				}
			},
			"check": func(*rapid.T) {
				v.store.Broken()
				v.check()
				clean(t, v.store)
			},
		})
		v.store.Broken()
		v.restart()
		v.check()
		clean(t, v.store)
		first := rows(t, v.l)
		v.restart()
		v.check()
		require.Equal(t, first, rows(t, v.l), "a load changes nothing")
	})
}

func TestClocksThatGoBackLoseNothing(t *testing.T) {
	v := newLife(t)
	v.load()
	v.issue(2)
	v.clock.turn(10 * time.Hour)
	v.flush()
	v.clock.turn(-9 * time.Hour)
	v.issue(2) // in an open hour, whatever the clock says
	v.restart()
	v.check()
	clean(t, v.store)
	v.restart()
	v.issue(2) // before the closed hours are known
	v.load()
	v.issue(2)
	v.restart()
	v.check()
	clean(t, v.store)
	v.flush()
	require.Empty(t, markers(v.store))
	v.restart()
	v.check()
	clean(t, v.store)
}

func TestSequencesNeverGoBack(t *testing.T) {
	v := newLife(t)
	highest := func() (high uint64) {
		v.check()
		seq, err := v.l.Rows("")
		require.NoError(t, err)
		for row := range seq {
			high = max(high, row.Sequence)
		}
		return high
	}
	v.load()
	v.issue(3)
	v.flush()
	v.issue(3)
	before := highest() // a reader's cursor: the last three are in no segment
	v.clock.turn(-2 * time.Hour)
	v.restart()
	v.issue(1)
	v.revoke(0, cert.Superseded)
	v.load()
	v.flush()
	row, _, err := v.l.Row(v.all[0])
	require.NoError(t, err)
	kept := row.Sequence
	require.Positive(t, kept)
	v.clock.turn(3 * time.Hour)
	v.restart()
	v.revoke(1, cert.Superseded)
	after := highest()
	require.Greater(t, after, before)
	require.Less(t, after, uint64(1)<<53, "exact as a JSON number")
}

func TestRev3_QuestionsWaitForTheRows(t *testing.T) {
	v := newLife(t)
	for name, ask := range map[string]func() error{
		"row":     func() error { _, _, err := v.l.Row("\x01"); return err },
		"rows":    func() error { _, err := v.l.Rows(""); return err },
		"revoked": func() error { _, err := v.l.Revoked("issuer-1"); return err },
		"by key":  func() error { _, err := v.l.ByKey(cert.Fingerprint{}); return err },
		"flush":   func() error { return v.l.Flush(t.Context()) },
	} {
		require.Equal(t, fault.Unavailable, fault.KindOf(ask()), name)
	}
	v.issue(2)
	v.revoke(0, cert.KeyCompromise)
	v.check()
	v.store.Break(1, kvtest.LoseWrite)
	v.restart()
	require.Error(t, v.l.Load(t.Context()))
	require.False(t, v.l.Loaded())
	v.check()
}

func TestIntentsAreListedAndNeverAnswered(t *testing.T) {
	ctx := t.Context()
	v := newLife(t)
	v.load()
	page, err := v.l.NewPage(1)
	require.NoError(t, err)
	intent := record(t, page.Serial(), "Sub CA")
	der := intent.DER
	intent.DER = nil
	v.store.Reset()
	require.NoError(t, v.l.Intend(ctx, page, intent))
	require.Equal(t, kvtest.Counts{Puts: 1}, v.store.Counts())
	report := clean(t, v.store)
	require.Equal(t, 1, report.Intents)
	require.Len(t, report.Findings, 1)
	_, err = v.l.Get(ctx, intent.Serial)
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	_, _, err = v.l.Revoke(ctx, intent.Serial, revocation(cert.KeyCompromise))
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.Zero(t, v.l.Count())

	complete := intent
	complete.DER = der
	require.NoError(t, page.Add(complete))
	require.NoError(t, v.l.Commit(ctx, page))
	require.Zero(t, clean(t, v.store).Intents)
	require.Equal(t, 1, v.l.Count())
	require.Error(t, v.l.Intend(ctx, page, complete), "an intent has no certificate")
}
