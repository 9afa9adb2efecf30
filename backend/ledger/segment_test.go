package ledger_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// patched returns the certificate with another serial in its place: not verifiable,
// and a thousand times faster than signing.
func patched(der []byte, from, to cert.Serial) []byte {
	return []byte(strings.Replace(string(der), string(from), string(to), 1))
}

// fill issues pages of patched certificates until the ledger has n rows.
func fill(t testing.TB, l *ledger.Ledger, n int) []cert.Serial {
	t.Helper()
	return fillWith(t, t.Context(), l, n)
}

func fillWith(t testing.TB, ctx context.Context, l *ledger.Ledger, n int, edits ...func(*ledger.Record)) []cert.Serial {
	t.Helper()
	sample, err := l.NewPage(1)
	require.NoError(t, err)
	r := record(t, sample.Serial(), "www.example.com")
	from, der := r.Serial, r.DER
	var all []cert.Serial
	for len(all) < n {
		page, err := l.NewPage(ledger.MaxPage)
		require.NoError(t, err)
		for range min(ledger.MaxPage, n-len(all)) {
			r.Serial = page.Serial()
			r.DER = patched(der, from, r.Serial)
			for _, edit := range edits {
				edit(&r)
			}
			require.NoError(t, page.Add(r))
			all = append(all, r.Serial)
		}
		require.NoError(t, l.Commit(ctx, page))
	}
	return all
}

func TestFlushSplitsAndLoadJoins(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := loaded(t, store, c)
	fill(t, l, 15_000)
	require.NoError(t, l.Flush(ctx))
	require.Len(t, segments(store), 3)
	pages := map[string]string{}
	for _, key := range segments(store) {
		raw := store.Dump()[key]
		require.LessOrEqual(t, len(raw), kv.MaxValue)
		segment, err := ledger.DecodeSegment(raw)
		require.NoError(t, err)
		for _, row := range segment.Rows {
			page, ok := ledger.PageKey(row.Serial)
			require.True(t, ok)
			if other, found := pages[page]; found {
				require.Equal(t, other, key, "a page torn apart")
			}
			pages[page] = key
		}
		require.Equal(t, key == segments(store)[2], segment.Complete > 0, "only the last one knows that all were written")
	}
	store.Reset()
	again := loaded(t, store, c)
	require.Equal(t, rows(t, l), rows(t, again))
	require.Equal(t, 2+3, store.Counts().Gets, "the fence, the horizon, and no page is read")
	require.Equal(t, []string{layout.Fence, layout.Fence}, store.Written())
}

func TestLoadListsOnlyTheOpenHours(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := loaded(t, store, c)
	issue(t, l, 3)
	require.NoError(t, l.Flush(ctx))
	for range 100 {
		c.turn(time.Hour)
		require.NoError(t, l.Flush(ctx))
	}
	issue(t, l, 1)
	store.Reset()
	again := loaded(t, store, c)
	require.Equal(t, 4, again.Count())
	counts := store.Counts()
	require.LessOrEqual(t, counts.Lists, 2+24+3+4, "an idle mount does not fall behind")
	require.Equal(t, 2+len(segments(store))+1, counts.Gets, "the fence, the horizon, segments, and the one page that none has")
	clean(t, store)
}

func TestUnchangedRowsAreWrittenOnce(t *testing.T) {
	ctx, store := t.Context(), kvtest.New()
	l := loaded(t, store, newClock())
	issue(t, l, 3)
	require.NoError(t, l.Flush(ctx))
	store.Reset()
	require.NoError(t, l.Flush(ctx))
	require.Equal(t, kvtest.Counts{}, store.Counts())
}

func TestFlushRemovesMarkers(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := loaded(t, store, c)
	old := issue(t, l, 2)
	require.NoError(t, l.Flush(ctx))
	for _, serial := range old {
		_, _, err := l.Revoke(ctx, serial, revocation(cert.Superseded))
		require.NoError(t, err)
	}
	require.Len(t, markers(store), 2)
	require.NoError(t, loaded(t, store, c).Flush(ctx), "by the next process")
	require.Empty(t, markers(store))
	require.Len(t, segments(store), 2)
	clean(t, store)
}

func TestSmallSegmentsAreMerged(t *testing.T) {
	ctx, store, c := t.Context(), kvtest.New(), newClock()
	l := loaded(t, store, c)
	all := fill(t, l, 5000)
	require.NoError(t, l.Flush(ctx))
	most := 0
	for i := range 50 {
		issue(t, l, 1)
		_, _, err := l.Revoke(ctx, all[i], revocation(cert.Superseded))
		require.NoError(t, err)
		require.NoError(t, l.Flush(ctx))
		most = max(most, len(segments(store)))
	}
	require.LessOrEqual(t, most, 1+16)
	require.Equal(t, rows(t, l), rows(t, loaded(t, store, c)))
	clean(t, store)
}

