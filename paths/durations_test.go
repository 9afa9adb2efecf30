package paths_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// Days and years are understood wherever a duration is written. What is read back is a
// number of seconds, or the text that was written where the built-in engine shows texts.
func TestDurationsAreReadAlikeEverywhere(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		const day, year = 86400.0, 365 * 86400.0
		for _, row := range []struct {
			path, field, value string
			want               any
		}{
			{"roles/long", "max_ttl", "10y", 10 * year},
			{"roles/long", "ttl", "30d", 30 * day},
			{"config/crl", "expiry", "7d", "7d"},
			{"config/crl", "ocsp_expiry", "1d", "1d"},
			{"config/crl", "keep_after_expiry", "1y", "1y"},
			{"config/auto-tidy", "safety_buffer", "1y", year},
			{"config/auto-tidy", "interval_duration", "1d", day},
			{"config/auto-tidy", "pause_duration", "250ms", "250ms"},
		} {
			m.Write(t, row.path, map[string]any{row.field: row.value}).Expect(http.StatusOK)
			require.Equal(t, row.want, m.Read(t, row.path, nil).Expect(http.StatusOK).Data[row.field], "%s %s", row.path, row.field)
			refused := m.Write(t, row.path, map[string]any{row.field: "1 month"}).Expect(http.StatusBadRequest)
			require.Contains(t, refused.Errors[0], row.field+": must be a duration", row.path)
		}
		m.Write(t, "config/auto-tidy", map[string]any{"pause_duration": "1d"}).Expect(http.StatusBadRequest)
	})
}
