package paths_test

import (
	"crypto/x509"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// The requests of this file are those of the resources of the Terraform provider for
// Vault, version 5, against servers that have several issuers: the same fields, with
// lists as texts with commas where the provider joins them.

func TestTerraformRootCert(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		made := m.Write(t, "issuers/generate/root/internal", map[string]any{
			"common_name": "Root", "ttl": "315360000", "format": "pem", "private_key_format": "der", "key_type": "ec", "key_bits": 384,
			"max_path_length": 1, "exclude_cn_from_sans": true, "use_pss": false, "ou": "OU", "organization": "Org", "country": "DE",
			"locality": "L", "province": "P", "street_address": "S", "postal_code": "1", "issuer_name": "root", "key_name": "root-key",
			"permitted_dns_domains": "example.com,example.org", "excluded_ip_ranges": "192.0.2.0/24", "not_before_duration": "60s",
			"key_usage": []string{"CertSign", "CRLSign", "DigitalSignature"}, "signature_bits": 384,
		}).Expect(http.StatusOK)
		root := parsePEM(t, made.Text("certificate"))
		require.Equal(t, made.Text("certificate"), made.Text("issuing_ca"))
		require.Equal(t, "root", made.Text("issuer_name"))
		require.Equal(t, "root-key", made.Text("key_name"))
		require.Equal(t, made.Text("key_id"), m.Read(t, "key/root-key", nil).Expect(http.StatusOK).Text("key_id"))
		require.Equal(t, root.NotAfter.Unix(), made.Number("expiration"))
		require.Equal(t, x509.KeyUsageCertSign|x509.KeyUsageCRLSign|x509.KeyUsageDigitalSignature, root.KeyUsage)
		require.Equal(t, 1, root.MaxPathLen)
		require.Equal(t, []string{"example.com", "example.org"}, root.PermittedDNSDomains)
		require.Len(t, root.ExcludedIPRanges, 1)
		require.Equal(t, []string{"Org"}, root.Subject.Organization)

		m.Write(t, "roles/any", map[string]any{"allow_any_name": true, "key_type": "ec"}).Expect(http.StatusOK)
		outside := m.Write(t, "issue/any", map[string]any{"common_name": "a.example.net"})
		require.Contains(t, []int{http.StatusBadRequest, http.StatusForbidden, http.StatusConflict}, outside.Status, "the root's constraints hold: %v", outside.Errors)
		m.Write(t, "issue/any", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)

		// The provider compares the certificate in its state with this one.
		issuer := "issuer/" + made.Text("issuer_id")
		served := m.Read(t, issuer+"/pem", nil).Expect(http.StatusOK)
		require.True(t, root.Equal(parsePEM(t, string(served.Body))))
		require.True(t, root.Equal(parsePEM(t, string(m.Read(t, "ca/pem", nil).Expect(http.StatusOK).Body))))
		m.Delete(t, issuer).Expect(http.StatusConflict) // the certificate lives
		m.DeleteWith(t, issuer, map[string]any{"force": true}).OK()
		gone := m.Read(t, issuer, nil).Expect(http.StatusInternalServerError)
		require.Equal(t, "unable to find PKI issuer for reference: "+made.Text("issuer_id"), gone.Errors[0])
		for _, path := range []string{"/pem", "/json", "/der", "/crl"} {
			m.Read(t, issuer+path, nil).Expect(http.StatusOK) // what the certificate points to
		}
	})
}

