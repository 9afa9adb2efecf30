package attack_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

func TestTime1_NothingOutlivesItsLimits(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		far := time.Now().AddDate(10, 0, 0).UTC().Format(time.RFC3339)
		name := body{"common_name": "a.example.com"}
		shut(t, m, "web", name.with(body{"not_after": far}), "max_ttl")
		shut(t, m, "web", body{"csr": csrFor(t, "a.example.com"), "not_after": far}, "max_ttl")
		shut(t, m, "web", name.with(body{"not_after": far, "ttl": "1h"}), "not both")
		shut(t, m, "web", name.with(body{"not_after": "10000-01-01T00:00:00Z"}), "not_after")
		shut(t, m, "web", name.with(body{"not_after": "1970-01-01T00:00:00Z"}), "not_after")
		shut(t, m, "web", name.with(body{"not_after": "0001-01-01T00:00:00Z"}), "not_after") // the zero time is a time
		for _, ttl := range []any{"-1h", -1, "36028797018963969", "213504d", "9223372036854775807", 1e18, "1e3", "0x10", "1.5h1", "NaN"} {
			shut(t, m, "web", name.with(body{"ttl": ttl}), "ttl")
		}
		cut := open(t, m, "web", name.with(body{"ttl": "8760h"}))
		require.LessOrEqual(t, time.Until(cut.NotAfter), 24*time.Hour)

		// Without limits of the role, those of mount and issuer hold.
		m.Write(t, "roles/long", webRole.with(body{"max_ttl": 0, "ttl": 0, "not_after": ""})).Expect(http.StatusOK)
		m.System.MaxLeaseTTLVal = 48 * time.Hour
		restart(t, m) // the mount's leases are remembered for some seconds
		shut(t, m, "long", name.with(body{"not_after": far}), "max_lease_ttl")
		require.LessOrEqual(t, time.Until(open(t, m, "long", name.with(body{"ttl": "87600h"})).NotAfter), 48*time.Hour)
		m.System.MaxLeaseTTLVal = 100 * 365 * 24 * time.Hour
		restart(t, m)
		shut(t, m, "long", name.with(body{"ttl": "200000h"}), "issuer")
		require.NotEqual(t, http.StatusOK, m.Patch(t, "issuer/root", body{"leaf_not_after_behavior": "permit"}).Status)
		m.Patch(t, "issuer/root", body{"leaf_not_after_behavior": "truncate"}).Expect(http.StatusOK)
		require.Equal(t, root.NotAfter, open(t, m, "long", name.with(body{"ttl": "200000h"})).NotAfter)
		shut(t, m, "web", name.with(body{"not_after": far}), "max_ttl")
		sub := m.Write(t, "root/sign-intermediate", body{"csr": csrFor(t), "common_name": "Sub", "not_after": root.NotAfter.Add(time.Hour).Format(time.RFC3339)})
		require.True(t, sub.Status == http.StatusBadRequest || !certificate(t, sub.Text("certificate")).NotAfter.After(root.NotAfter), sub.Errors)
	})
}

func TestTime1_RolesAndProfilesCannotWidenTheLimit(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "profiles/short", body{"preset": "tls-server", "max_ttl": "24h", "default_ttl": "1h"}).Expect(http.StatusOK)
	for _, wide := range []body{{"max_ttl": "48h"}, {"ttl": "48h"}, {"ttl": "2h", "max_ttl": "1h"}} {
		m.Write(t, "roles/narrow", wide.with(body{"profile": "short", "allowed_domains": "example.com"})).Expect(http.StatusBadRequest)
	}
	m.Write(t, "roles/narrow", body{"profile": "short", "allowed_domains": "example.com", "allow_subdomains": true, "not_after": "2090-01-01T00:00:00Z"}).Expect(http.StatusOK)
	answer := m.Write(t, "issue/narrow", body{"alt_names": "a.example.com"})
	require.Equal(t, http.StatusBadRequest, answer.Status, "a fixed end is held to max_ttl as well: %v", answer.Errors)
}

func TestTime2_NothingBeginsBeforeItsIssuer(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		m.Write(t, "roles/old", webRole.with(body{"not_before_duration": "87600h"})).Expect(http.StatusOK)
		leaf := open(t, m, "old", body{"common_name": "a.example.com"})
		require.False(t, leaf.NotBefore.Before(root.NotBefore))
		require.True(t, leaf.NotAfter.After(leaf.NotBefore))
		sub := m.Write(t, "root/sign-intermediate", body{
			"csr": csrFor(t), "common_name": "Sub", "ttl": "1h", "not_before_duration": "876000h",
		}).Expect(http.StatusOK)
		require.False(t, certificate(t, sub.Text("certificate")).NotBefore.Before(root.NotBefore))
		for _, duration := range []any{-1, "-1h", "36028797018963969"} {
			require.Equal(t, http.StatusBadRequest, m.Write(t, "roles/old", webRole.with(body{"not_before_duration": duration})).Status)
		}
	})
}