// Each kind of damage is told, and none makes rows disappear without a word.
func TestDamagedStorageIsNotLoaded(t *testing.T) {
	ctx := t.Context()
	store, c := kvtest.New(), newClock()
	l := loaded(t, store, c)
	serial := issue(t, l, 1)[0]
	require.NoError(t, l.Flush(ctx))
	page, _ := ledger.PageKey(serial)
	segment := segments(store)[0]
	for name, damage := range map[string]func(*kvtest.Store) error{
		"segment cut off": func(s *kvtest.Store) error { return s.Put(ctx, segment, store.Dump()[segment][:30]) },
		"segment newer": func(s *kvtest.Store) error {
			return s.Put(ctx, segment, append([]byte{9}, store.Dump()[segment][1:]...))
		},
		"segment misnamed": func(s *kvtest.Store) error {
			return s.Put(ctx, layout.Segment+"1", store.Dump()[segment])
		},
		"marked page cut off": func(s *kvtest.Store) error {
			_ = s.Put(ctx, ledger.DirtyKey(serial), []byte{1})
			return s.Put(ctx, page, store.Dump()[page][:40])
		},
		"marked page under another key": func(s *kvtest.Store) error {
			wrong := serial[:11] + cert.Serial([]byte{serial[11] ^ 1}) + serial[12:]
			_ = s.Put(ctx, ledger.DirtyKey(wrong), []byte{1})
			key, _ := ledger.PageKey(wrong)
			return s.Put(ctx, key, store.Dump()[page])
		},
	} {
		t.Run(name, func(t *testing.T) {
			hurt := store.Clone()
			require.NoError(t, damage(hurt))
			l := newLedger(hurt, c)
			require.Error(t, l.Load(ctx))
			require.False(t, l.Loaded())
		})
	}
}

func FuzzDecodeSegment(f *testing.F) {
	store := kvtest.New()
	l := loaded(f, store, newClock())
	all := fill(f, l, 8)
	if _, _, err := l.Revoke(f.Context(), all[0], revocation(cert.KeyCompromise)); err != nil {
		f.Fatal(err)
	}
	page, err := l.NewPage(1)
	require.NoError(f, err)
	l.Note(record(f, page.Serial(), "short.example.com"))
	require.NoError(f, l.Flush(f.Context()))
	for _, key := range segments(store) {
		f.Add(store.Dump()[key])
	}
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		segment, err := ledger.DecodeSegment(raw)
		if err != nil {
			require.Empty(t, segment.Rows)
			return
		}
		for _, row := range segment.Rows {
			require.NotEmpty(t, row.Serial)
			require.LessOrEqual(t, len(row.Serial), cert.MaxSerialOctets)
			require.True(t, row.Reason.Known())
			require.LessOrEqual(t, len(row.Name), ledger.MaxText)
		}
		// What can be read can be loaded, flushed again and read as the same.
		store := kvtest.New()
		key := layout.Segment + fmt.Sprintf("%016x", 1)
		if store.Put(t.Context(), key, raw) != nil || segment.Complete < uint32(start.Unix()/3600)-100 || segment.Complete > uint32(start.Unix()/3600) {
			return
		}
		first := loaded(t, store, newClock())
		require.LessOrEqual(t, first.Count(), len(segment.Rows))
		require.Equal(t, rows(t, first), rows(t, loaded(t, store, newClock())))
	})
}

func FuzzDecodePage(f *testing.F) {
	store := kvtest.New()
	l := loaded(f, store, newClock())
	all := issue(f, l, 3)
	if _, _, err := l.Revoke(f.Context(), all[0], revocation(cert.KeyCompromise)); err != nil {
		f.Fatal(err)
	}
	key, _ := ledger.PageKey(all[0])
	f.Add(store.Dump()[key])
	f.Add(store.Dump()[key][:14])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		records, err := ledger.DecodePage(key, raw)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(records), ledger.MaxPage)
		// What can be read as a page is written back as the same page.
		store := kvtest.New()
		require.NoError(t, store.Put(t.Context(), key, raw))
		l := newLedger(store, newClock())
		for i := range records {
			page, _ := ledger.PageKey(records[i].Serial)
			require.Equal(t, key, page)
			_, _, err := l.Revoke(t.Context(), records[i].Serial, revocation(cert.Superseded))
			if err != nil {
				continue // no certificate in it
			}
			got, err := l.Get(t.Context(), records[i].Serial)
			require.NoError(t, err)
			require.NotNil(t, got.Revocation)
		}
		after, err := ledger.DecodePage(key, store.Dump()[key])
		require.NoError(t, err)
		require.Len(t, after, len(records))
	})
}
