package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

// secrets collects what must not be found, each in the forms in which it could be.
type secrets map[string][][]byte

// addText remembers a PIN or the like.
func (s secrets) addText(name, secret string) {
	s[name] = [][]byte{[]byte(secret), []byte(base64.StdEncoding.EncodeToString([]byte(secret)))}
}

// addKey remembers a private key, in PEM or in base64 of its DER: its encoding, and
// the number that is the secret.
func (s secrets) addKey(t testing.TB, name, key string) {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(key)
	if block, _ := pem.Decode([]byte(key)); block != nil {
		der, err = block.Bytes, nil
	}
	require.NoError(t, err)
	number := secretNumber(t, der)
	s[name] = [][]byte{
		der, number, []byte(hex.EncodeToString(number)), []byte(base64.StdEncoding.EncodeToString(der)),
		[]byte(base64.StdEncoding.EncodeToString(number)),
	}
	// PEM breaks the base64 into lines of 64; the second is the key's own.
	lines := strings.Split(string(pem.EncodeToMemory(&pem.Block{Type: "KEY", Bytes: der})), "\n")
	s[name] = append(s[name], []byte(lines[2]))
}

// secretNumber returns the private scalar or exponent of a key in DER.
func secretNumber(t testing.TB, der []byte) []byte {
	t.Helper()
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key.D.Bytes()
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key.D.Bytes()
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	require.NoError(t, err)
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		return key.D.Bytes()
	case *rsa.PrivateKey:
		return key.D.Bytes()
	}
	require.Fail(t, "unexpected type of key", "%T", key)
	return nil
}

// absentFrom expects that none of the secrets occurs.
func (s secrets) absentFrom(t testing.TB, where string, content []byte) {
	t.Helper()
	for name, forms := range s {
		for i, form := range forms {
			require.False(t, bytes.Contains(content, form), "%s is in %s (form %d)", name, where, i)
		}
	}
}

