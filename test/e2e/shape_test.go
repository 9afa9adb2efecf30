package e2e_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Clients in other languages read these answers: what counts is the JSON on the wire.

func TestShapeOfAnIssuedCertificate(t *testing.T) {
	h := shared(t)
	issued := h.issue(t, "shape")
	leaf := certificateOf(t, text(t, issued, "certificate"))
	expiration, ok := issued["expiration"].(json.Number)
	require.True(t, ok, "expiration is %T", issued["expiration"])
	seconds, err := expiration.Int64()
	require.NoError(t, err)
	require.Equal(t, leaf.NotAfter.Unix(), seconds)
	require.Regexp(t, `^[0-9a-f]{2}(:[0-9a-f]{2})+$`, text(t, issued, "serial_number"))
	require.Equal(t, "ec", text(t, issued, "private_key_type"))
	require.Len(t, texts(t, issued, "ca_chain"), 2)

	// Clients scan every string at the top for PEM: exactly these three may be.
	var found []string
	for name, value := range issued {
		if content, ok := value.(string); ok && strings.Contains(content, "-----BEGIN") {
			found = append(found, name)
		}
	}
	require.ElementsMatch(t, []string{"certificate", "issuing_ca", "private_key"}, found)
}

func TestShapeEverythingMayComeAsText(t *testing.T) {
	h := shared(t)
	// What cert-manager sends: strings only.
	signed := write(t, h.mount+"/sign/web", fields{
		"common_name": "text.example.com", "alt_names": "text.example.com,also.example.com", "ip_sans": "", "uri_sans": "",
		"ttl": "2h0m0s", "csr": csr(t, "text.example.com", "also.example.com"), "exclude_cn_from_sans": "true",
	})
	leaf := certificateOf(t, text(t, signed, "certificate"))
	require.ElementsMatch(t, []string{"text.example.com", "also.example.com"}, leaf.DNSNames)
	require.WithinDuration(t, time.Now().Add(2*time.Hour), leaf.NotAfter, time.Minute)
	require.NotContains(t, signed, "private_key")
}

func TestShapeOfRefusals(t *testing.T) {
	h := shared(t)
	for name, c := range map[string]struct {
		method, path string
		body         fields
		status       int
		says         string
	}{
		"role that is not there":        {http.MethodGet, "roles/nobody", nil, 404, "nobody"},
		"certificate that is not there": {http.MethodGet, "cert/01:02:03", nil, 404, "01:02:03"},
		"key that is not there":         {http.MethodGet, "key/nobody", nil, 404, "nobody"},
		"profile that is not there":     {http.MethodGet, "profiles/nobody", nil, 404, "nobody"},
		"path that is not there":        {http.MethodGet, "nothing/here", nil, 404, "unsupported path"},
		"issuer that is not there":      {http.MethodGet, "issuer/nobody/pem", nil, 500, "unable to find PKI issuer for reference: nobody"},
		"field that is not known":       {http.MethodPost, "roles/new", fields{"allowed_domain": "e.com"}, 400, "allowed_domain: is not a known field; did you mean allowed_domains?"},
		"field that is null":            {http.MethodPatch, "roles/web", fields{"allowed_domains": nil}, 400, "allowed_domains"},
		"field of another type":         {http.MethodPost, "issue/web", fields{"common_name": fields{"a": "b"}}, 400, "common_name"},
		"name that is not granted":      {http.MethodPost, "issue/web", fields{"common_name": "www.example.org"}, 400, "www.example.org"},
		"request that is none":          {http.MethodPost, "sign/web", fields{"csr": "none"}, 400, "csr"},
		"certificate from no role":      {http.MethodPost, "issue/nobody", fields{"common_name": "a.example.com"}, 400, "unknown role: nobody"},
		"serial that is none":           {http.MethodPost, "revoke", fields{"serial_number": "xyz"}, 400, "serial_number"},
		"serial that is not there":      {http.MethodPost, "revoke", fields{"serial_number": "01:02:03"}, 404, "01:02:03"},
		"reason that is none":           {http.MethodPost, "revoke", fields{"serial_number": "01:02", "reason": "boredom"}, 400, "reason"},
	} {
		t.Run(name, func(t *testing.T) {
			send(t, rootClient, c.method, h.mount+"/"+c.path, c.body).refused(t, c.status, c.says)
		})
	}
}

