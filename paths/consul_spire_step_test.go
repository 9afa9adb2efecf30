package paths_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// TestConsul: the requests of Consul's CA provider for Vault: a root, an intermediate
// in another mount, a role without a common name, and CSRs that name one URI and
// have no subject.
func TestConsul(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		below := pathstest.OverGRPC(t)
		const trust = "spiffe://11111111-2222-3333-4444-555555555555.consul"
		m.Write(t, "root/generate/internal", map[string]any{
			"common_name": "pri-1abc.vault.ca.11111111.consul", "uri_sans": trust, "key_type": "ec", "key_bits": 256, "ttl": "87600h",
		}).Expect(http.StatusOK)
		root := parsePEM(t, string(m.Read(t, "ca/pem", nil).Expect(http.StatusOK).Body))
		require.Empty(t, below.Read(t, "ca/pem", nil).Expect(http.StatusNoContent).Body, "Consul asks before there is one")
		below.Write(t, "roles/leaf-cert", map[string]any{
			"allow_any_name": true, "allowed_uri_sans": "spiffe://*", "key_type": "any", "max_ttl": "72h", "no_store": true, "require_cn": false,
		}).Expect(http.StatusOK)
		pending := below.Write(t, "intermediate/generate/internal", map[string]any{
			"common_name": "pri-2def.vault.ca.11111111.consul", "key_type": "ec", "key_bits": 256, "uri_sans": trust,
		}).Expect(http.StatusOK)
		signed := m.Write(t, "root/sign-intermediate", map[string]any{
			"csr": pending.Text("csr"), "use_csr_values": true, "format": "pem_bundle", "max_path_length": 0, "ttl": "8760h",
		}).Expect(http.StatusOK)
		back := below.Write(t, "intermediate/set-signed", map[string]any{"certificate": signed.Text("certificate")}).Expect(http.StatusOK)
		mapping, ok := back.Data["mapping"].(map[string]any)
		require.True(t, ok)
		var chosen string // Consul takes the issuer that has the key
		for issuer, key := range mapping {
			if key == pending.Text("key_id") {
				chosen = issuer
			}
		}
		require.NotEmpty(t, chosen)
		below.Write(t, "config/issuers", map[string]any{"default": chosen}).Expect(http.StatusOK)
		intermediate := parsePEM(t, string(below.Read(t, "ca/pem", nil).Expect(http.StatusOK).Body))
		require.NoError(t, intermediate.CheckSignatureFrom(root))
		require.True(t, intermediate.MaxPathLenZero)
		require.Equal(t, trust, intermediate.URIs[0].String())
		require.Equal(t, "pri-2def.vault.ca.11111111.consul", intermediate.Subject.CommonName)

		service := request{uris: []string{trust + "/ns/default/dc/dc1/svc/web"}}
		leaf := below.Write(t, "sign/leaf-cert", map[string]any{"csr": service.encode(t, newECKey(t)), "ttl": "72h0m0s"}).Expect(http.StatusOK)
		issued := parsePEM(t, leaf.Text("certificate"))
		require.Equal(t, service.uris[0], issued.URIs[0].String())
		require.Empty(t, issued.Subject.ToRDNSequence())
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(root)
		between.AddCert(parsePEM(t, leaf.Text("issuing_ca")))
		_, err := issued.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		require.NoError(t, err)
		below.Read(t, "cert/"+leaf.Text("serial_number"), nil).Expect(http.StatusNotFound)
	})
}

// TestSPIRE: the server's upstream authority has its CSR, which names its trust
// domain, signed as a CA, and takes the chain from the answer: its own certificate
// first, the root last.
func TestSPIRE(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root, issuing := withIssuing(t, m)
		key := newECKey(t)
		csr := request{cn: "spire", uris: []string{"spiffe://example.org"}, usage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}.encode(t, key)
		answer := m.Write(t, "root/sign-intermediate", map[string]any{
			"common_name": "spire", "organization": "SPIFFE", "country": "US", "uri_sans": "spiffe://example.org", "csr": csr, "ttl": "86400s",
		}).Expect(http.StatusOK)
		chain := answer.Texts("ca_chain")
		require.Len(t, chain, 3)
		ca := parsePEM(t, chain[0])
		require.Equal(t, answer.Text("certificate"), chain[0])
		require.True(t, issuing.Equal(parsePEM(t, answer.Text("issuing_ca"))))
		require.True(t, root.Equal(parsePEM(t, chain[2])))
		require.True(t, ca.IsCA)
		require.Equal(t, pkix.Name{CommonName: "spire", Organization: []string{"SPIFFE"}, Country: []string{"US"}}.String(), ca.Subject.String())
		require.Equal(t, "spiffe://example.org", ca.URIs[0].String())
		require.Equal(t, key.Public(), ca.PublicKey)
		require.NotContains(t, answer.Data, "private_key")
	})
}

// TestStepCA: a registration authority of step-ca signs with a bundle as the answer,
// finds the root in cert/ca_chain and revokes by a serial with hyphens.
func TestStepCA(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root, issuing := withIssuing(t, m)
		r := request{cn: "a.example.com", dns: []string{"a.example.com"}}
		answer := m.Write(t, "sign/web", map[string]any{"csr": r.encode(t, newECKey(t)), "format": "pem_bundle", "ttl": "24h0m0s"}).Expect(http.StatusOK)
		bundle := parseAll(t, answer.Text("certificate"))
		require.Len(t, bundle, 3)
		require.True(t, issuing.Equal(bundle[1]))
		require.True(t, root.Equal(bundle[2]))

		chain := m.Read(t, "cert/ca_chain", nil).Expect(http.StatusOK)
		for _, name := range []string{"certificate", "ca_chain"} {
			found := parseAll(t, chain.Text(name))
			require.True(t, issuing.Equal(found[0]), name)
			require.True(t, root.Equal(found[len(found)-1]), name)
		}
		serial := strings.ReplaceAll(answer.Text("serial_number"), ":", "-")
		m.Write(t, "revoke", map[string]any{"serial_number": serial}).Expect(http.StatusOK)
		require.Positive(t, m.Read(t, "cert/"+serial, nil).Expect(http.StatusOK).Number("revocation_time"))
	})
}

// vault pki issue sends one set of fields to both the request and the signature.
func TestPKIIssueSendsTheSameFieldsTwice(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		both := map[string]any{"common_name": "Below", "key_type": "ec", "key_bits": "384", "ttl": "100h", "max_path_length": "0"}
		request := m.Write(t, "issuers/generate/intermediate/internal", both).Expect(http.StatusOK)
		require.Len(t, request.Warnings, 2, "%v", request.Warnings)
		signing := maps.Clone(both)
		signing["csr"] = request.Text("csr")
		signed := parsePEM(t, m.Write(t, "issuer/root/sign-intermediate", signing).Expect(http.StatusOK).Text("certificate"))
		require.True(t, signed.MaxPathLenZero)
		for field, value := range map[string]any{"key_type": "rsa", "key_bits": 256} {
			other := maps.Clone(signing)
			other[field] = value
			require.Contains(t, m.Write(t, "issuer/root/sign-intermediate", other).Expect(http.StatusBadRequest).Errors[0], field)
		}
	})
}