// opensslKey makes a private key elsewhere.
func opensslKey(t testing.TB) string {
	t.Helper()
	return vault.Tool(t, "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
}

// use has the mount see and make every kind of secret, in requests that succeed and
// in requests that are refused.
func use(t testing.TB, mount string) secrets {
	t.Helper()
	seen := secrets{}
	const pin, wrong = "pin-9f31c7ab5e", "pin-77d0e1c2aa"
	seen.addText("PIN", pin)
	seen.addText("wrong PIN", wrong)
	label := newToken(t, mount)
	changePIN(t, mount, label, pin)
	token := fields{"module": vault.Module(), "token_label": label, "pin": wrong}
	require.Equal(t, http.StatusForbidden, post(t, rootClient, mount+"/hsm/main", token).Status)
	token["pin"] = pin
	write(t, mount+"/hsm/main", token)
	token["pn"] = pin
	post(t, rootClient, mount+"/hsm/main", token).refused(t, http.StatusBadRequest, "pn")

	for _, format := range []string{"pem", "der", "pem_bundle"} {
		issued := write(t, mount+"/issue/web", fields{"common_name": "a.example.com", "key_type": "ec", "format": format})
		seen.addKey(t, "issued key in "+format, text(t, issued, "private_key"))
	}
	rsaKey := write(t, mount+"/issue/web", fields{"common_name": "rsa.example.com", "key_type": "rsa", "private_key_format": "pkcs8"})
	seen.addKey(t, "issued RSA key", text(t, rsaKey, "private_key"))
	write(t, mount+"/revoke-with-key", fields{"serial_number": rsaKey["serial_number"], "private_key": rsaKey["private_key"]})

	imported, refused, exported := opensslKey(t), opensslKey(t), write(t, mount+"/keys/generate/exported", fields{"key_type": "ec"})
	seen.addKey(t, "exported key", text(t, exported, "private_key"))
	seen.addKey(t, "imported key", imported)
	seen.addKey(t, "refused key", refused)
	write(t, mount+"/keys/import", fields{"pem_bundle": imported})
	for path, body := range map[string]fields{
		"keys/import":         {"pem_bundle": refused[:120] + "\n-----END PRIVATE KEY-----"},
		"issuers/import/cert": {"pem_bundle": refused},
		"config/ca":           {"pem_bundle": refused[:90]},
		"sign/web":            {"csr": refused},
		"revoke-with-key":     {"serial_number": rsaKey["serial_number"], "private_key": refused},
		"revoke":              {"certificate": refused},
	} {
		a := post(t, rootClient, mount+"/"+path, body)
		require.GreaterOrEqual(t, a.Status, 400, "%s: %s", path, a.Body)
		seen.absentFrom(t, "the answer of "+path, a.Body)
	}
	for _, path := range []string{"hsm/main", "hsm/main/status", "key/" + text(t, exported, "key_id"), "issuer/root", "roles/web"} {
		seen.absentFrom(t, path, get(t, rootClient, mount+"/"+path).Body)
	}
	return seen
}

func TestKey2_NoSecretIsInAuditOrLog(t *testing.T) {
	mount := softwareRoot(t, fields{"key_type": "any"})
	audit := filepath.Join(vault.Dir, "audit.log")
	require.NoError(t, vault.Client().Sys().EnableAuditWithOptions("secrecy", &api.EnableAuditOptions{
		Type: "file", Options: map[string]string{"file_path": audit},
	}))
	t.Cleanup(func() { require.NoError(t, vault.Client().Sys().DisableAudit("secrecy")) })
	seen := use(t, mount)

	for name, path := range map[string]string{"the audit log": audit, "the server's log": vault.Log} {
		content := contents(t, path)
		require.Contains(t, string(content), mount, "%s has to know the mount, or nothing was looked at", name)
		seen.absentFrom(t, name, content)
		require.NotContains(t, string(content), "PRIVATE KEY", name)
	}
	// What is there in the place of the secrets are their HMACs.
	require.Regexp(t, `"pin":"hmac-sha256:`, string(contents(t, audit)))
	require.Regexp(t, `"private_key":"hmac-sha256:`, string(contents(t, audit)))
}

func TestKey2_IssuedKeysAreNotInStorage(t *testing.T) {
	mount := softwareRoot(t, fields{"key_type": "any"})
	issued, imported := secrets{}, secrets{}
	for _, kind := range []string{"ec", "rsa"} {
		issued.addKey(t, "issued "+kind+" key", text(t, write(t, mount+"/issue/web", fields{"common_name": "a.example.com", "key_type": kind}), "private_key"))
	}
	key := opensslKey(t)
	imported.addKey(t, "imported key", key)
	write(t, mount+"/keys/import", fields{"pem_bundle": key})

	stored := storage(t, mount)
	found := 0
	for path, value := range stored {
		for _, form := range forms(value) {
			issued.absentFrom(t, path, form)
			if bytes.Contains(form, imported["imported key"][1]) {
				found++
			}
		}
		require.NotContains(t, path, "example", "names of keys are stored in clear")
	}
	require.Positive(t, found, "the search does not even find the key that has to be stored")
	require.Greater(t, len(stored), 4)
}

// storage returns what a mount keeps in Vault's storage, decrypted, which a dev
// server shows to root.
func storage(t testing.TB, mount string) map[string][]byte {
	t.Helper()
	info, err := vault.Client().Sys().GetMount(mount)
	require.NoError(t, err)
	found := map[string][]byte{}
	folders := []string{"sys/raw/logical/" + info.UUID + "/"}
	for len(folders) > 0 {
		folder := folders[0]
		folders = folders[1:]
		for _, name := range texts(t, send(t, rootClient, "LIST", folder, nil).data(t), "keys") {
			if strings.HasSuffix(name, "/") {
				folders = append(folders, folder+name)
				continue
			}
			value, err := base64.StdEncoding.DecodeString(text(t, read(t, folder+name+"?encoding=base64"), "value"))
			require.NoError(t, err)
			found[folder+name] = value
		}
	}
	return found
}

// forms returns a stored value and every text in it, as it is and out of base64.
func forms(value []byte) [][]byte {
	found := [][]byte{value}
	var document any
	if json.Unmarshal(value, &document) != nil {
		return found
	}
	var walk func(any)
	walk = func(value any) {
		switch value := value.(type) {
		case string:
			found = append(found, []byte(value))
			if decoded, err := base64.StdEncoding.DecodeString(value); err == nil {
				found = append(found, decoded)
			}
		case []any:
			for _, each := range value {
				walk(each)
			}
		case map[string]any:
			for _, each := range value {
				walk(each)
			}
		}
	}
	walk(document)
	return found
}

// What goes over the wire from plugin to Vault's log is text that people read.
func TestLogIsReadable(t *testing.T) {
	mount := softwareRoot(t, nil)
	read(t, mount+"/crl/rotate")
	until(t, "logging", func() bool { return strings.Contains(string(contents(t, vault.Log)), "CRL rebuilt") })
	for line := range strings.Lines(string(contents(t, vault.Log))) {
		require.NotRegexp(t, `[\x00-\x08\x0b-\x1f]|\\x[0-9a-f]{2}|\x{fffd}|number="?[0-9.]+e\+`, strings.TrimSuffix(line, "\n"))
		require.NotContains(t, line, "panic")
	}
}
