package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// tokenRoot declares a token as hsm/main and makes a root in it, with a role "web"
// that it serves.
func tokenRoot(t testing.TB, mount, module, label string) {
	t.Helper()
	write(t, mount+"/hsm/main", fields{"module": module, "token_label": label, "pin": harness.UserPIN})
	write(t, mount+"/issuers/generate/root/kms", fields{"hsm": "main", "common_name": "Root in " + label, "key_type": "ec", "issuer_name": "in-token"})
	write(t, mount+"/roles/web", fields{"issuer_ref": "in-token", "allow_any_name": true, "key_type": "ec", "ttl": "1h"})
}

// newToken makes a token of the test's own and returns its label. SoftHSM shows a new
// token, and a PIN that another process changed, only to those who load it after that.
func newToken(t testing.TB, mount string) string {
	t.Helper()
	label := fmt.Sprintf("token-%d", policies.Add(1))
	vault.NewToken(t, label)
	reload(t, mount)
	return label
}

func changePIN(t testing.TB, mount, label, pin string) {
	t.Helper()
	vault.Tool(t, "pkcs11-tool", "--module", vault.Module(), "--token-label", label, "--login", "--pin", harness.UserPIN, "--change-pin", "--new-pin", pin)
	reload(t, mount)
}

// reload starts the plugin anew.
func reload(t testing.TB, mount string) {
	t.Helper()
	get(t, anonymous, mount+"/ca") // a process to kill, if there is none
	kill(t, mount)
}

func TestHSM1_WrongPINIsRefusedAndTheTokenIsNotLocked(t *testing.T) {
	mount := vault.Mount(t)
	settings := fields{"module": vault.Module(), "token_label": issuingToken, "pin": "wrong"}
	for range 3 {
		a := post(t, rootClient, mount+"/hsm/main", settings)
		a.refused(t, http.StatusForbidden, "PIN")
	}
	require.Equal(t, http.StatusNotFound, get(t, rootClient, mount+"/hsm/main").Status, "nothing was declared")

	settings["pin"] = harness.UserPIN
	declared := write(t, mount+"/hsm/main", settings)
	require.NotContains(t, declared, "pin")
	status := read(t, mount+"/hsm/main/status")
	require.Equal(t, true, status["reachable"])
	require.Equal(t, false, status["pin_latched"])
	require.Equal(t, issuingToken, status["label"])
	require.Contains(t, texts(t, status, "mechanisms"), "CKM_EC_KEY_PAIR_GEN")
	require.NotContains(t, read(t, mount+"/hsm/main"), "pin")
}

// A PIN that was changed elsewhere is found wrong when the plugin logs in again. It
// is offered once, or a token would lock itself.
func TestHSM1_PINChangedElsewhereLatches(t *testing.T) {
	mount := vault.Mount(t)
	label := newToken(t, mount)
	tokenRoot(t, mount, vault.Module(), label)
	const changed = "4321"
	changePIN(t, mount, label, changed)

	for range 5 {
		a := post(t, rootClient, mount+"/issue/web", fields{"common_name": "a.example.com"})
		require.GreaterOrEqual(t, a.Status, 400)
		require.Contains(t, a.errors(t), "PIN")
		require.NotContains(t, string(a.Body), harness.UserPIN)
	}
	status := read(t, mount+"/hsm/main/status")
	require.Equal(t, true, status["pin_latched"])
	require.NotEmpty(t, status["last_error"])
	slots := vault.Tool(t, "pkcs11-tool", "--module", vault.Module(), "--list-token-slots")
	_, slot, _ := strings.Cut(slots, label)
	slot, _, _ = strings.Cut(slot, "Slot ")
	require.NotContains(t, slot, "locked")

	write(t, mount+"/hsm/main", fields{"module": vault.Module(), "token_label": label, "pin": changed})
	require.Equal(t, false, read(t, mount+"/hsm/main/status")["pin_latched"])
	write(t, mount+"/issue/web", fields{"common_name": "a.example.com"})
}

func TestHSM3_LibraryOutsideTheAllowListIsNeverLoaded(t *testing.T) {
	mount := vault.Mount(t)
	evil := filepath.Join(t.TempDir(), "evil.so")
	require.NoError(t, os.WriteFile(evil, contents(t, vault.Module()), 0o700))
	link := filepath.Join(t.TempDir(), "link.so")
	require.NoError(t, os.Symlink(evil, link))
	for _, module := range []string{evil, link, "evil.so", "libsofthsm2.so", filepath.Dir(vault.Module()) + "/..//" + evil, "/dev/stdin"} {
		a := post(t, rootClient, mount+"/hsm/evil", fields{"module": module, "token_label": issuingToken, "pin": harness.UserPIN})
		require.Contains(t, []int{http.StatusBadRequest, http.StatusForbidden}, a.Status, "%s: %s", module, a.Body)
		require.Contains(t, a.errors(t), "module")
	}
	for _, id := range vault.Plugins(t, plugin) {
		require.NotContains(t, string(contents(t, fmt.Sprintf("/proc/%d/maps", id))), "evil.so")
	}
	require.Equal(t, http.StatusNotFound, get(t, rootClient, mount+"/hsm/evil").Status)
}

