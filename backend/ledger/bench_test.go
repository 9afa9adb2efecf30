package ledger_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// million is the size for which the architecture states its numbers.
const million = 1_000_000

// otherKeys makes the keys of patched certificates differ, as they do outside of
// tests.
func otherKeys(r *ledger.Record) { copy(r.KeyHash[:], r.Serial[12:]) }

// forgetful is a store that drops pages, which no benchmark reads.
type forgetful struct{ kv.Store }

func (f forgetful) Put(ctx context.Context, key string, value []byte) error {
	if strings.HasPrefix(key, layout.Page) {
		return nil
	}
	return f.Store.Put(ctx, key, value)
}

// large is a store with the segments of a million certificates of twenty hours.
var large = sync.OnceValues(func() (*kvtest.Store, *clock) {
	store, c := kvtest.New(), newClock()
	l := ledger.New(ledger.Config{Store: forgetful{store}, Now: c.Now})
	t := &testing.B{}
	if err := l.Load(context.Background()); err != nil {
		panic(err)
	}
	for range 20 {
		fillWith(t, context.Background(), l, million/20, otherKeys)
		if err := l.Flush(context.Background()); err != nil {
			panic(err)
		}
		c.turn(time.Hour)
	}
	return store, c
})

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLoad reads a million rows from segments; it reports the heap that they
// take for each certificate.
func BenchmarkLoad(b *testing.B) {
	store, c := large()
	for b.Loop() {
		b.StopTimer()
		before := heap()
		b.StartTimer()
		l := newLedger(store, c)
		require.NoError(b, l.Load(b.Context()))
		b.StopTimer()
		require.Equal(b, million, l.Count())
		b.ReportMetric(float64(heap()-before)/million, "B/certificate")
		runtime.KeepAlive(l)
		b.StartTimer()
	}
}

// BenchmarkFill commits a million rows as they are issued, in batches.
func BenchmarkFill(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		c := newClock()
		l := ledger.New(ledger.Config{Store: forgetful{kvtest.New()}, Now: c.Now})
		before := heap()
		b.StartTimer()
		for range 20 {
			fillWith(b, b.Context(), l, million/20, otherKeys)
			c.turn(time.Hour)
		}
		b.StopTimer()
		b.ReportMetric(float64(heap()-before)/million, "B/certificate")
		runtime.KeepAlive(l)
		b.StartTimer()
	}
}

func BenchmarkCommit(b *testing.B) {
	store, c := large()
	l := ledger.New(ledger.Config{Store: forgetful{store}, Now: c.Now})
	require.NoError(b, l.Load(b.Context()))
	page, err := l.NewPage(1)
	require.NoError(b, err)
	r := record(b, page.Serial(), "www.example.com")
	from, der := r.Serial, r.DER
	b.ReportAllocs()
	for b.Loop() {
		page, err := l.NewPage(1)
		require.NoError(b, err)
		r.Serial = page.Serial()
		r.DER = patched(der, from, r.Serial)
		require.NoError(b, page.Add(r))
		require.NoError(b, l.Commit(b.Context(), page))
	}
}

func BenchmarkQuestions(b *testing.B) {
	store, c := large()
	l := loaded(b, store, c)
	seq, err := l.Rows("")
	require.NoError(b, err)
	some := make([]cert.Serial, 0, 1000)
	for row := range seq {
		if some = append(some, row.Serial); len(some) == cap(some) {
			break
		}
	}
	b.Run("row", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			_, _, _ = l.Row(some[i%len(some)])
			i++
		}
	})
	b.Run("all rows", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			seq, _ := l.Rows("")
			for row := range seq {
				if row.Owner == "nobody" {
					b.Fatal("found nobody")
				}
			}
		}
	})
	b.Run("none revoked", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			seq, _ := l.Revoked("issuer-1")
			for range seq {
			}
		}
	})
	b.Run("new key", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = l.ByKey(cert.Fingerprint{1})
		}
	})
}
