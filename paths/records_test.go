package paths_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// recorded makes a mount with a certificate that has everything on record.
func recorded(t *testing.T, m *pathstest.Mount) (serial string) {
	t.Helper()
	withRoot(t, m)
	m.Write(t, "profiles/web", map[string]any{"preset": "tls-server"}).Expect(http.StatusOK)
	m.Write(t, "roles/owned", map[string]any{"profile": "web", "allow_any_name": true, "key_type": "ec"}).Expect(http.StatusOK)
	first := m.Write(t, "issue/owned", map[string]any{"common_name": "a.example.com", "ttl": "1h"}).Expect(http.StatusOK).Text("serial_number")
	return m.As("entity-1", "someone").Write(t, "issue/owned", map[string]any{
		"common_name": "a.example.com", "ttl": "1h", "owner": "team-web", "contacts": "ops@example.com", "metadata": "ticket=42", "replaces": first,
	}).Expect(http.StatusOK).Text("serial_number")
}

func TestTheRecordOfACertificateIsShown(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		serial := recorded(t, m)
		root := m.Read(t, "issuer/root", nil).Expect(http.StatusOK)
		record := m.Read(t, "certs/record/"+serial, nil).Expect(http.StatusOK)
		for name, want := range map[string]string{
			"common_name": "a.example.com", "state": "active", "role": "owned", "profile": "web@1", "requester": "entity-1", "owner": "team-web",
			"issuer_name": "root", "issuer_id": root.Text("issuer_id"), "serial_number": serial,
		} {
			require.Equal(t, want, record.Text(name), name)
		}
		require.Equal(t, []string{"ops@example.com"}, record.Texts("contacts"))
		require.Equal(t, map[string]any{"ticket": "42"}, record.Data["metadata"])
		require.NotEmpty(t, record.Text("replaces"))

		// Who has no token reads the certificate, and nothing about people.
		public := m.Read(t, "cert/"+serial, nil).Expect(http.StatusOK)
		require.Equal(t, record.Text("key_sha256"), public.Text("key_sha256"))
		require.Equal(t, record.Text("not_after"), public.Text("not_after"))
		require.Equal(t, "active", public.Text("state"))
		require.Equal(t, "root", public.Text("issuer_name"))
		for _, name := range []string{"owner", "contacts", "metadata", "requester", "role"} {
			require.NotContains(t, public.Data, name)
		}
		pems := 0
		for _, value := range public.Data {
			if text, ok := value.(string); ok && strings.Contains(text, "-----BEGIN") {
				pems++
			}
		}
		require.Equal(t, 1, pems)

		m.Write(t, "revoke", map[string]any{"serial_number": serial, "reason": "superseded", "comment": "replaced"}).Expect(http.StatusOK)
		record = m.Read(t, "certs/record/"+serial, nil).Expect(http.StatusOK)
		require.Equal(t, "revoked", record.Text("state"))
		require.Equal(t, "superseded", record.Text("revocation_reason"))
		require.Equal(t, "replaced", record.Text("comment"))
		require.Equal(t, "revoked", m.Read(t, "cert/"+serial, nil).Expect(http.StatusOK).Text("state"))
		m.Read(t, "certs/record/01:02", nil).Expect(http.StatusNotFound)
	})
}

func TestListsOfCertificatesHaveDetails(t *testing.T) {
	m := pathstest.InProcess(t)
	serial := recorded(t, m)
	m.Write(t, "revoke", map[string]any{"serial_number": serial, "reason": "superseded"}).Expect(http.StatusOK)
	for _, path := range []string{"certs", "certs/revoked"} {
		list := m.List(t, path, nil).Expect(http.StatusOK)
		info, ok := list.Data["key_info"].(map[string]any)
		require.True(t, ok)
		require.Len(t, info, len(list.Texts("keys")))
		row, ok := info[serial].(map[string]any)
		require.True(t, ok)
		for name, want := range map[string]any{
			"common_name": "a.example.com", "state": "revoked", "revocation_reason": "superseded", "role": "owned", "profile": "web@1",
			"owner": "team-web", "issuer_name": "root",
		} {
			require.Equal(t, want, row[name], "%s %s", path, name)
		}
		require.Regexp(t, `^20\d\d-`, row["not_after"])
	}
}

