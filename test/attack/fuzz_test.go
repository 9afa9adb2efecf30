package attack_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// verbs are what a request may want, as Vault names it.
var verbs = []logical.Operation{
	logical.ReadOperation, logical.UpdateOperation, logical.PatchOperation, logical.DeleteOperation, logical.ListOperation, logical.CreateOperation,
}

// target is a mount that is thrown at, and made anew before it grows.
type target struct {
	m      *pathstest.Mount
	thrown int
}

const fullAfter = 2000 // requests on one storage

func newTarget(t testing.TB) *target {
	target := &target{m: pathstest.InProcess(t)}
	target.furnish(t)
	return target
}

// furnish makes what most requests need to get far.
func (g *target) furnish(t testing.TB) {
	for _, step := range []struct {
		path string
		data body
	}{
		{"root/generate/internal", body{"common_name": "Test Root", "key_type": "ec", "ttl": "87600h", "issuer_name": "root"}},
		{"roles/web", webRole},
		{"profiles/web", body{"preset": "tls-server"}},
		{"keys/generate/internal", body{"key_type": "ec", "key_name": "spare"}},
	} {
		require.Equal(t, http.StatusOK, g.throw(t, logical.UpdateOperation, step.path, step.data), step.path)
	}
}

// throw sends one request and returns its status.
func (g *target) throw(t testing.TB, operation logical.Operation, path string, data map[string]any) int {
	if g.thrown++; g.thrown > fullAfter {
		g.thrown = 0
		g.m.Storage = &logical.InmemStorage{}
		g.m.Restart(t)
		g.furnish(t)
	}
	req := &logical.Request{Operation: operation, Path: path, Data: data, Storage: g.m.Storage, MountPoint: "pki/"}
	response, err := g.m.Backend().HandleRequest(context.Background(), req)
	status, cause := logical.RespondErrorCommon(req, response, err)
	if status == 0 && cause == nil {
		return http.StatusOK
	}
	logical.AdjustErrorStatusCode(&status, cause)
	// Terraform looks for this one; every other 500 is a defect.
	documented := cause != nil && strings.Contains(cause.Error(), "unable to find PKI issuer")
	require.True(t, status != http.StatusInternalServerError || documented, "%s %s: %v", operation, path, cause)
	return status
}

// FuzzRequests sends any JSON to any path: no panic, no error of ours.
func FuzzRequests(f *testing.F) {
	g := newTarget(f)
	for _, seed := range []struct {
		verb uint8
		path string
		json string
	}{
		{1, "issue/web", `{"common_name": "a.example.com", "ttl": "1h", "metadata": {"a": "b"}}`},
		{1, "sign/web/batch", `{"requests": [{"csr": "x"}, {}, {"not_after": "2030-01-01T00:00:00Z"}]}`},
		{1, "roles/web/simulate", `{"common_name": "a.example.com", "ip_sans": ["::1"], "uri_sans": "spiffe://a/b", "other_sans": "1.2.3;UTF8:x"}`},
		{1, "roles/x", `{"allowed_domains": ["{{identity.entity.name}}.x"], "allowed_domains_template": true, "key_type": "any", "policy_identifiers": "[{\"oid\": \"1.2.3\"}]"}`},
		{2, "roles/web", `{"max_ttl": -1, "cn_validations": ["disabled"], "ext_key_usage_oids": "1.2"}`},
		{1, "profiles/y", `{"preset": "tls-server", "custom_extensions": "1.2.3=critical:BQA=", "lint_ignore": {"x": "y"}, "subject_patterns": {"ou": "("}}`},
		{2, "profiles/web", `{"subject_fixed": {"country": "XX"}, "permitted_ip_ranges": "10.0.0.0/8"}`},
		{0, "profiles/web/diff", `{"from": "1", "to": "99999"}`},
		{4, "profiles/web/versions/", `{"after": "9223372036854775807", "limit": 1}`},
		{1, "root/sign-intermediate", `{"csr": "x", "common_name": "x", "max_path_length": 0, "permitted_dns_domains": [""]}`},
		{1, "root/generate/internal", `{"common_name": "x", "key_type": "ec", "ttl": "9223372036s", "permitted_uri_domains": "."}`},
		{1, "intermediate/generate/existing", `{"key_ref": "spare", "common_name": "x", "other_sans": "1.2.3;UTF8:"}`},
		{2, "issuer/root", `{"usage": "read-only", "manual_chain": ["self", "root"], "revocation_signature_algorithm": "SHA256WithRSA"}`},
		{1, "config/crl", `{"expiry": "1s", "ocsp_expiry": "0s", "auto_rebuild_grace_period": "999999h"}`},
		{1, "config/urls", `{"ocsp_servers": "http://a/{{issuer_id}}", "enable_templating": "true"}`},
		{1, "revoke", `{"serial_number": "00:00", "reason": "key_compromise", "invalidity_date": "0000-01-01T00:00:00Z"}`},
		{1, "revoke-with-key", `{"certificate": "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "private_key": "x"}`},
		{0, "ocsp/MEIwQDA+MDwwOjAJBgUrDgMCGgUABBQ=", `{}`},
		{0, "cert/ca_chain", `null`},
		{4, "certs/", `{"after": "zz"}`},
		{1, "hsm/x", `{"module": "/usr/lib/x.so", "token_label": "x", "pin": "y", "max_sessions": 1e300}`},
		{3, "issuer/default", `{"a": [[[[[]]]]]}`},
	} {
		f.Add(seed.verb, seed.path, []byte(seed.json))
	}
	f.Fuzz(func(t *testing.T, verb uint8, path string, text []byte) {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var data map[string]any
		if decoder.Decode(&data) != nil {
			return
		}
		// Not what is sought here, and seconds long: primes of RSA keys.
		if strings.Contains(path, "generate/") && data["key_type"] != "ed25519" {
			if data == nil {
				data = map[string]any{}
			}
			data["key_type"] = "ec"
		}
		g.throw(t, verbs[int(verb)%len(verbs)], path, data)
	})
}

