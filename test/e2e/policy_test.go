package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// csr returns a certificate request of openssl: the first name is the common name too.
func csr(t testing.TB, names ...string) string {
	t.Helper()
	return vault.Tool(t, "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", "/dev/null", "-subj", "/CN="+names[0], "-addext", "subjectAltName=DNS:"+strings.Join(names, ",DNS:"))
}

func TestAuthz1_PolicyForOneRoleOpensNothingElse(t *testing.T) {
	h := shared(t)
	write(t, h.mount+"/roles/other", fields{"profile": "web", "allowed_domains": "example.com", "allow_subdomains": true})
	request := csr(t, "acl.example.com")
	token := tokenWith(t, fmt.Sprintf(`path "%s/sign/web" { capabilities = ["update"] }`, h.mount))
	require.Equal(t, http.StatusOK, post(t, token, h.mount+"/sign/web", fields{"csr": request}).Status)

	// authz-2: no spelling of another path is this one.
	for _, path := range []string{
		"sign/other", "sign/Web", "sign/WEB", "sign/web/batch", "sign/web%2Fbatch", "issue/web", "issuer/default/sign/web",
		"roles/web", "roles/web/simulate", "revoke", "revoke-with-key", "config/crl", "crl/rotate", "hsm/main", "keys/import",
		"issuers/import/bundle", "issuer/default", "issuer/default/revoke", "intermediate/set-signed", "root/generate/internal",
		"sign/x/../web/batch", "sign/web/%2e%2e/other",
	} {
		a := post(t, token, h.mount+"/"+path, fields{"csr": request})
		require.Equal(t, http.StatusForbidden, a.Status, "%s: %s", path, a.Body)
	}
	require.Equal(t, http.StatusForbidden, get(t, token, h.mount+"/sign/web").Status, "update is not read")
}

func TestAuthz2_NamesAreCanonical(t *testing.T) {
	h := shared(t)
	request := csr(t, "canonical.example.com")
	// A broad policy, from which one role is taken out.
	token := tokenWith(t, fmt.Sprintf(`
path "%[1]s/sign/*" { capabilities = ["update"] }
path "%[1]s/sign/web" { capabilities = ["deny"] }`, h.mount))
	for _, role := range []string{"web", "Web", "WEB", "web%20", "%77eb", "./web", "x/../web", "x/%2e%2e/web", "web/", "web//", "web%2f", "web%00", "%ef%bb%bfweb"} {
		a := post(t, token, h.mount+"/sign/"+role, fields{"csr": request})
		require.GreaterOrEqual(t, a.Status, 300, "sign/%s: %s", role, a.Body)
		require.NotContains(t, string(a.Body), "BEGIN CERTIFICATE", role)
	}
	for _, name := range []string{"WEB", "Web", "a%2fb", "%2e%2e", "a%20b", "a..b", "-a"} {
		a := post(t, rootClient, h.mount+"/roles/"+name, fields{"profile": "web"})
		require.GreaterOrEqual(t, a.Status, 400, "roles/%s: %s", name, a.Body)
	}
}

func TestTokenPathsNeedSudo(t *testing.T) {
	h := shared(t)
	broad := tokenWith(t, fmt.Sprintf(`path "%s/*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }`, h.mount))
	for _, request := range []struct{ method, path string }{
		{"LIST", "hsm"},
		{"LIST", "hsm/"},
		{http.MethodGet, "hsm/main"},
		{http.MethodGet, "hsm/main/status"},
		{http.MethodPost, "hsm/main"},
		{http.MethodPost, "hsm/evil"},
		{http.MethodPatch, "hsm/main"},
		{http.MethodDelete, "hsm/main"},
	} {
		a := send(t, broad, request.method, h.mount+"/"+request.path, fields{"max_sessions": 9}, "Content-Type", "application/merge-patch+json")
		require.Equal(t, http.StatusForbidden, a.Status, "%s %s: %s", request.method, request.path, a.Body)
	}
	require.Equal(t, http.StatusOK, get(t, broad, h.mount+"/roles/web").Status)
	sudo := tokenWith(t, fmt.Sprintf(`path "%s/hsm/main/status" { capabilities = ["read", "sudo"] }`, h.mount))
	require.Equal(t, true, get(t, sudo, h.mount+"/hsm/main/status").data(t)["reachable"])
}

func TestListIsNotRead(t *testing.T) {
	h := shared(t)
	paths := []string{"roles", "profiles", "keys", "issuers", "certs", "presets"}
	lister := tokenWith(t, fmt.Sprintf(`path "%s/*" { capabilities = ["list"] }`, h.mount))
	reader := tokenWith(t, fmt.Sprintf(`path "%s/*" { capabilities = ["read"] }`, h.mount))
	for _, path := range paths {
		require.Equal(t, http.StatusOK, send(t, lister, "LIST", h.mount+"/"+path, nil).Status, path)
		require.Equal(t, http.StatusOK, get(t, lister, h.mount+"/"+path+"?list=true").Status, path)
		require.Equal(t, http.StatusForbidden, send(t, reader, "LIST", h.mount+"/"+path, nil).Status, path)
	}
	for _, path := range []string{"roles/web", "profiles/web", "issuer/default", "key/issuing-1", "config/crl"} {
		require.Equal(t, http.StatusForbidden, get(t, lister, h.mount+"/"+path).Status, path)
		require.Equal(t, http.StatusOK, get(t, reader, h.mount+"/"+path).Status, path)
	}
}

func TestAuthz1_PublicPathsReadWithoutToken(t *testing.T) {
	h := shared(t)
	serial := text(t, h.issue(t, "public"), "serial_number")
	for _, path := range []string{
		"ca", "ca/pem", "ca_chain", "crl", "crl/pem", "ocsp/MAA%3D",
		"issuer/default/pem", "issuer/default/der", "issuer/default/json", "issuer/default/crl", "issuer/default/crl/pem", "issuer/default/crl/der",
		"cert/" + serial, "cert/" + serial + "/raw", "cert/" + serial + "/raw/pem",
		"cert/ca", "cert/ca/raw", "cert/ca/raw/pem", "cert/ca_chain", "cert/crl", "cert/crl/raw", "cert/crl/raw/pem",
	} {
		require.Equal(t, http.StatusOK, get(t, anonymous, h.mount+"/"+path).Status, path)
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			a := send(t, anonymous, method, h.mount+"/"+path, fields{"issuer_name": "evil"}, "Content-Type", "application/merge-patch+json")
			require.Contains(t, []int{http.StatusForbidden, http.StatusMethodNotAllowed}, a.Status, "%s %s: %s", method, path, a.Body)
		}
	}
}

func TestAuthz1_EverythingElseNeedsAToken(t *testing.T) {
	h := shared(t)
	for _, path := range []string{
		"roles/web", "roles", "profiles/web", "certs", "certs/revoked", "issuers", "issuer/default", "issuer/default/issue/web",
		"keys", "key/default", "config/crl", "config/urls", "crl/rotate", "hsm", "hsm/main", "hsm/main/status", "sign/web", "issue/web",
		"issuer/default/crl/rotate", "presets", "presets/tls-server",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, "LIST"} {
			a := send(t, anonymous, method, h.mount+"/"+path, fields{})
			require.Equal(t, http.StatusForbidden, a.Status, "%s %s: %s", method, path, a.Body)
		}
	}
}
