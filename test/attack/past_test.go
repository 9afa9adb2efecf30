package attack_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// putRecord stores a record as an earlier release did.
func putRecord(t *testing.T, m *pathstest.Mount, key string, record map[string]any) {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"v": 1, "r": record})
	require.NoError(t, err)
	require.NoError(t, m.Storage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: raw}))
}

func TestPast1_NoProfileTakesThePlaceOfAPreset(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "roles/s", body{"profile": "tls-server", "allowed_domains": "example.com", "allow_subdomains": true}).Expect(http.StatusOK)
	issued := m.Write(t, "issue/s", body{"alt_names": "a.example.com"}).Expect(http.StatusOK)
	sub := m.Write(t, "root/sign-intermediate", body{"csr": csrFor(t), "common_name": "Sub"}).Expect(http.StatusOK)
	for _, name := range []string{"tls-server", "TLS-Server", "sign-intermediate", "root", "dot1x", "smime-sign"} {
		for _, b := range []body{{"allowed_revocation_reasons": "superseded"}, {"allowed_revocation_reasons": "certificateHold"}} {
			refused := m.Write(t, "profiles/"+name, b).Expect(http.StatusBadRequest)
			require.Contains(t, refused.Errors[0], "choose another name")
		}
	}
	again := certificate(t, m.Write(t, "issue/s", body{"alt_names": "b.example.com"}).Expect(http.StatusOK).Text("certificate"))
	require.Len(t, again.ExtKeyUsage, 1)
	m.Write(t, "suspend", body{"serial_number": sub.Text("serial_number")}).Expect(http.StatusForbidden)
	m.Write(t, "revoke", body{"serial_number": sub.Text("serial_number"), "reason": "cACompromise"}).Expect(http.StatusOK)
	m.Write(t, "revoke", body{"serial_number": issued.Text("serial_number"), "reason": "keyCompromise"}).Expect(http.StatusOK)
}

// TestPast1_AMountOfAnEarlierRelease has profiles in the place of a preset, and of what
// sub-CAs remember, as an earlier release let them be written.
func TestPast1_AMountOfAnEarlierRelease(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "roles/s", body{"profile": "tls-server", "allowed_domains": "example.com", "allow_subdomains": true}).Expect(http.StatusOK)
	preset := m.Write(t, "issue/s", body{"alt_names": "a.example.com"}).Expect(http.StatusOK)
	sub := m.Write(t, "root/sign-intermediate", body{"csr": csrFor(t), "common_name": "Sub"}).Expect(http.StatusOK)
	made := m.Write(t, "profiles/strict", body{"preset": "tls-server", "allowed_revocation_reasons": "superseded", "default_ttl": "1h"}).Expect(http.StatusOK)
	for _, name := range []string{"tls-server", "sign-intermediate"} {
		putRecord(t, m, "profile-version/"+name+"/1", made.Data)
		putRecord(t, m, "profile/"+name, map[string]any{"latest": 1})
	}
	m.Patch(t, "issuer/root", body{"permitted_profiles": "tls-server,sign-intermediate"}).Expect(http.StatusOK)
	m.Restart(t)

	// Whatever comes first after the start: the round in the background, or this write.
	m.Write(t, "roles/other", webRole).Expect(http.StatusOK)
	require.Equal(t, []string{"sign-intermediate-custom", "strict", "tls-server-custom"}, m.List(t, "profiles/", nil).Texts("keys"))
	require.Equal(t, "tls-server-custom", m.Read(t, "roles/s", nil).Expect(http.StatusOK).Text("profile"))
	require.Equal(t, []string{"tls-server-custom", "sign-intermediate", "sign-intermediate-custom"},
		m.Read(t, "issuer/root", nil).Expect(http.StatusOK).Texts("permitted_profiles"))
	stored := m.Write(t, "issue/s", body{"alt_names": "b.example.com"}).Expect(http.StatusOK)

	m.Write(t, "revoke", body{"serial_number": stored.Text("serial_number")}).Expect(http.StatusBadRequest)
	m.Write(t, "revoke", body{"serial_number": stored.Text("serial_number"), "reason": "keyCompromise"}).Expect(http.StatusOK)
	m.Write(t, "revoke", body{"serial_number": preset.Text("serial_number")}).Expect(http.StatusOK)
	m.Write(t, "suspend", body{"serial_number": sub.Text("serial_number")}).Expect(http.StatusForbidden)
	m.Write(t, "revoke", body{"serial_number": sub.Text("serial_number")}).Expect(http.StatusOK)
	require.Equal(t, http.StatusForbidden,
		m.Write(t, "sign/other", body{"csr": csrFor(t), "common_name": "c.example.com"}).Status, "the issuer permits no other profile")
}

// TestPast1_ASubCARemembersItsProfile shows that a profile's reasons hold for the CAs that
// were issued under it.
func TestPast1_ASubCARemembersItsProfile(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "profiles/sub", body{"preset": "issuing-ca", "key_algorithms": "ec-256", "allowed_revocation_reasons": "superseded"}).Expect(http.StatusOK)
	sub := m.Write(t, "root/sign-intermediate", body{"csr": csrFor(t), "common_name": "Sub", "profile": "sub", "ttl": "8760h"}).Expect(http.StatusOK)
	m.Patch(t, "profiles/sub", body{"allowed_revocation_reasons": "cessationOfOperation"}).Expect(http.StatusOK)
	m.Write(t, "revoke", body{"serial_number": sub.Text("serial_number"), "reason": "cessationOfOperation"}).Expect(http.StatusBadRequest)
	m.Write(t, "revoke", body{"serial_number": sub.Text("serial_number"), "reason": "superseded"}).Expect(http.StatusOK)
}