func TestHSM3_KeysBelongToTheMountThatMadeThem(t *testing.T) {
	h := shared(t)
	id := text(t, read(t, h.mount+"/key/issuing-1"), "key_id")
	other := vault.Mount(t)
	write(t, other+"/hsm/main", fields{"module": vault.Module(), "token_label": issuingToken, "pin": harness.UserPIN})

	require.Equal(t, http.StatusNotFound, send(t, rootClient, "LIST", other+"/keys", nil).Status)
	for _, ref := range []string{id, "issuing-1"} {
		get(t, rootClient, other+"/key/"+ref).refused(t, http.StatusNotFound, ref)
		post(t, rootClient, other+"/issuers/generate/intermediate/existing", fields{"common_name": "Thief", "key_ref": ref}).refused(t, http.StatusNotFound, ref)
		post(t, rootClient, other+"/issuers/generate/root/existing", fields{"common_name": "Thief", "key_ref": ref}).refused(t, http.StatusNotFound, ref)
	}
	// The certificate of the other mount's issuer comes without its key.
	imported := write(t, other+"/issuers/import/cert", fields{"pem_bundle": string(contents(t, h.issuing))})
	issuer := texts(t, imported, "imported_issuers")[0]
	require.Empty(t, read(t, other+"/issuer/"+issuer)["key_id"])
	write(t, other+"/roles/web", fields{"issuer_ref": issuer, "allow_any_name": true, "key_type": "ec"})
	require.GreaterOrEqual(t, post(t, rootClient, other+"/issue/web", fields{"common_name": "a.example.com"}).Status, 400)

	// Forgetting the token here takes it from nobody.
	require.Equal(t, http.StatusNoContent, send(t, rootClient, http.MethodDelete, other+"/hsm/main", nil).Status)
	h.issue(t, "still-mine")
}

func TestTokenWithKeysIsNotForgotten(t *testing.T) {
	h := shared(t)
	send(t, rootClient, http.MethodDelete, h.mount+"/hsm/main", nil).refused(t, http.StatusConflict, "main")
	evidence := read(t, h.mount+"/key/issuing-1")
	require.Equal(t, "main", evidence["managed_key_name"])
	require.NotEmpty(t, evidence["managed_key_id"])
	for name, want := range map[string]bool{"local": true, "never_extractable": true, "always_sensitive": true, "sensitive": true, "extractable": false} {
		require.Equal(t, want, evidence["evidence"].(fields)[name], name)
	}
}

func TestHSM1_LostTokenStopsItsIssuerAlone(t *testing.T) {
	server := newRemote(t)
	mount := softwareRoot(t, nil)
	software := func() answer {
		return post(t, rootClient, mount+"/issuer/root/issue/web", fields{"common_name": "a.example.com"})
	}
	inToken := func() answer { return post(t, rootClient, mount+"/issue/web", fields{"common_name": "a.example.com"}) }
	tokenRoot(t, mount, remoteModule(), remoteToken)
	serial := text(t, inToken().data(t), "serial_number")
	known := len(texts(t, send(t, rootClient, "LIST", mount+"/certs", nil).data(t), "keys"))

	server.lose()
	for range 3 {
		a := inToken()
		a.refused(t, http.StatusServiceUnavailable, "token")
		require.NotContains(t, a.errors(t), harness.UserPIN)
	}
	status := read(t, mount+"/hsm/main/status")
	require.Equal(t, false, status["reachable"])
	require.Equal(t, false, status["pin_latched"])
	require.NotEmpty(t, status["last_error"])
	software().data(t)
	require.Len(t, texts(t, send(t, rootClient, "LIST", mount+"/certs", nil).data(t), "keys"), known+1, "no partial issuance")

	// What needs no signature of the lost key goes on: reading, revoking, OCSP, the last CRL.
	require.Equal(t, "revoked", write(t, mount+"/revoke", fields{"serial_number": serial, "reason": "keyCompromise"})["state"])
	for _, path := range []string{"issuer/in-token/pem", "issuer/in-token/crl/der", "cert/" + serial} {
		require.Equal(t, http.StatusOK, get(t, anonymous, mount+"/"+path).Status, path)
	}
	require.GreaterOrEqual(t, get(t, rootClient, mount+"/crl/rotate").Status, 500, "a CRL that cannot be made is told of")

	server.comeBack()
	until(t, "recovering without a restart", func() bool { return inToken().Status == http.StatusOK })
	require.Equal(t, true, read(t, mount+"/hsm/main/status")["reachable"])
	read(t, mount+"/crl/rotate")
	crl := file(t, "token.crl", get(t, anonymous, mount+"/issuer/in-token/crl/der").Body)
	require.Contains(t, vault.Tool(t, "openssl", "crl", "-in", crl, "-inform", "DER", "-noout", "-text"), strings.ToUpper(strings.ReplaceAll(serial, ":", "")))
}

func TestTokenSignsForManyClientsAtOnce(t *testing.T) {
	h := shared(t)
	request := csr(t, "many.example.com")
	answers := make([]answer, 100)
	var clients sync.WaitGroup
	for client := range 10 {
		clients.Go(func() {
			for i := client; i < len(answers); i += 10 {
				answers[i] = post(t, rootClient, h.mount+"/sign/web", fields{"csr": request})
			}
		})
	}
	clients.Wait()
	issuing, serials := certificateOf(t, string(contents(t, h.issuing))), map[string]bool{}
	for _, a := range answers {
		leaf := certificateOf(t, text(t, a.data(t), "certificate"))
		require.NoError(t, leaf.CheckSignatureFrom(issuing))
		serials[leaf.SerialNumber.Text(16)] = true
	}
	require.Len(t, serials, len(answers))
}