func TestTerraformIntermediate(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		wanted := map[string]any{
			"common_name": "Issuing", "format": "pem", "private_key_format": "der", "key_type": "ec", "key_bits": 256, "key_name": "issuing",
			"exclude_cn_from_sans": false, "add_basic_constraints": true, "ou": "OU", "organization": "Org", "serial_number": "7",
			"signature_bits": 256, "key_usage": "CertSign,CRLSign", "alt_names": "pki.example.com", "uri_sans": "https://pki.example.com/",
		}
		requested := m.Write(t, "issuers/generate/intermediate/internal", wanted).Expect(http.StatusOK)
		require.NotEmpty(t, requested.Text("key_id"))
		require.NotContains(t, requested.Data, "private_key")
		require.Equal(t, "issuing", requested.Text("key_name"))

		sign := map[string]any{
			"csr": requested.Text("csr"), "common_name": "Issuing", "ttl": "157680000", "format": "pem", "max_path_length": 0,
			"exclude_cn_from_sans": true, "use_csr_values": false, "use_pss": false, "organization": "Org", "country": "DE",
			"not_before_duration": "30s", "permitted_dns_domains": "example.com", "excluded_dns_domains": "evil.example.com",
			"key_usage": []string{"CertSign", "CRLSign"}, "skid": "0A:0b:0c:0d",
		}
		signed := m.Write(t, "root/sign-intermediate", sign).Expect(http.StatusOK)
		ca := parsePEM(t, signed.Text("certificate"))
		require.NoError(t, ca.CheckSignatureFrom(root))
		require.Equal(t, []byte{10, 11, 12, 13}, ca.SubjectKeyId)
		require.True(t, ca.MaxPathLenZero)
		require.Equal(t, []string{signed.Text("certificate"), signed.Text("issuing_ca")}, signed.Texts("ca_chain"))
		require.Equal(t, ca.NotAfter.Unix(), signed.Number("expiration"))

		bundle := strings.Join([]string{signed.Text("certificate"), signed.Text("issuing_ca")}, "\n")
		back := m.Write(t, "intermediate/set-signed", map[string]any{"certificate": bundle}).Expect(http.StatusOK)
		require.Equal(t, map[string]any{
			"imported_issuers": []any{requested.Text("issuer_id")}, "imported_keys": []any{}, "existing_keys": []any{},
			"existing_issuers": []any{m.Read(t, "issuer/root", nil).Text("issuer_id")},
			"mapping": map[string]any{
				requested.Text("issuer_id"):                     requested.Text("key_id"),
				m.Read(t, "issuer/root", nil).Text("issuer_id"): m.Read(t, "issuer/root", nil).Text("key_id"),
			},
		}, back.Data)
		again := m.Write(t, "intermediate/set-signed", map[string]any{"certificate": bundle}).Expect(http.StatusOK)
		require.Empty(t, again.Texts("imported_issuers"))
		require.Len(t, again.Texts("existing_issuers"), 2)

		existing := m.Write(t, "issuers/generate/intermediate/existing", map[string]any{"common_name": "Issuing 2", "key_ref": "issuing"}).Expect(http.StatusOK)
		require.Equal(t, requested.Text("key_id"), existing.Text("key_id"))
		sign["csr"], sign["format"] = existing.Text("csr"), "der"
		other := m.Write(t, "issuer/root/sign-intermediate", sign).Expect(http.StatusOK)
		require.NotContains(t, other.Text("certificate"), "BEGIN")
		for _, body := range []map[string]any{{"skid": "xyz"}, {"key_usage": []string{"CertSign", "Smile"}}, {"key_usage": []string{"CRLSign"}}} {
			for name, value := range body {
				sign[name] = value
			}
			m.Write(t, "root/sign-intermediate", sign).Expect(http.StatusBadRequest)
			delete(sign, "skid")
		}
	})
}

