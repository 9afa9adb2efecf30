package layout_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

func TestEveryPrefixStandsAlone(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range layout.Table {
		require.False(t, seen[row.Prefix], "prefix %q twice", row.Prefix)
		seen[row.Prefix] = true
		require.NotEmpty(t, row.Owner, row.Prefix)
		if row.Leaf {
			require.True(t, strings.HasSuffix(row.Prefix, "/"), "%q is listed and must end in a slash", row.Prefix)
		}
		for _, other := range layout.Table {
			if other.Prefix != row.Prefix && row.Leaf {
				require.False(t, strings.HasPrefix(other.Prefix, row.Prefix), "listing %q would walk %q", row.Prefix, other.Prefix)
			}
		}
	}
}

func TestFind(t *testing.T) {
	for key, owner := range map[string]string{
		"config/issuers": "issuer", "page/00745a/0011": "ledger", "profile-version/web/3": "catalog", "crl-head/x": "crl",
	} {
		row, ok := layout.Find(key)
		require.True(t, ok, key)
		require.Equal(t, owner, row.Owner, key)
	}
	for _, key := range []string{"", "config/other", "pages/x", "issuer"} {
		_, ok := layout.Find(key)
		require.False(t, ok, key)
	}
}

func TestSecretPrefixesAreKnown(t *testing.T) {
	for _, prefix := range layout.Secret() {
		_, ok := layout.Find(prefix + "x")
		require.True(t, ok, prefix)
	}
}
