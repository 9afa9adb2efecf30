package paths_test

import (
	"crypto/x509"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

func TestRev5_BulkRevocation(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		require.Equal(t, "Inactive", m.Read(t, "revoke/bulk/status", nil).Expect(http.StatusOK).Text("state"))
		var leaves []*x509.Certificate
		for _, name := range []string{"a.example.com", "b.example.com", "c.example.com"} {
			leaves = append(leaves, parsePEM(t, m.Write(t, "issue/web", map[string]any{"common_name": name}).Expect(http.StatusOK).Text("certificate")))
		}
		loaded(t, m)
		hash, err := cert.KeyFingerprint(leaves[0].PublicKey)
		require.NoError(t, err)

		for _, body := range []map[string]any{
			nil,
			{"reason": "keyCompromise"},
			{"role": "web", "reason": "certificateHold"},
			{"role": "web", "reason": "boredom"},
			{"role": "web", "invalidity_date": "yesterday"},
			{"key": "abcd"},
			{"rolle": "web"},
		} {
			m.Write(t, "revoke/bulk", body).Expect(http.StatusBadRequest)
		}
		m.Write(t, "revoke/bulk/cancel", nil).Expect(http.StatusBadRequest)

		for field, value := range map[string]string{"role": "web", "profile": "role:web", "issuer": "root"} {
			dry := m.Write(t, "revoke/bulk", map[string]any{field: value, "dry_run": true}).Expect(http.StatusOK)
			require.EqualValues(t, 3, dry.Number("matched_count"), field)
			require.Len(t, dry.Texts("serial_numbers"), 3)
		}
		dry := m.Write(t, "revoke/bulk", map[string]any{"issuer": "root", "dry_run": true}).Expect(http.StatusOK)
		require.EqualValues(t, 1, dry.Number("own_count"), "the OCSP responder of the mount")
		for _, key := range []string{hash.String(), hash.Hex()} {
			dry = m.Write(t, "revoke/bulk", map[string]any{"key": key, "dry_run": true}).Expect(http.StatusOK)
			require.Equal(t, []string{cert.SerialOf(leaves[0].SerialNumber).String()}, dry.Texts("serial_numbers"))
		}
		dry = m.Write(t, "revoke/bulk", map[string]any{"role": "web", "owner": "nobody", "dry_run": true}).Expect(http.StatusOK)
		require.Zero(t, dry.Number("matched_count"))
		require.Equal(t, ocsp.Good, ask(t, m, leaves[0], root).Status)

		began := m.Write(t, "revoke/bulk", map[string]any{"role": "web", "reason": "keyCompromise", "comment": "drill", "invalidity_date": "2025-01-01T00:00:00Z"}).Expect(http.StatusOK)
		require.EqualValues(t, 3, began.Number("matched_count"))
		require.Equal(t, false, began.Data["dry_run"])
		require.Len(t, began.Warnings, 1)
		done := settled(t, m, "revoke/bulk/status", "Running")
		require.Equal(t, "Finished", done.Text("state"), "%v", done.Data)
		require.EqualValues(t, 3, done.Number("revoked_count"))
		require.Equal(t, "web", done.Text("role"))
		require.Equal(t, "keyCompromise", done.Text("reason"))
		for _, leaf := range leaves {
			require.Equal(t, ocsp.Revoked, ask(t, m, leaf, root).Status)
		}
		require.Equal(t, ocsp.KeyCompromise, ask(t, m, leaves[1], root).RevocationReason)
		m.Read(t, "crl/rotate", nil).Expect(http.StatusOK)
		list, err := x509.ParseRevocationList(m.Read(t, "crl", nil).Expect(http.StatusOK).Body)
		require.NoError(t, err)
		require.Len(t, list.RevokedCertificateEntries, 3)

		m.Restart(t)
		loaded(t, m)
		require.Equal(t, "Finished", m.Read(t, "revoke/bulk/status", nil).Expect(http.StatusOK).Text("state"))
		again := m.Write(t, "revoke/bulk", map[string]any{"role": "web"}).Expect(http.StatusOK)
		require.Zero(t, again.Number("matched_count"))
		require.EqualValues(t, 3, again.Number("already_revoked_count"))
	})
}

// What a profile does not allow is passed over and told.
func TestRev5_BulkHeedsProfiles(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "profiles/strict", map[string]any{"preset": "tls-server", "allowed_revocation_reasons": "superseded"}).Expect(http.StatusOK)
	m.Write(t, "roles/strict", map[string]any{"profile": "strict", "allowed_domains": "example.com", "allow_subdomains": true}).Expect(http.StatusOK)
	m.Write(t, "issue/strict", map[string]any{"common_name": "a.example.com", "ttl": "1h"}).Expect(http.StatusOK)
	loaded(t, m)
	dry := m.Write(t, "revoke/bulk", map[string]any{"profile": "strict", "reason": "cessationOfOperation", "dry_run": true}).Expect(http.StatusOK)
	require.Zero(t, dry.Number("matched_count"))
	require.EqualValues(t, 1, dry.Number("refused_count"))
	require.Len(t, dry.Warnings, 1)
	require.Contains(t, dry.Warnings[0], "strict@1")
	dry = m.Write(t, "revoke/bulk", map[string]any{"profile": "strict@1", "reason": "superseded", "dry_run": true}).Expect(http.StatusOK)
	require.EqualValues(t, 1, dry.Number("matched_count"))
}

func TestBulkTellsOfARoleOrProfileThatDoesNotExist(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	loaded(t, m)
	for filter, warned := range map[[2]string]bool{
		{"role", "nosuch"}: true, {"role", "web"}: false,
		{"profile", "nosuch"}: true, {"profile", "nosuch@1"}: true, {"profile", "tls-server@1"}: true,
		{"profile", "tls-server"}: false, {"profile", "tls-server@0"}: false, {"profile", "root"}: false, {"profile", "role:web"}: false,
	} {
		dry := m.Write(t, "revoke/bulk", map[string]any{filter[0]: filter[1], "dry_run": true}).Expect(http.StatusOK)
		require.Equal(t, warned, len(dry.Warnings) > 0, "%v: %v", filter, dry.Warnings)
		if warned {
			require.Contains(t, dry.Warnings[0], "There is no "+filter[0]+" "+filter[1])
		}
	}
	refused := m.Write(t, "revoke/bulk", map[string]any{"role": "web", "reason": "nonsense"}).Expect(http.StatusBadRequest)
	require.Regexp(t, "^reason: must be ", refused.Errors[0])
}
