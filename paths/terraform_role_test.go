package paths_test

import (
	"maps"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// terraformRole is what the resource vault_pki_secret_backend_role writes when the
// configuration names nothing but allowed_domains: every boolean, and the other
// fields that have defaults of the provider's own.
func terraformRole() map[string]any {
	return map[string]any{
		"allowed_domains": []string{"example.com"},
		"allow_any_name":  false, "allow_bare_domains": false, "allow_glob_domains": false, "allow_ip_sans": true,
		"allow_localhost": true, "allow_subdomains": false, "allow_wildcard_certificates": true,
		"allowed_uri_sans_template": false, "basic_constraints_valid_for_non_ca": false, "client_flag": true,
		"code_signing_flag": false, "email_protection_flag": false, "enforce_hostnames": true, "generate_lease": false,
		"no_store": false, "require_cn": true, "server_flag": true, "use_csr_common_name": true, "use_csr_sans": true,
		"key_type": "rsa", "key_bits": 2048,
	}
}

// builtInRole is what a role of the built-in engine reads back when nothing was
// written, except where compat demands the value that was given: sizes of 0 there
// read back as what they mean.
func builtInRole() map[string]any {
	return map[string]any{
		"allow_any_name": false, "allow_bare_domains": false, "allow_glob_domains": false, "allow_ip_sans": true,
		"allow_localhost": true, "allow_subdomains": false, "allow_wildcard_certificates": true,
		"allowed_domains": []any{}, "allowed_domains_template": false, "allowed_other_sans": []any{},
		"allowed_serial_numbers": []any{}, "allowed_uri_sans": []any{}, "allowed_uri_sans_template": false,
		"allowed_user_ids": []any{}, "basic_constraints_valid_for_non_ca": false, "client_flag": true,
		"cn_validations": []any{"email", "hostname"}, "code_signing_flag": false, "country": []any{},
		"email_protection_flag": false, "enforce_hostnames": true, "ext_key_usage": []any{}, "ext_key_usage_oids": []any{},
		"generate_lease": false, "issuer_ref": "default", "key_bits": 0.0, "key_type": "rsa",
		"key_usage": []any{"DigitalSignature", "KeyAgreement", "KeyEncipherment"}, "locality": []any{}, "max_ttl": 0.0,
		"no_store": false, "not_after": "", "not_before_duration": 30.0, "organization": []any{}, "ou": []any{},
		"policy_identifiers": []any{}, "postal_code": []any{}, "province": []any{}, "require_cn": true,
		"serial_number_source": "json-csr", "server_flag": true, "signature_bits": 0.0, "street_address": []any{}, "ttl": 0.0,
		"use_csr_common_name": true, "use_csr_sans": true, "use_pss": false,
	}
}

// ownRole is what our roles have besides.
func ownRole() map[string]any {
	return map[string]any{
		"profile": "", "denied_domains": []any{}, "allowed_ip_sans_cidr": []any{}, "allowed_groups": []any{},
		"allowed_entities": []any{}, "owner": "", "owner_required": false, "metadata_required": []any{}, "allow_batch": true,
	}
}

func TestRolesHaveEveryBuiltInFieldAndDefault(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		want := builtInRole()
		maps.Copy(want, ownRole())
		require.Equal(t, want, m.Write(t, "roles/web", nil).Expect(http.StatusOK).Data)
		require.Equal(t, want, m.Read(t, "roles/web", nil).Expect(http.StatusOK).Data)
	})
}

