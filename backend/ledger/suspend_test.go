package ledger_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

func pass(*ledger.Record) error { return nil }

func hold(at time.Time) ledger.Revocation {
	return ledger.Revocation{At: at, Reason: cert.CertificateHold, Comment: "on leave"}
}

func TestResumingEndsASuspensionAndNothingElse(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	all := issue(t, l, 3)
	_, _, err := l.Resume(t.Context(), all[0], start, pass)
	require.True(t, fault.Is(err, fault.Conflict), "never suspended: %v", err)
	_, _, err = l.Revoke(t.Context(), all[1], revocation(cert.Superseded))
	require.NoError(t, err)
	_, _, err = l.Resume(t.Context(), all[1], start, pass)
	require.True(t, fault.Is(err, fault.Conflict), "revoked for good: %v", err)

	_, changed, err := l.Revoke(t.Context(), all[2], hold(start.Add(time.Minute)))
	require.NoError(t, err)
	require.True(t, changed)
	_, changed, err = l.Revoke(t.Context(), all[2], hold(start.Add(time.Hour)))
	require.NoError(t, err)
	require.False(t, changed, "it is suspended already")
	require.NoError(t, l.Flush(t.Context()))
	before, _, err := l.Row(all[2])
	require.NoError(t, err)
	require.Equal(t, start.Add(time.Minute), before.RevokedAt)

	store.Reset()
	record, changed, err := l.Resume(t.Context(), all[2], start.Add(2*time.Hour), pass)
	require.NoError(t, err)
	require.True(t, changed)
	require.Nil(t, record.Revocation)
	require.Equal(t, kvtest.Counts{Gets: 1, Puts: 2}, store.Counts())
	after, _, err := l.Row(all[2])
	require.NoError(t, err)
	require.Zero(t, after.RevokedAt)
	require.Zero(t, after.Reason)
	require.Equal(t, start.Add(2*time.Hour), after.Resumed, "a delta CRL tells it from a new certificate")
	require.Greater(t, after.Sequence, before.Sequence)
	_, changed, err = l.Resume(t.Context(), all[2], start.Add(3*time.Hour), pass)
	require.NoError(t, err)
	require.False(t, changed)

	want := rows(t, l)
	require.Equal(t, want, rows(t, loaded(t, store, c)), "by the marker")
	require.NoError(t, l.Flush(t.Context()))
	require.Equal(t, want, rows(t, loaded(t, store, c)), "from a segment")
	clean(t, store)
}

func TestRevokingASuspendedCertificateKeepsTheDateOfTheHold(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	serial := issue(t, l, 1)[0]
	_, _, err := l.Revoke(t.Context(), serial, hold(start.Add(time.Minute)))
	require.NoError(t, err)
	final := ledger.Revocation{At: start.Add(time.Hour), Reason: cert.KeyCompromise, InvalidityAt: start}
	record, changed, err := l.Revoke(t.Context(), serial, final)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, start.Add(time.Minute), record.Revocation.At)
	require.Equal(t, cert.KeyCompromise, record.Revocation.Reason)
	require.Equal(t, start, record.Revocation.InvalidityAt)
	require.Equal(t, "on leave", record.Revocation.Comment, "what is not said anew stays")
	_, changed, err = l.Revoke(t.Context(), serial, hold(start))
	require.NoError(t, err)
	require.False(t, changed, "a revocation is not softened to a suspension")
	require.Equal(t, rows(t, l), rows(t, loaded(t, store, c)))
	clean(t, store)
}

