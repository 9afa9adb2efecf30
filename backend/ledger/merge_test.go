package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
)

// oneShort returns a life with one small segment less than are merged. Several have the
// same certificates, before and after they were revoked, and the hours of all pages are
// closed: nothing but the segments leads a start to these rows.
func oneShort(t testing.TB) *life {
	t.Helper()
	v := newLife(t)
	v.load()
	v.issue(2)
	v.flush()
	v.revoke(0, cert.KeyCompromise)
	v.flush()
	for range 11 {
		v.issue(1)
		v.flush()
	}
	v.revoke(1, cert.Superseded)
	v.revoke(2, cert.Superseded)
	v.flush()
	v.clock.turn(5 * time.Hour)
	v.issue(1)
	v.flush()
	require.Len(t, segments(v.store), 15)
	require.Empty(t, markers(v.store))
	return v
}

// merge writes one more segment, and with it what becomes of all of them.
func (v *life) merge() {
	v.revoke(3, cert.KeyCompromise)
	v.flush()
}

// A certificate is in several of the segments that are merged; what became of it last
// is what the merged one says.
func TestMergingKeepsTheNewestRow(t *testing.T) {
	v := oneShort(t)
	v.merge()
	require.Len(t, segments(v.store), 1)
	require.Empty(t, markers(v.store))
	require.Len(t, v.revoked, 4)
	v.check()
	before := rows(t, v.l)
	v.restart()
	v.check()
	require.Equal(t, before, rows(t, v.l))
	clean(t, v.store)
}

// TestCrash1_MergeFaultWalk loses each storage operation of a merge in turn: what was
// on record is on record, whether the process goes on or ends there.
func TestCrash1_MergeFaultWalk(t *testing.T) {
	ready := oneShort(t)
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("loss %d, crash %t", loss, crash), func(t *testing.T) {
				for n := 1; ; n++ {
					v := ready.copied(t)
					v.load()
					v.store.Break(n, loss)
					v.merge()
					broken := v.store.Broken()
					require.Equal(t, broken, v.failed, "an error was swallowed at operation %d", n)
					if !crash {
						v.check()
						v.flush()
					}
					v.restart()
					v.check()
					clean(t, v.store)
					v.flush()
					v.restart()
					v.check()
					clean(t, v.store)
					if !broken {
						require.Len(t, segments(v.store), 1)
						require.Greater(t, n, 30, "16 are read and 16 deleted")
						break
					}
				}
			})
		}
	}
}
