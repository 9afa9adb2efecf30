package span_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/span"
)

func TestDurationsInEverySpelling(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "3600": time.Hour, " 90 ": 90 * time.Second, "-5": -5 * time.Second, "30d": 30 * day, "10y": 3650 * day,
		"1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "72h": 3 * day, "0s": 0, "-1h": -time.Hour,
	} {
		got, err := span.Parse(text)
		require.NoError(t, err, "%q", text)
		require.Equal(t, want, got, "%q", text)
	}
	for _, text := range []string{"soon", "d", "y", "1.5d", "1d12h", "10 y", "300y", "99999999999999", "-300y", "1w", "1_0", "0x10", "+"} {
		_, err := span.Parse(text)
		require.ErrorContains(t, err, `"30d" or "10y"`, "%q", text)
	}
}