// TestTerraformRole: each field that the provider can set, as it sends it, reads back
// as the provider compares it, by POST and by PATCH.
func TestTerraformRole(t *testing.T) {
	rows := []struct {
		set  map[string]any
		read map[string]any
	}{
		{map[string]any{"ttl": "86400", "max_ttl": "2592000"}, map[string]any{"ttl": 86400.0, "max_ttl": 2592000.0}},
		{map[string]any{"ttl": "24h", "max_ttl": "30d"}, map[string]any{"ttl": 86400.0, "max_ttl": 2592000.0}},
		{map[string]any{"not_before_duration": "45s"}, map[string]any{"not_before_duration": 45.0}},
		{map[string]any{"not_after": "2040-01-23T18:46:42Z"}, map[string]any{"not_after": "2040-01-23T18:46:42Z"}},
		{map[string]any{"key_type": "ec", "key_bits": 256}, map[string]any{"key_type": "ec", "key_bits": 256.0}},
		{map[string]any{"key_type": "any"}, map[string]any{"key_type": "any", "key_bits": 2048.0}},
		{map[string]any{"key_type": "ed25519"}, map[string]any{"key_type": "ed25519", "key_bits": 2048.0}},
		{map[string]any{"key_bits": "4096"}, map[string]any{"key_bits": 4096.0}},
		{map[string]any{"signature_bits": 384, "use_pss": true}, map[string]any{"signature_bits": 384.0, "use_pss": true}},
		{map[string]any{"key_usage": []string{}}, map[string]any{"key_usage": []any{}}},
		{map[string]any{"key_usage": []string{""}}, map[string]any{"key_usage": []any{}}},
		{map[string]any{"key_usage": []string{"DigitalSignature"}}, map[string]any{"key_usage": []any{"DigitalSignature"}}},
		{
			map[string]any{"ext_key_usage": []string{"ServerAuth", "TimeStamping"}, "ext_key_usage_oids": []string{"1.3.6.1.5.5.7.3.17"}},
			map[string]any{"ext_key_usage": []any{"ServerAuth", "TimeStamping"}, "ext_key_usage_oids": []any{"1.3.6.1.5.5.7.3.17"}},
		},
		{map[string]any{"cn_validations": []string{"disabled"}}, map[string]any{"cn_validations": []any{"disabled"}}},
		{
			map[string]any{"allowed_uri_sans": []string{"spiffe://*"}, "allowed_uri_sans_template": true},
			map[string]any{"allowed_uri_sans": []any{"spiffe://*"}, "allowed_uri_sans_template": true},
		},
		{map[string]any{"allowed_other_sans": []string{"1.3.6.1.4.1.311.20.2.3;utf8:*"}}, map[string]any{"allowed_other_sans": []any{"1.3.6.1.4.1.311.20.2.3;utf8:*"}}},
		{
			map[string]any{"allowed_serial_numbers": []string{"*"}, "allowed_user_ids": []string{"svc-*"}},
			map[string]any{"allowed_serial_numbers": []any{"*"}, "allowed_user_ids": []any{"svc-*"}},
		},
		{map[string]any{"allowed_domains_template": "true"}, map[string]any{"allowed_domains_template": true}},
		{
			map[string]any{
				"ou": []string{"a, b"}, "organization": []string{"O"}, "country": []string{"DE"}, "locality": []string{"L"},
				"province": []string{"P"}, "street_address": []string{"S 1"}, "postal_code": []string{"12345"},
			},
			map[string]any{
				"ou": []any{"a, b"}, "organization": []any{"O"}, "country": []any{"DE"}, "locality": []any{"L"},
				"province": []any{"P"}, "street_address": []any{"S 1"}, "postal_code": []any{"12345"},
			},
		},
		{map[string]any{"policy_identifiers": []string{"1.3.6.1.4.1.7.8", "1.3.6.1.4.1.44947.1.2.4"}}, map[string]any{"policy_identifiers": []any{"1.3.6.1.4.1.7.8", "1.3.6.1.4.1.44947.1.2.4"}}},
		{ // blocks policy_identifier { oid cps notice }: one text of JSON, read back as a text for each
			map[string]any{"policy_identifiers": `[{"cps":"https://example.com/cps","notice":"text","oid":"1.3.6.1.4.1.7.8"},{"cps":"","notice":"","oid":"1.2.3.4"}]`},
			map[string]any{"policy_identifiers": []any{`{"cps":"https://example.com/cps","notice":"text","oid":"1.3.6.1.4.1.7.8"}`, `{"cps":"","notice":"","oid":"1.2.3.4"}`}},
		},
		{map[string]any{"issuer_ref": "not-yet-there"}, map[string]any{"issuer_ref": "not-yet-there"}},
		{map[string]any{"issuer_ref": "", "serial_number_source": "json"}, map[string]any{"issuer_ref": "default", "serial_number_source": "json"}},
		{map[string]any{"generate_lease": true}, map[string]any{"generate_lease": true}},
		{map[string]any{"no_store": true, "require_cn": false}, map[string]any{"no_store": true, "require_cn": false}},
	}
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		for _, row := range rows {
			want := builtInRole()
			maps.Copy(want, ownRole())
			maps.Copy(want, map[string]any{"allowed_domains": []any{"example.com"}, "key_bits": 2048.0})
			maps.Copy(want, row.read)
			body := terraformRole()
			maps.Copy(body, row.set)
			m.Write(t, "roles/web", body).Expect(http.StatusOK)
			read := m.Read(t, "roles/web", nil).Expect(http.StatusOK)
			require.Equal(t, want, read.Data, "%v", row.set)
			m.Write(t, "roles/web", read.Data).Expect(http.StatusOK)
			require.Equal(t, want, m.Read(t, "roles/web", nil).Data, "what was read can be written")

			m.Write(t, "roles/web", terraformRole()).Expect(http.StatusOK)
			m.Patch(t, "roles/web", row.set).Expect(http.StatusOK)
			require.Equal(t, want, m.Read(t, "roles/web", nil).Data, "PATCH of %v", row.set)
		}
	})
}

// TestTerraformRoleEveryBoolean flips each boolean that the provider sends.
func TestTerraformRoleEveryBoolean(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		for name, value := range terraformRole() {
			was, isFlag := value.(bool)
			if !isFlag {
				continue
			}
			body := terraformRole()
			for _, form := range []any{!was, map[bool]string{true: "false", false: "true"}[was]} {
				body[name] = form
				m.Write(t, "roles/web", body).Expect(http.StatusOK)
				require.Equal(t, !was, m.Read(t, "roles/web", nil).Data[name], name)
			}
		}
	})
}

func TestARoleThatLeasesWhatItDoesNotStoreIsWarned(t *testing.T) {
	m := pathstest.InProcess(t)
	answer := m.Write(t, "roles/web", map[string]any{"no_store": true, "generate_lease": true}).Expect(http.StatusOK)
	require.Len(t, answer.Warnings, 1)
	require.Contains(t, answer.Warnings[0], "generate_lease")
}
