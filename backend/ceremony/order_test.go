package ceremony_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/ceremony"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

func TestPeriodIsDaysOrCalendarYears(t *testing.T) {
	leap := time.Date(2024, 2, 28, 0, 0, 0, 0, time.UTC)
	for text, end := range map[string]string{"1d": "2024-02-29", "366d": "2025-02-28", "1y": "2025-02-28", "20y": "2044-02-28"} {
		period, err := ceremony.ParsePeriod(text)
		require.NoError(t, err)
		require.Equal(t, end, period.From(leap).Format(time.DateOnly), text)
		require.Equal(t, text, period.String())
	}
	for _, text := range []string{"", "0d", "-1d", "1", "d", "1h", "1.5y", "01d", " 1d", "1d ", "999999d", "1y1d"} {
		_, err := ceremony.ParsePeriod(text)
		require.True(t, fault.Is(err, fault.Invalid), "%q: %v", text, err)
	}
}

func TestFields1_AnUnknownKeyIsFatalAndNamedAtEveryDepth(t *testing.T) {
	for order, key := range map[string]string{
		"spurious: 1":                   "spurious",
		"token: {pin: 1234}":            "pin",
		"profile: {permited_dns: [a]}":  "permited_dns",
		"subject: {commonname: x}":      "commonname",
		"outputs: {certificat: x}":      "certificat",
		"urls: {crls: [http://e.com/]}": "crls",
	} {
		_, err := ceremony.Decode[ceremony.IssuingOrder]([]byte(order))
		require.True(t, fault.Is(err, fault.Invalid), err)
		require.ErrorContains(t, err, `unknown key "`+key+`"`)
		require.NotContains(t, err.Error(), "1234")
	}
}

func TestDos1_AnOrderIsNotParsedBeyondItsCap(t *testing.T) {
	_, err := ceremony.Decode[ceremony.CRLOrder]([]byte(strings.Repeat("#", 256<<10+1)))
	require.True(t, fault.Is(err, fault.TooLarge), err)
	_, err = ceremony.Decode[ceremony.CRLOrder](nil)
	require.True(t, fault.Is(err, fault.Invalid), err)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("token: {module: /a.so, label: b}\nvalidity: 20y\n"))
	f.Add([]byte("revoked: [{serial: '01', date: 2026-01-01, reason: superseded}]\nnext_update: 1d\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("--- !!binary AA==\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		root, err := ceremony.Decode[ceremony.RootOrder](raw)
		if err != nil {
			require.Contains(t, []fault.Kind{fault.Invalid, fault.TooLarge}, fault.KindOf(err), err)
			require.Equal(t, ceremony.RootOrder{}, root, "a refused order must be empty")
		}
		if _, err := ceremony.Decode[ceremony.CRLOrder](raw); err != nil {
			require.Contains(t, []fault.Kind{fault.Invalid, fault.TooLarge}, fault.KindOf(err), err)
		}
	})
}

func TestDos1_AnInputFileIsReadUpToItsCap(t *testing.T) {
	const most = 16 << 20
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	for size, allowed := range map[int64]bool{most: true, most + 1: false} {
		require.NoError(t, os.Truncate(path, size))
		raw, err := ceremony.ReadFile("request", path)
		if allowed {
			require.NoError(t, err)
			require.Len(t, raw, most)
			continue
		}
		require.True(t, fault.Is(err, fault.TooLarge), err)
	}
}

func TestAKeyIDHasUpTo64Octets(t *testing.T) {
	order := ceremony.CRLOrder{Token: ceremony.TokenOrder{Module: "/module.so", Label: "root"}, First: true}
	for size, field := range map[int]string{64: "issuer", 65: "key.id"} {
		order.Key.ID = strings.Repeat("ab", size)
		err := at(nil, "", nil).SignCRL(t.Context(), order)
		require.Equal(t, field, fault.FieldOfError(err), "%d octets: %v", size, err)
	}
	order.Key = ceremony.KeyOrder{ID: "xy"}
	require.Equal(t, "key.id", fault.FieldOfError(at(nil, "", nil).SignCRL(t.Context(), order)))
}

// A misspelled key gets the one that was meant, at every depth.
func TestFields1_AnUnknownKeyGetsASuggestion(t *testing.T) {
	for order, hint := range map[string]string{
		"prevous: a.crl":          "did you mean previous?",
		"key: {lable: a}":         "did you mean label?",
		"revoked: [{serail: 01}]": "did you mean serial?",
		"outputs: {zzz: 1}":       "known here: crl, record",
	} {
		_, err := ceremony.Decode[ceremony.CRLOrder]([]byte(order))
		require.ErrorContains(t, err, hint)
	}
}
