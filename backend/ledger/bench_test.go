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

// pageSize is the number of rows on a page of a list.
const pageSize = 100

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

// firstPage returns the serial numbers of the first rows that match.
func firstPage(b *testing.B, l *ledger.Ledger, after cert.Serial, match func(ledger.Row) bool) []cert.Serial {
	seq, err := l.Rows(after)
	require.NoError(b, err)
	page := make([]cert.Serial, 0, pageSize)
	for row := range seq {
		if match(row) {
			if page = append(page, row.Serial); len(page) == pageSize {
				break
			}
		}
	}
	return page
}

// BenchmarkQuestions asks a ledger of a million rows; every question is a search of
// some kind.
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
	var middle cert.Serial
	seen := 0
	for row := range seq {
		if middle = row.Serial; seen == million/2 {
			break
		}
		seen++
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
	for _, page := range []struct {
		name  string
		after cert.Serial
		match func(ledger.Row) bool
	}{
		{"first page", "", func(ledger.Row) bool { return true }},
		{"page after the middle", middle, func(ledger.Row) bool { return true }},
		{"first page, every 4,096th", "", func(row ledger.Row) bool { return row.KeyHash[0] == 0 && row.KeyHash[1] < 16 }},
		{"first page, by name, every 256th", "", func(row ledger.Row) bool {
			return strings.HasSuffix(row.Name, ".com") && row.KeyHash[0] == 0
		}},
	} {
		b.Run(page.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				require.Len(b, firstPage(b, l, page.after, page.match), pageSize)
			}
		})
	}
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

// BenchmarkKeyQuestions asks about a key with a thousand certificates.
func BenchmarkKeyQuestions(b *testing.B) {
	l := loaded(b, kvtest.New(), newClock())
	key := newKey()
	for range 1000 {
		issueFor(b, l, key, "a")
	}
	hash := fingerprint(b, key.Public())
	b.ReportAllocs()
	for b.Loop() {
		_, _ = l.Compromised(hash)
		_, _ = l.OtherOwner(hash, "a")
	}
}