// Releases before suspension wrote version 1.
func TestPagesAndSegmentsOfVersion1AreRead(t *testing.T) {
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	all := issue(t, l, 3)
	_, _, err := l.Revoke(t.Context(), all[1], revocation(cert.Superseded))
	require.NoError(t, err)
	require.NoError(t, l.Flush(t.Context()))
	want := rows(t, l)
	for key, value := range store.Dump() {
		if key[:5] == "page/" || key[:5] == "segme" {
			require.EqualValues(t, 2, value[0], key)
			value[0] = 1
			require.NoError(t, store.Put(t.Context(), key, value))
		}
	}
	clean(t, store)
	l = loaded(t, store, c)
	require.Equal(t, want, rows(t, l))
	_, _, err = l.Revoke(t.Context(), all[2], hold(start))
	require.NoError(t, err)
	_, _, err = l.Resume(t.Context(), all[2], start, pass)
	require.NoError(t, err)
	clean(t, store)
	require.Equal(t, rows(t, l), rows(t, loaded(t, store, c)))
	key, _ := ledger.PageKey(all[0])
	for _, version := range []byte{0, 3} {
		_, err = ledger.DecodePage(key, append([]byte{version}, store.Dump()[key][1:]...))
		require.ErrorContains(t, err, "version")
	}
}

// What became of a certificate although the call was answered with an error is told by
// the next Flush, the end of a suspension too.
func TestCrash1_SuspendingResumingAndRevoking(t *testing.T) {
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			store, c := kvtest.New(), newClock()
			var told []cert.Reason
			l := ledger.New(ledger.Config{Store: store, Now: c.Now, Learnt: func(_ string, reason cert.Reason) { told = append(told, reason) }})
			require.NoError(t, l.Load(t.Context()))
			serial := issue(t, l, 2)[0]
			require.NoError(t, l.Flush(t.Context()))
			store.Break(n, loss)
			broken := false
			for _, step := range []func() (*ledger.Record, bool, error){
				func() (*ledger.Record, bool, error) { return l.Revoke(t.Context(), serial, hold(start)) },
				func() (*ledger.Record, bool, error) { return l.Resume(t.Context(), serial, start, pass) },
				func() (*ledger.Record, bool, error) { return l.Revoke(t.Context(), serial, hold(start)) },
				func() (*ledger.Record, bool, error) {
					return l.Revoke(t.Context(), serial, revocation(cert.Superseded))
				},
			} {
				before, _, err := l.Row(serial)
				require.NoError(t, err)
				_, changed, err := step()
				if err != nil {
					require.ErrorIs(t, err, kvtest.ErrLost)
					broken = true
					clean(t, store)
					restarted, _, err := loaded(t, store.Clone(), c).Row(serial)
					require.NoError(t, err)
					if n%2 == 0 {
						told = nil
						require.NoError(t, l.Flush(t.Context()))
						now, _, err := l.Row(serial)
						require.NoError(t, err)
						require.Equal(t, restarted.RevokedAt, now.RevokedAt)
						require.Equal(t, now.RevokedAt != before.RevokedAt || now.Reason != before.Reason, len(told) == 1, "%v", told)
					}
					_, changed, err = step()
					require.NoError(t, err)
					require.True(t, changed || len(told) == 1)
				} else {
					require.True(t, changed)
				}
			}
			store.Broken()
			row, _, err := l.Row(serial)
			require.NoError(t, err)
			require.Equal(t, cert.Superseded, row.Reason)
			require.Equal(t, start, row.RevokedAt, "of the hold")
			require.NoError(t, l.Flush(t.Context()))
			clean(t, store)
			require.Equal(t, rows(t, l), rows(t, loaded(t, store, c)))
			if !broken {
				require.Greater(t, n, 8)
				break
			}
		}
	}
}