func TestShapeOfRawAnswers(t *testing.T) {
	h := shared(t)
	serial := text(t, h.issue(t, "raw"), "serial_number")
	const certificate, chain, list, listPEM = "application/pkix-cert", "application/pem-certificate-chain", "application/pkix-crl", "application/x-pem-file"
	for path, want := range map[string]struct{ contentType, pemType string }{
		"ca":                             {certificate, ""},
		"ca/pem":                         {chain, "CERTIFICATE"},
		"ca_chain":                       {chain, "CERTIFICATE"},
		"cert/ca/raw":                    {certificate, ""},
		"cert/ca/raw/pem":                {chain, "CERTIFICATE"},
		"cert/" + serial + "/raw":        {certificate, ""},
		"cert/" + serial + "/raw/pem":    {chain, "CERTIFICATE"},
		"issuer/default/der":             {certificate, ""},
		"issuer/default/pem":             {chain, "CERTIFICATE"},
		"crl":                            {list, ""},
		"crl/pem":                        {listPEM, "X509 CRL"},
		"cert/crl/raw":                   {list, ""},
		"cert/crl/raw/pem":               {listPEM, "X509 CRL"},
		"issuer/issuing-1/crl/der":       {list, ""},
		"issuer/issuing-1/crl/pem":       {listPEM, "X509 CRL"},
		"ocsp/MAA%3D":                    {"application/ocsp-response", ""},
		"ocsp/" + strings.Repeat("A", 3): {"application/ocsp-response", ""},
	} {
		a := get(t, anonymous, h.mount+"/"+path)
		require.Equal(t, http.StatusOK, a.Status, path)
		require.Equal(t, want.contentType, a.Header.Get("Content-Type"), path)
		block, _ := pem.Decode(a.Body)
		if want.pemType == "" {
			require.Nil(t, block, path)
			require.Equal(t, byte(0x30), a.Body[0], "%s is a SEQUENCE", path)
		} else {
			require.Equal(t, want.pemType, block.Type, path)
		}
	}
}

func TestShapeOfAMountWithoutCA(t *testing.T) {
	mount := vault.Mount(t)
	for _, path := range []string{"ca", "ca/pem", "ca_chain", "crl", "crl/pem"} {
		a := get(t, anonymous, mount+"/"+path)
		require.Equal(t, http.StatusNoContent, a.Status, "%s: %s", path, a.Body)
		require.Empty(t, a.Body, path)
	}
	for _, path := range []string{"issuers", "keys", "roles", "certs", "certs/revoked", "profiles"} {
		require.Equal(t, http.StatusNotFound, send(t, rootClient, "LIST", mount+"/"+path, nil).Status, "%s: what Vault says to an empty list", path)
	}
	write(t, mount+"/roles/web", fields{"allow_any_name": true})
	post(t, rootClient, mount+"/issue/web", fields{"common_name": "a.example.com"}).refused(t, 404, "issuer")
}

func TestShapeOfConfigurationReadsBackAsWritten(t *testing.T) {
	mount := vault.Mount(t)
	for path, body := range map[string]fields{
		"config/crl":     {"expiry": "96h", "ocsp_expiry": "1h", "auto_rebuild": true, "auto_rebuild_grace_period": "10h"},
		"config/urls":    {"crl_distribution_points": []any{"http://a.example.com/crl"}, "enable_templating": false},
		"config/cluster": {"path": "https://vault.example.com/v1/pki", "aia_path": "http://pki.example.com"},
		"roles/web":      {"allowed_domains": []any{"example.com"}, "ttl": json.Number("3600"), "max_ttl": json.Number("7200"), "key_bits": json.Number("256"), "key_type": "ec"},
	} {
		write(t, mount+"/"+path, body)
		got := read(t, mount+"/"+path)
		for name, value := range body {
			require.Equal(t, value, got[name], "%s %s", path, name)
		}
		// Terraform writes back what it read.
		write(t, mount+"/"+path, got)
		require.Equal(t, got, read(t, mount+"/"+path), path)
	}
}

