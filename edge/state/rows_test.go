package state_test

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

var noon = time.Unix(1772366400, 0).UTC()

func row(issuer string, serial cert.Serial) feed.Row {
	return feed.Row{Serial: serial, Issuer: issuer, State: feed.Good, NotAfter: noon.Add(time.Hour)}
}

func revoked(issuer string, serial cert.Serial, reason cert.Reason) feed.Row {
	r := row(issuer, serial)
	r.State, r.RevokedAt, r.Reason = feed.Revoked, noon, reason
	return r
}

// The set says what a map would say, whatever is put into it in whatever portions.
func TestRows_AreAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := map[string]feed.Row{}
		rows := state.NoRows()
		for range rapid.IntRange(1, 5).Draw(t, "portions") {
			var changes []feed.Row
			for range rapid.IntRange(0, 40).Draw(t, "changes") {
				change := row(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "issuer"), cert.Serial(rapid.SampledFrom([]string{"\x01", "\x02", "\x01\x00", "\x7f\x01", "ABCDEFGHIJKLMNOPQRST"}).Draw(t, "serial")))
				if rapid.Bool().Draw(t, "revoked") {
					change = revoked(change.Issuer, change.Serial, cert.Superseded)
				}
				model[change.Issuer+"/"+string(change.Serial)] = change
				changes = append(changes, change)
			}
			next, err := rows.With(changes)
			if err != nil {
				t.Fatal(err)
			}
			rows = next
		}
		if rows.Len() != len(model) {
			t.Fatalf("%d rows instead of %d", rows.Len(), len(model))
		}
		for _, want := range model {
			found, ok := rows.Find(want.Issuer, want.Serial)
			if !ok || !cmp.Equal(want, found) {
				t.Fatalf("%v: %v %v", want, found, ok)
			}
		}
		for got := range rows.All() {
			if !cmp.Equal(model[got.Issuer+"/"+string(got.Serial)], got) {
				t.Fatalf("%v", got)
			}
		}
	})
}

func TestRows_AreImmutable(t *testing.T) {
	first, err := state.NoRows().With([]feed.Row{row("a", "\x01")})
	require.NoError(t, err)
	second, err := first.With([]feed.Row{revoked("a", "\x01", cert.KeyCompromise), row("b", "\x02")})
	require.NoError(t, err)
	found, ok := first.Find("a", "\x01")
	require.True(t, ok)
	require.True(t, found.RevokedAt.IsZero())
	_, ok = first.Find("b", "\x02")
	require.False(t, ok)
	found, ok = second.Find("a", "\x01")
	require.True(t, ok)
	require.Equal(t, noon, found.RevokedAt)
	require.Equal(t, cert.KeyCompromise, found.Reason)
	require.Equal(t, 2, second.Len())
}

func TestRows_HoldAndRelease(t *testing.T) {
	rows, err := state.NoRows().With([]feed.Row{revoked("a", "\x01", cert.CertificateHold)})
	require.NoError(t, err)
	rows, err = rows.With([]feed.Row{row("a", "\x01")})
	require.NoError(t, err)
	found, _ := rows.Find("a", "\x01")
	require.True(t, found.RevokedAt.IsZero())
}

func TestRows_RevokedStaysRevokedWhateverTheClockSaid(t *testing.T) {
	odd := revoked("a", "\x01", cert.KeyCompromise)
	odd.RevokedAt = time.Unix(0, 0)
	rows, err := state.NoRows().With([]feed.Row{odd})
	require.NoError(t, err)
	found, _ := rows.Find("a", "\x01")
	require.False(t, found.RevokedAt.IsZero())
}

func TestRows_RefuseSerialsThatNobodyHas(t *testing.T) {
	for _, serial := range []cert.Serial{"", "\x00\x01", "ABCDEFGHIJKLMNOPQRSTU"} {
		_, err := state.NoRows().With([]feed.Row{row("a", serial)})
		require.True(t, fault.Is(err, fault.Invalid), "%x", string(serial))
		_, found := state.NoRows().Find("a", serial)
		require.False(t, found)
	}
}

func TestRows_WithoutDropsWhatEnded(t *testing.T) {
	late := row("a", "\x02")
	late.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	rows, err := state.NoRows().With([]feed.Row{row("a", "\x01"), late})
	require.NoError(t, err)
	require.Equal(t, 2, rows.Without(noon.Add(time.Hour)).Len())
	rows = rows.Without(noon.Add(time.Hour + time.Second))
	require.Equal(t, 1, rows.Len())
	_, found := rows.Find("a", "\x01")
	require.False(t, found)
	require.Equal(t, 1, rows.Without(noon.AddDate(50, 0, 0)).Len(), "what never ends is never dropped")
}

// million returns a set of n rows in portions as the mount sends them.
func million(t testing.TB, n int) *state.Rows {
	rows := state.NoRows()
	const portion = 8192
	var err error
	for first := 0; first < n; first += portion {
		changes := make([]feed.Row, min(portion, n-first))
		for i := range changes {
			changes[i] = row("4fb6b7b0-7f0f-4d3e-9c65-a2b0b1e5a101", serial(first+i))
		}
		rows, err = rows.With(changes)
		require.NoError(t, err)
	}
	return rows
}

// serial returns a serial number like those of the ledger.
func serial(n int) cert.Serial {
	octets := make([]byte, 20)
	_, _ = rand.Read(octets)
	octets[0] = 1
	binary.BigEndian.PutUint32(octets[12:], uint32(n))
	return cert.Serial(octets)
}

func TestRows_TakeLittleMemory(t *testing.T) {
	const n = 200_000
	before := heap()
	rows := million(t, n)
	used := heap() - before
	require.Equal(t, n, rows.Len())
	require.Less(t, used/n, uint64(40), "octets per row")
	runtime.KeepAlive(rows)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkRows(b *testing.B) {
	rows := million(b, 1_000_000)
	b.Run("find", func(b *testing.B) {
		var known []cert.Serial
		for r := range rows.All() {
			if known = append(known, r.Serial); len(known) == 1024 {
				break
			}
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, found := rows.Find("4fb6b7b0-7f0f-4d3e-9c65-a2b0b1e5a101", known[i%1024]); !found {
				b.Fatal("lost")
			}
		}
	})
	for _, size := range []int{1, 64, 8192} {
		b.Run(fmt.Sprintf("with/%d", size), func(b *testing.B) {
			changes := make([]feed.Row, size)
			for i := range changes {
				changes[i] = row("4fb6b7b0-7f0f-4d3e-9c65-a2b0b1e5a101", serial(i))
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := rows.With(changes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			before := heap()
			again := million(b, 1_000_000)
			b.ReportMetric(float64(heap()-before)/1e6, "octets/row")
			runtime.KeepAlive(again)
		}
	})
}
