package feed_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// sample is rows of all kinds.
func sample() []feed.Row {
	return []feed.Row{
		{Serial: "\x01", Issuer: "a", State: feed.Good, NotAfter: noon, Sequence: 1},
		{
			Serial: "\x7f\x00\x80", Issuer: "b", State: feed.Revoked, Reason: cert.KeyCompromise,
			RevokedAt: noon, InvalidityAt: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour), Sequence: 9,
		},
		{Serial: "\x02", Issuer: "a", State: feed.Revoked, Reason: cert.CertificateHold, RevokedAt: noon, NotAfter: noon, Sequence: 1<<53 - 2},
		{Serial: cert.Serial(bytes.Repeat([]byte{0xff}, 20)), Issuer: "a", State: feed.Good, Sequence: 1<<53 - 1},
	}
}

// plainRow is a row that Encode takes.
func plainRow(edit func(*feed.Row)) []feed.Row {
	row := sample()[1]
	edit(&row)
	return []feed.Row{row}
}

func TestRowsComeBackAsTheyWere(t *testing.T) {
	for _, rows := range [][]feed.Row{{}, sample()[:1], sample()} {
		text, err := feed.Text(rows)
		require.NoError(t, err)
		read, err := feed.ReadText(text)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(rows, read))
	}
}

func TestRowsComeBackAsTheyWere_AnyRows(t *testing.T) {
	moment := func(t *rapid.T, name string, least int64) time.Time {
		return time.Unix(rapid.Int64Range(least, 253402300799).Draw(t, name), 0).UTC()
	}
	rapid.Check(t, func(t *rapid.T) {
		var sequence uint64
		rows := []feed.Row{}
		for range rapid.IntRange(0, 20).Draw(t, "rows") {
			sequence += rapid.Uint64Range(1, 1<<40).Draw(t, "step")
			octets := rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "serial")
			octets[0] |= 1
			row := feed.Row{
				Serial: cert.Serial(octets), Issuer: rapid.StringMatching("[a-f0-9-]{1,36}").Draw(t, "issuer"),
				State: feed.Good, NotAfter: moment(t, "notAfter", 0), Sequence: sequence,
			}
			if rapid.Bool().Draw(t, "revoked") {
				row.State, row.Reason = feed.Revoked, rapid.SampledFrom(cert.Reasons()).Draw(t, "reason")
				row.RevokedAt, row.InvalidityAt = moment(t, "revokedAt", 1), moment(t, "invalidity", 0)
			}
			rows = append(rows, row)
		}
		raw, err := feed.Encode(rows)
		require.NoError(t, err)
		read, err := feed.Decode(raw)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(rows, read))
	})
}

func TestAFullAnswerIsFarBelowTheCap(t *testing.T) {
	var rows []feed.Row
	for i := range feed.MaxRows {
		rows = append(rows, feed.Row{
			Serial: cert.Serial(fmt.Sprintf("%020d", i)), Issuer: "6f2b0c5e-8d4e-4c8c-9f5c-0d1f5e0a7b11", State: feed.Revoked,
			RevokedAt: noon, InvalidityAt: noon, NotAfter: noon, Sequence: uint64(i+1) << 20,
		})
	}
	raw, err := feed.Encode(rows)
	require.NoError(t, err)
	require.Less(t, len(raw), feed.MaxOctets/2)
	read, err := feed.Decode(raw)
	require.NoError(t, err)
	require.Len(t, read, feed.MaxRows)
	_, err = feed.Encode(append(rows, rows[0]))
	require.Error(t, err)
}

func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	for name, rows := range map[string][]feed.Row{
		"no serial":              plainRow(func(r *feed.Row) { r.Serial = "" }),
		"long serial":            plainRow(func(r *feed.Row) { r.Serial = cert.Serial(bytes.Repeat([]byte{1}, 21)) }),
		"serial with zero":       plainRow(func(r *feed.Row) { r.Serial = "\x00\x01" }),
		"no issuer":              plainRow(func(r *feed.Row) { r.Issuer = "" }),
		"long issuer":            plainRow(func(r *feed.Row) { r.Issuer = string(bytes.Repeat([]byte{'a'}, 65)) }),
		"no state":               plainRow(func(r *feed.Row) { r.State = 0 }),
		"unknown reason":         plainRow(func(r *feed.Row) { r.Reason = 7 }),
		"good with a time":       plainRow(func(r *feed.Row) { r.State, r.Reason = feed.Good, 0 }),
		"good with a reason":     plainRow(func(r *feed.Row) { *r = sample()[0]; r.Reason = cert.Superseded }),
		"revoked without a time": plainRow(func(r *feed.Row) { r.RevokedAt = time.Time{} }),
		"sequence of 2^53":       plainRow(func(r *feed.Row) { r.Sequence = 1 << 53 }),
		"out of order":           {sample()[1], sample()[0]},
		"the same twice":         {sample()[1], sample()[1]},
	} {
		_, err := feed.Encode(rows)
		require.True(t, fault.Is(err, fault.Internal), name)
	}
	_, err := feed.Encode(plainRow(func(*feed.Row) {}))
	require.NoError(t, err)
}

func TestDecodeRefuses(t *testing.T) {
	good, err := feed.Encode(sample())
	require.NoError(t, err)
	for n := range good {
		_, err := feed.Decode(good[:n])
		require.True(t, fault.Is(err, fault.Invalid), "cut to %d octets", n)
	}
	for name, raw := range map[string][]byte{
		"another version":        append([]byte{2}, good[1:]...),
		"an octet too many":      append(bytes.Clone(good), 0),
		"many rows, no octets":   {1, 0, 0xff, 0x3f},
		"more than a feed holds": make([]byte, feed.MaxOctets+1),
		"a number in two ways":   {1, 0x80, 0x00, 0},
		"unlisted issuer":        {1, 1, 1, 'a', 1, 0, 1, 1, 1, 1, 1},
	} {
		_, err := feed.Decode(raw)
		require.True(t, fault.Is(err, fault.Invalid), name)
	}
	for _, text := range []string{"", "!", "AQ==\n", base64.StdEncoding.EncodeToString(good) + "=", string(bytes.Repeat([]byte{'A'}, 2<<20))} {
		_, err := feed.ReadText(text)
		require.True(t, fault.Is(err, fault.Invalid))
	}
}

func FuzzDecode(f *testing.F) {
	for _, rows := range [][]feed.Row{{}, sample()[:1], sample()} {
		raw, err := feed.Encode(rows)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Add([]byte{1, 0x80, 0x00, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		rows, err := feed.Decode(raw)
		if err != nil {
			require.True(t, fault.Is(err, fault.Invalid))
			return
		}
		again, err := feed.Encode(rows)
		require.NoError(t, err, "what is read can be written")
		read, err := feed.Decode(again)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(rows, read))
	})
}

func BenchmarkDecode(b *testing.B) {
	var rows []feed.Row
	for i := range feed.MaxRows {
		rows = append(rows, feed.Row{Serial: cert.Serial(fmt.Sprintf("%020d", i)), Issuer: "a", State: feed.Good, NotAfter: noon, Sequence: uint64(i + 1)})
	}
	raw, err := feed.Encode(rows)
	require.NoError(b, err)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = feed.Decode(raw)
	}
}