func TestPendingIssuersAreListedWithTheirState(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	pending := m.Write(t, "issuers/generate/intermediate/internal", map[string]any{"common_name": "Sub", "key_type": "ec", "issuer_name": "sub"}).Expect(http.StatusOK).Text("issuer_id")
	// A plain list names them in a warning: clients of the built-in engine read the
	// certificate of each issuer that is listed.
	plain := m.List(t, "issuers", nil).Expect(http.StatusOK)
	require.NotContains(t, plain.Texts("keys"), pending)
	require.Len(t, plain.Warnings, 1)
	require.Contains(t, plain.Warnings[0], "sub "+pending)
	list := m.List(t, "issuers", map[string]any{"state": "pending"}).Expect(http.StatusOK)
	require.Empty(t, list.Warnings)
	info, ok := list.Data["key_info"].(map[string]any)
	require.True(t, ok)
	row, ok := info[pending].(map[string]any)
	require.True(t, ok)
	require.Equal(t, "pending", row["state"])
	require.Equal(t, "CN=Sub", row["subject"])
	require.NotContains(t, row, "not_after")
	info, ok = plain.Data["key_info"].(map[string]any)
	require.True(t, ok)
	root, ok := info[m.Read(t, "issuer/root", nil).Text("issuer_id")].(map[string]any)
	require.True(t, ok)
	require.Equal(t, "CN=Test Root", root["subject"])
	require.Equal(t, true, root["is_default"])
	require.Regexp(t, `^20\d\d-`, root["not_after"])
}

func TestAnotherReasonForARevokedCertificateIsWarnedOf(t *testing.T) {
	m := pathstest.InProcess(t)
	serial := recorded(t, m)
	revoke := func(reason string) []string {
		return m.Write(t, "revoke", map[string]any{"serial_number": serial, "reason": reason}).Expect(http.StatusOK).Warnings
	}
	require.NotContains(t, strings.Join(revoke("superseded"), " "), "has no effect")
	require.NotContains(t, strings.Join(revoke("superseded"), " "), "has no effect")
	require.Contains(t, strings.Join(revoke("keyCompromise"), " "), "superseded. That reason stays; keyCompromise has no effect")
}

func TestNoTimeIsTheYearOne(t *testing.T) {
	m := pathstest.InProcess(t)
	recorded(t, m)
	m.Write(t, "issuers/generate/intermediate/internal", map[string]any{"common_name": "Sub", "key_type": "ec", "issuer_name": "sub"}).Expect(http.StatusOK)
	looked := 0
	for _, p := range all(t) {
		for _, operation := range operations(p) {
			if operation != "read" && operation != "list" || strings.Contains(p.Pattern, "rotate") {
				continue
			}
			path := strings.NewReplacer("sample", "root").Replace(sample(p))
			for name, value := range m.Do(t, operation, path, nil).Data {
				require.NotContains(t, asText(value), "0001-01-01", "%s %s: %s", operation, path, name)
				looked++
			}
		}
	}
	require.Greater(t, looked, 100)
	require.Empty(t, m.Read(t, "tidy-status", nil).Expect(http.StatusOK).Text("last_auto_tidy_finished"))
}

func TestDisablingCRLsIsWarnedOf(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	require.NotContains(t, strings.Join(m.Write(t, "config/crl", map[string]any{"expiry": "70h"}).OK().Warnings, " "), "disable is true")
	require.Contains(t, strings.Join(m.Write(t, "config/crl", map[string]any{"disable": true}).OK().Warnings, " "), "disable is true")
}

func asText(value any) string {
	switch value := value.(type) {
	case string:
		return value
	case []any:
		text := ""
		for _, each := range value {
			text += asText(each) + " "
		}
		return text
	case map[string]any:
		text := ""
		for _, each := range value {
			text += asText(each) + " "
		}
		return text
	}
	return ""
}