// FuzzFields sends any JSON as two fields that a path knows.
func FuzzFields(f *testing.F) {
	g := newTarget(f)
	paths := described(f, g.m)
	fields := 0
	for at, d := range paths {
		fields += len(d.fields)
		for field := range d.fields {
			f.Add(uint8(1), uint16(at), uint16(field), uint16(field+1), []byte(`["a", {"b": null}]`), []byte(`"1h"`))
		}
	}
	require.Greater(f, fields, 300, "the description names the fields")
	values := []string{`"web"`, `""`, `"root"`, `-1`, `1e300`, `true`, `null`, `[[]]`, `{"a": "b"}`, `"9223372036854775807"`, `"*.example.com"`, `"2030-01-01T00:00:00Z"`, `"\u0000"`}
	for at, value := range values {
		f.Add(uint8(at), uint16(at), uint16(at), uint16(0), []byte(value), []byte(values[len(values)-1-at]))
	}
	f.Fuzz(func(t *testing.T, verb uint8, which, first, second uint16, one, two []byte) {
		d := paths[int(which)%len(paths)]
		if strings.Contains(d.template, "generate/") || len(d.fields) == 0 {
			return // FuzzRequests goes there without making keys of RSA
		}
		data := map[string]any{}
		for field, encoded := range map[uint16][]byte{first: one, second: two} {
			decoder := json.NewDecoder(bytes.NewReader(encoded))
			decoder.UseNumber()
			var value any
			if decoder.Decode(&value) != nil {
				return
			}
			data[d.fields[int(field)%len(d.fields)]] = value
		}
		for _, name := range []string{"root", "web"} {
			g.throw(t, verbs[int(verb)%len(verbs)], d.path(name), data)
		}
	})
}

// FuzzImport brings in any certificate as a CA: it is refused, or it is one that the
// engine can live with.
func FuzzImport(f *testing.F) {
	g := newTarget(f)
	key := newKeyFor(f)
	for _, change := range []func(*x509.Certificate){
		func(*x509.Certificate) {},
		func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true },
		func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.com"}
			c.ExcludedIPRanges = []*net.IPNet{{IP: net.IP{10, 0, 0, 0}, Mask: net.CIDRMask(8, 32)}}
			c.PermittedEmailAddresses, c.ExcludedURIDomains = []string{"a@example.com"}, []string{".example.com"}
		},
		func(c *x509.Certificate) {
			// directoryName constraints, which crypto/x509 does not read
			c.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 30}, Critical: true, Value: []byte{0x30, 8, 0xa0, 6, 0x30, 4, 0xa4, 2, 0x30, 0}}}
		},
	} {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Foreign CA"}, SubjectKeyId: []byte{1},
			NotBefore: time.Unix(0, 0), NotAfter: time.Date(2049, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign,
		}
		change(template)
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		require.NoError(f, err)
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		status := g.throw(t, logical.UpdateOperation, "issuers/import/cert", body{"pem_bundle": encode("CERTIFICATE", der)})
		g.throw(t, logical.UpdateOperation, "revoke", body{"certificate": encode("CERTIFICATE", der)})
		if status != http.StatusOK {
			return
		}
		parsed, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		require.True(t, parsed.IsCA)
		g.throw(t, logical.ListOperation, "issuers/", nil)
		require.Equal(t, http.StatusOK, g.throw(t, logical.UpdateOperation, "issue/web", body{"common_name": "a.example.com"}), "the default issuer goes on")
	})
}