func TestShapePatchChangesWhatItNames(t *testing.T) {
	mount := vault.Mount(t)
	write(t, mount+"/roles/web", fields{"allowed_domains": "example.com", "ttl": "1h"})
	vault.CLI(t, "patch", mount+"/roles/web", "ttl=2h")
	role := read(t, mount+"/roles/web")
	require.Equal(t, json.Number("7200"), role["ttl"])
	require.Equal(t, []any{"example.com"}, role["allowed_domains"])
	send(t, rootClient, http.MethodPatch, mount+"/roles/web", fields{"ttl": "-1s"}, "Content-Type", "application/merge-patch+json").refused(t, 400, "ttl")
	require.Equal(t, json.Number("7200"), read(t, mount+"/roles/web")["ttl"])
}

func TestShapeIssueMayBeWrapped(t *testing.T) {
	h := shared(t)
	token := vault.CLI(t, "write", "-wrap-ttl=60s", "-field=wrapping_token", h.mount+"/issue/web", "common_name=wrapped.example.com")
	unwrapped := vault.CLI(t, "unwrap", "-field=certificate", token)
	require.Equal(t, "wrapped.example.com", certificateOf(t, unwrapped).Subject.CommonName)
	require.NotZero(t, vault.RunCLI(t, "unwrap", token).Code, "a wrapped answer is read once")
	token = vault.CLI(t, "read", "-wrap-ttl=60s", "-field=wrapping_token", h.mount+"/roles/web")
	require.Equal(t, "web", vault.CLI(t, "unwrap", "-field=profile", token))
}

func TestShapeQueryOfAList(t *testing.T) {
	mount := vault.Mount(t)
	for _, name := range []string{"a", "b", "c"} {
		write(t, mount+"/roles/"+name, fields{})
	}
	for query, want := range map[string][]string{
		"":                  {"a", "b", "c"},
		"&after=a":          {"b", "c"},
		"&limit=1":          {"a"},
		"&after=a&limit=1":  {"b"},
		"&after=aa&limit=9": {"b", "c"},
	} {
		require.Equal(t, want, texts(t, get(t, rootClient, mount+"/roles?list=true"+query).data(t), "keys"), query)
	}
	get(t, rootClient, mount+"/roles?list=true&limit=x").refused(t, 400, "limit")
	get(t, rootClient, mount+"/roles?list=true&limits=1").refused(t, 400, "limits")
	get(t, rootClient, mount+"/roles/a?field=1").refused(t, 400, "field")
}

func TestShapeHeadIsRefusedAsByTheBuiltInEngine(t *testing.T) {
	h := shared(t)
	for _, path := range []string{"ca", "crl", "issuer/default/pem"} {
		status := vault.Tool(t, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--head", vault.Address+"/v1/"+h.mount+"/"+path)
		require.Equal(t, "405", status, path)
	}
}

func TestDos1_LargeRequestsAreRefusedByName(t *testing.T) {
	h := shared(t)
	names := strings.Repeat("a.example.com,", 40_000)
	for name, c := range map[string]struct {
		path  string
		body  fields
		field string
	}{
		"CSR":               {"sign/web", fields{"csr": strings.Repeat("A", 900<<10)}, "csr"},
		"names":             {"issue/web", fields{"common_name": "a.example.com", "alt_names": names}, "alt_names"},
		"list of names":     {"issue/web", fields{"common_name": "a.example.com", "alt_names": strings.Split(names, ",")[:9000]}, "alt_names"},
		"addresses":         {"issue/web", fields{"common_name": "a.example.com", "ip_sans": strings.Repeat("192.0.2.1,", 9000)}, "ip_sans"},
		"domains of a role": {"roles/web2", fields{"allowed_domains": names}, "allowed_domains"},
		"bundle":            {"issuers/import/bundle", fields{"pem_bundle": strings.Repeat("A", 1000<<10)}, "pem_bundle"},
		"batch":             {"sign/web/batch", fields{"requests": make([]fields, 257)}, "requests"},
	} {
		t.Run(name, func(t *testing.T) {
			a := post(t, rootClient, h.mount+"/"+c.path, c.body)
			a.refused(t, http.StatusBadRequest, c.field)
			require.Less(t, len(a.Body), 500, "the answer repeats the request")
		})
	}
}
