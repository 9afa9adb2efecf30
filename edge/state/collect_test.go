package state_test

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

// A collection has what was added to it, whatever is in the set that it is compared
// with, which stays as it is.
func TestCollection_IsWhatWasAdded(t *testing.T) {
	serials := []cert.Serial{"\x01", "\x02", "\x01\x00", "\x7f\x01", "ABCDEFGHIJKLMNOPQRST"}
	for n := range 60 { // several of which share a shard
		serials = append(serials, cert.Serial(binary.BigEndian.AppendUint32([]byte{1}, uint32(n))))
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) (rows []feed.Row) {
			for range rapid.IntRange(0, 150).Draw(t, label) {
				drawn := row(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "issuer"), rapid.SampledFrom(serials).Draw(t, "serial"))
				if rapid.Bool().Draw(t, "revoked") {
					drawn = revoked(drawn.Issuer, drawn.Serial, cert.Superseded)
				}
				rows = append(rows, drawn)
			}
			return rows
		}
		before := draw("before")
		base, err := state.NoRows().With(before)
		if err != nil {
			t.Fatal(err)
		}
		collected, model := state.Collect(base), map[string]feed.Row{}
		for range rapid.IntRange(0, 4).Draw(t, "portions") {
			portion := draw("added")
			if rapid.Bool().Draw(t, "again") {
				portion = append(portion, before...)
			}
			if err := collected.Add(portion); err != nil {
				t.Fatal(err)
			}
			for _, added := range portion {
				model[added.Issuer+"/"+string(added.Serial)] = added
			}
		}
		for set, want := range map[*state.Rows]map[string]feed.Row{collected.Rows(): model, base: last(before)} {
			got := map[string]feed.Row{}
			for found := range set.All() {
				got[found.Issuer+"/"+string(found.Serial)] = found
				if again, ok := set.Find(found.Issuer, found.Serial); !ok || !cmp.Equal(found, again) {
					t.Fatalf("%v is not found", found)
				}
			}
			if set.Len() != len(want) || !cmp.Equal(want, got) {
				t.Fatal(cmp.Diff(want, got))
			}
		}
	})
}

func last(rows []feed.Row) map[string]feed.Row {
	model := map[string]feed.Row{}
	for _, added := range rows {
		model[added.Issuer+"/"+string(added.Serial)] = added
	}
	return model
}

// A mount that was restored says nearly the same again: what is the same is not held
// twice.
func TestCollection_SharesWhatIsTheSame(t *testing.T) {
	const n = 200_000
	base := million(t, n)
	before := heap()
	collected := state.Collect(base)
	portion := make([]feed.Row, 0, feed.MaxRows)
	flush := func() {
		require.NoError(t, collected.Add(portion))
		portion = portion[:0]
	}
	left := n - n/1000
	for found := range base.All() {
		if left--; left < 0 {
			break
		}
		if portion = append(portion, found); len(portion) == feed.MaxRows {
			flush()
		}
	}
	flush()
	rows := collected.Rows()
	require.Equal(t, n-n/1000, rows.Len())
	require.Less(t, int64(heap()-before), int64(n*10), "octets beside the 32 of each row that there were")
	require.Equal(t, n, base.Len())
	runtime.KeepAlive(rows)
}