func TestTerraformConfigCA(t *testing.T) {
	bundle := func(t *testing.T) (string, string) {
		other := pathstest.InProcess(t)
		ca := other.Write(t, "root/generate/internal", map[string]any{"common_name": "Other", "key_type": "ec", "ttl": "8760h"}).Expect(http.StatusOK)
		key := pemKey(t, newECKey(t))
		return ca.Text("certificate"), key
	}
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		certificate, key := bundle(t)
		imported := m.Write(t, "config/ca", map[string]any{"pem_bundle": certificate}).Expect(http.StatusOK)
		require.Len(t, imported.Texts("imported_issuers"), 1)
		require.Equal(t, []any{}, imported.Data["imported_keys"])
		keys := m.Write(t, "issuers/import/bundle", map[string]any{"pem_bundle": key}).Expect(http.StatusOK)
		require.Len(t, keys.Texts("imported_keys"), 1)
		again := m.Write(t, "issuers/import/bundle", map[string]any{"pem_bundle": certificate}).Expect(http.StatusOK)
		require.Equal(t, imported.Data["imported_issuers"], again.Data["existing_issuers"])
		m.Write(t, "issuers/import/cert", map[string]any{"pem_bundle": key}).Expect(http.StatusBadRequest)
	})
}

func TestTerraformCertAndSign(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withIssuing(t, m)
		m.Patch(t, "roles/web", map[string]any{"allowed_uri_sans": "spiffe://*"}).Expect(http.StatusOK)
		ask := map[string]any{
			"common_name": "a.example.com", "ttl": "86400", "format": "pem", "private_key_format": "der", "exclude_cn_from_sans": false,
			"alt_names": "b.example.com,c.example.com", "ip_sans": "192.0.2.1,2001:db8::1", "uri_sans": "spiffe://example.com/a",
		}
		issued := m.Write(t, "issue/web", ask).Expect(http.StatusOK)
		leaf := parsePEM(t, issued.Text("certificate"))
		require.ElementsMatch(t, []string{"a.example.com", "b.example.com", "c.example.com"}, leaf.DNSNames)
		require.Len(t, leaf.IPAddresses, 2)
		require.Len(t, leaf.URIs, 1)
		for name, kind := range map[string]any{
			"certificate": "", "issuing_ca": "", "ca_chain": []any{}, "private_key": "", "private_key_type": "", "serial_number": "", "expiration": 0.0,
		} {
			require.IsType(t, kind, issued.Data[name], name)
		}
		delete(ask, "private_key_format")
		ask["csr"] = request{cn: "a.example.com"}.encode(t, newECKey(t))
		ask["not_after"], ask["ttl"] = leaf.NotAfter.Format("2006-01-02T15:04:05Z"), ""
		signed := m.Write(t, "sign/web", ask).Expect(http.StatusOK)
		require.Equal(t, leaf.NotAfter.Unix(), signed.Number("expiration"))

		// The issuer that signs is part of the path: in the body it chooses nothing, or it
		// would dodge an ACL.
		m.Write(t, "root/generate/internal", map[string]any{"common_name": "Other", "key_type": "ec", "issuer_name": "other"}).Expect(http.StatusOK)
		m.Write(t, "config/issuers", map[string]any{"default": "root"}).Expect(http.StatusOK)
		for _, named := range []string{"root", "default", m.Read(t, "issuer/root", nil).Text("issuer_id"), ""} {
			ask["issuer_ref"] = named
			m.Write(t, "sign/web", ask).Expect(http.StatusOK)
			batch := m.Write(t, "sign/web/batch", map[string]any{"requests": []any{map[string]any{"csr": ask["csr"], "common_name": "a.example.com", "issuer_ref": named}}}).Expect(http.StatusOK)
			require.Contains(t, batch.Data["responses"].([]any)[0], "certificate", "%v", batch.Data)
		}
		for _, named := range []string{"other", "nobody"} {
			ask["issuer_ref"] = named
			refused := m.Write(t, "sign/web", ask).Expect(http.StatusBadRequest)
			require.Contains(t, refused.Errors[0], "issuer_ref: "+named)
			require.Contains(t, refused.Errors[0], "issuer/"+named+"/sign/web")
		}
		ask["issuer_ref"] = "root"
		m.Write(t, "issuer/root/sign/web", ask).Expect(http.StatusOK)

		revoked := m.Write(t, "revoke", map[string]any{"serial_number": issued.Text("serial_number")}).Expect(http.StatusOK)
		require.Positive(t, revoked.Number("revocation_time"))
	})
}