// Whatever happens to the certificates of a page in whatever order, a restart shows it.
func TestRestartsShowSuspensions(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		store, c := kvtest.New(), newClock()
		l := loaded(t, store, c)
		all := issue(t, l, 3)
		which := func(r *rapid.T) cert.Serial { return rapid.SampledFrom(all).Draw(r, "which") }
		refusedOrDone := func(err error) {
			if !fault.Is(err, fault.Conflict) {
				require.NoError(t, err)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"suspend": func(r *rapid.T) {
				_, _, err := l.Revoke(t.Context(), which(r), hold(c.Now()))
				require.NoError(t, err)
			},
			"resume": func(r *rapid.T) {
				_, _, err := l.Resume(t.Context(), which(r), c.Now(), pass)
				refusedOrDone(err)
			},
			"revoke": func(r *rapid.T) {
				if rapid.IntRange(0, 9).Draw(r, "rarely") == 0 {
					_, _, err := l.Revoke(t.Context(), which(r), revocation(cert.Superseded))
					require.NoError(t, err)
				}
			},
			"suspend all": func(r *rapid.T) {
				_, err := l.RevokePage(t.Context(), all, hold(c.Now()), everyOne)
				require.NoError(t, err)
			},
			"flush": func(*rapid.T) { require.NoError(t, l.Flush(t.Context())) },
			"wait":  func(*rapid.T) { c.turn(time.Hour) },
			"restart": func(*rapid.T) {
				want := rows(t, l)
				c.turn(time.Second)
				l = loaded(t, store, c)
				require.Equal(t, want, rows(t, l))
			},
			"": func(*rapid.T) { clean(t, store) },
		})
	})
}

// TestDamagedRowsAreNotRead: each rule of a row is checked by itself when a segment is
// read.
func TestDamagedRowsAreNotRead(t *testing.T) {
	store := kvtest.New()
	l := loaded(t, store, newClock())
	serial := fill(t, l, 1)[0]
	_, _, err := l.Revoke(t.Context(), serial, hold(start))
	require.NoError(t, err)
	_, _, err = l.Resume(t.Context(), serial, start, pass)
	require.NoError(t, err)
	require.NoError(t, l.Flush(t.Context()))
	raw := string(store.Dump()[segments(store)[0]])
	whole, err := ledger.DecodeSegment([]byte(raw))
	require.NoError(t, err)
	require.Len(t, whole.Rows, 1)
	require.False(t, whole.Rows[0].Resumed.IsZero())

	rest := raw[:len(raw)-1] // without the last number, the time of the resumption
	for rest[len(rest)-1] >= 0x80 {
		rest = rest[:len(rest)-1]
	}
	_, err = ledger.DecodeSegment([]byte(rest + "\x00"))
	require.ErrorContains(t, err, "resumed row without a time")

	const name = "www.example.com"
	long := strings.Repeat("x", ledger.MaxText+1)
	prefixed := func(text string) string { return string(binary.AppendUvarint(nil, uint64(len(text)))) + text }
	_, err = ledger.DecodeSegment([]byte(strings.Replace(raw, prefixed(name), prefixed(long), 1)))
	require.ErrorContains(t, err, "name of")

	flags := strings.Index(raw, string(serial)) + len(serial)
	for n := range 256 {
		damaged := []byte(raw)
		damaged[flags] = byte(n)
		if read, err := ledger.DecodeSegment(damaged); err == nil {
			require.True(t, read.Rows[0].Reason.Known(), "%#x", n)
		}
	}
}

func TestSerialNumbersOfOthersAreNotTouched(t *testing.T) {
	store := kvtest.New()
	l := loaded(t, store, newClock())
	serial := issue(t, l, 1)[0]
	foreign := ledger.Row{Serial: serial, Issuer: "another", NotAfter: start.Add(time.Hour), RevokedAt: start, Reason: cert.Superseded}
	recorded, others, err := l.AddRevoked([]ledger.Row{foreign}, []string{"another"})
	require.NoError(t, err)
	require.Empty(t, recorded)
	require.Len(t, others, 1, "the caller keeps what can have no row")
	row, found, err := l.Row(serial)
	require.NoError(t, err)
	require.True(t, found)
	require.True(t, row.RevokedAt.IsZero())

	store.Reset()
	_, err = l.Get(t.Context(), "\x01")
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	require.Zero(t, store.Counts().Total(), "no page can hold so short a serial number")
}
