package attack_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

// secrets are octets that must not be seen, by what they are.
type secrets map[string][]byte

// addKey adds a private key given in PEM: its whole encoding and its secret number.
func (s secrets) addKey(t *testing.T, name, text string) {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	require.NotNil(t, block, name)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		key, err = x509.ParseECPrivateKey(block.Bytes)
	}
	require.NoError(t, err, name)
	scalar, err := key.(*ecdsa.PrivateKey).Bytes()
	require.NoError(t, err)
	s[name+", encoded"], s[name+", the number"] = block.Bytes, scalar
}

// found names the secrets that a text or a stored value holds in any usual spelling.
func (s secrets) found(haystack []byte) []string {
	plain := bytes.Join(bytes.Fields(bytes.ReplaceAll(haystack, []byte(`\n`), nil)), nil)
	var names []string
	for name, secret := range s {
		for at := range 3 { // base64 has three alignments
			whole := secret[at : at+(len(secret)-at)/3*3]
			if bytes.Contains(plain, []byte(base64.StdEncoding.EncodeToString(whole))) {
				names = append(names, name)
			}
		}
		spelled := hex.EncodeToString(secret)
		if bytes.Contains(haystack, secret) || bytes.Contains(bytes.ToLower(bytes.ReplaceAll(haystack, []byte(":"), nil)), []byte(spelled)) {
			names = append(names, name)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// visitor remembers everything that it was told.
type visitor struct {
	m     *pathstest.Mount
	heard map[string][]byte
}

func (v *visitor) do(t *testing.T, operation logical.Operation, path string, data body) pathstest.Answer {
	t.Helper()
	answer := v.m.Do(t, operation, path, data)
	said, err := json.Marshal([]any{answer.Data, answer.Errors, answer.Warnings})
	require.NoError(t, err)
	v.heard[fmt.Sprintf("%d: %s %s", len(v.heard), operation, path)] = append(said, answer.Body...)
	return answer
}

func (v *visitor) write(t *testing.T, path string, data body) pathstest.Answer {
	t.Helper()
	return v.do(t, logical.UpdateOperation, path, data)
}

// forget drops the last answer, which was to hold a secret.
func (v *visitor) forget(path string) {
	maps.DeleteFunc(v.heard, func(at string, _ []byte) bool {
		return strings.HasPrefix(at, fmt.Sprintf("%d: ", len(v.heard)-1)) && strings.HasSuffix(at, path)
	})
}

// stored returns every entry of the mount's storage by its key.
func stored(t *testing.T, m *pathstest.Mount) map[string][]byte {
	t.Helper()
	entries := map[string][]byte{}
	require.NoError(t, logical.ScanView(context.Background(), m.Storage, func(key string) {
		entry, err := m.Storage.Get(context.Background(), key)
		require.NoError(t, err)
		if entry != nil {
			entries[key] = entry.Value
		}
	}))
	require.NotEmpty(t, entries)
	return entries
}

var encodedText = regexp.MustCompile(`[A-Za-z0-9+/]{40,}={0,2}`)

// keysIn returns the private keys that stored values hold: those of CAs and of OCSP
// responders in software, which nobody must ever be shown.
func keysIn(entries map[string][]byte) secrets {
	found := secrets{}
	for key, value := range entries {
		for _, text := range encodedText.FindAll(value, -1) {
			der, err := base64.StdEncoding.DecodeString(string(text))
			if err != nil {
				continue
			}
			if parsed, err := x509.ParsePKCS8PrivateKey(der); err == nil {
				found["key in "+key] = der
				if ec, ok := parsed.(*ecdsa.PrivateKey); ok {
					if scalar, err := ec.Bytes(); err == nil {
						found["number in "+key] = scalar
					}
				}
			}
		}
	}
	return found
}

func newPrivateKey(t *testing.T) (text string, key crypto.Signer) {
	t.Helper()
	made := newKey(t)
	der, err := x509.MarshalPKCS8PrivateKey(made)
	require.NoError(t, err)
	return encode("PRIVATE KEY", der), made
}

// A tour of the whole engine, with every secret that a client or an operator can
// hand in or be handed once; then a look at everything that it said and kept.
func TestKey2_NoSecretIsKeptOrToldTwice(t *testing.T) {
	k := token.New(t, "issuing")
	const pin = "hunter2-wrong-pin"
	m := pathstest.InProcess(t)
	v := &visitor{m, map[string][]byte{}}
	fleeting, hidden := secrets{}, secrets{"right PIN": []byte(k.PIN), "wrong PIN": []byte(pin)}

	withRoot(t, m)
	v.write(t, "hsm/main", body{"module": k.Module, "token_label": "issuing", "pin": k.PIN}).Expect(http.StatusOK)
	v.write(t, "hsm/bad", body{"module": k.Module, "token_label": "issuing", "pin": pin})
	v.write(t, "hsm/bad", body{"module": pin, "token_label": pin + pin, "pin": pin, "max_sessions": pin})
	v.write(t, "keys/generate/kms", body{"hsm": "main", "key_type": "ec", "key_name": "in-token"}).Expect(http.StatusOK)
	v.write(t, "root/generate/existing", body{"common_name": "Token Root", "key_ref": "in-token"}).Expect(http.StatusOK)

	for _, form := range []body{{}, {"private_key_format": "pkcs8"}, {"format": "pem_bundle"}} {
		answer := v.write(t, "issue/web", form.with(body{"common_name": "a.example.com", "metadata": body{"a": "b"}})).Expect(http.StatusOK)
		v.forget("issue/web")
		fleeting.addKey(t, fmt.Sprintf("issued %v", form), answer.Text("private_key"))
	}
	for _, path := range []string{"issuer/default/issue/web", "issuer/root/issue/web"} {
		answer := v.write(t, path, body{"common_name": "a.example.com"}).Expect(http.StatusOK)
		v.forget(path)
		fleeting.addKey(t, path, answer.Text("private_key"))
		refused, _ := newPrivateKey(t)
		v.write(t, "revoke-with-key", body{"serial_number": answer.Text("serial_number"), "private_key": refused}).Expect(http.StatusBadRequest)
		v.write(t, "revoke-with-key", body{"serial_number": answer.Text("serial_number"), "private_key": answer.Text("private_key")}).Expect(http.StatusOK)
		fleeting.addKey(t, "refused for "+path, refused)
	}
	exported := v.write(t, "keys/generate/exported", body{"key_type": "ec", "key_name": "out"}).Expect(http.StatusOK)
	v.forget("keys/generate/exported")
	hidden.addKey(t, "exported", exported.Text("private_key"))
	imported, _ := newPrivateKey(t)
	hidden.addKey(t, "imported", imported)
	v.write(t, "keys/import", body{"pem_bundle": imported, "key_name": "in"}).Expect(http.StatusOK)
	v.write(t, "keys/import", body{"pem_bundle": imported}).Expect(http.StatusOK)

	// Secrets in fields that are not for them, and requests that fail.
	stray, key := newPrivateKey(t)
	fleeting.addKey(t, "stray", stray)
	unwrapped := strings.Join(strings.Split(stray, "\n")[1:4], "")
	for _, text := range []string{stray, unwrapped, stray + "x", strings.Replace(stray, "PRIVATE", "ENCRYPTED PRIVATE", 2), "-----BEGIN " + unwrapped} {
		for path, name := range map[string]string{
			"sign/web": "csr", "sign/web/batch": "requests", "root/sign-intermediate": "csr", "intermediate/set-signed": "certificate",
			"issuers/import/cert": "pem_bundle", "revoke": "certificate", "hsm/x": "module", "keys/generate/internal": "key_type",
			"roles/x": "key_type", "profiles/x": "kind", "config/crl": "expiry", "config/issuers": "default", "issuer/root": "usage",
			"revoke-with-key": "private_key", "ocsp/x": "req", "cert/x": "serial",
		} {
			v.write(t, path, body{name: text})
		}
		v.write(t, "sign/web/batch", body{"requests": []any{body{"csr": text}}})
	}
	v.write(t, "sign/web", body{"csr": csrForKey(t, key)}).Expect(http.StatusOK)
	everyRead(t, v)
	restart(t, m)
	everyRead(t, v)
	m.Delete(t, "key/out").OK()

	entries := stored(t, m)
	for at, value := range entries {
		require.Empty(t, fleeting.found(value), "storage entry %s", at)
	}
	inStorage := keysIn(entries)
	require.NotEmpty(t, inStorage, "the root's key is there, or this test looks wrongly")
	for _, all := range []secrets{fleeting, hidden, inStorage} {
		for at, said := range v.heard {
			require.Empty(t, all.found(said), "answer %s", at)
		}
		require.Empty(t, all.found([]byte(m.Log.String())), "log")
	}
	require.NotEmpty(t, fleeting.found([]byte(stray)), "a secret in plain sight is found")
}

// everyRead reads and lists everything that the API description names.
func everyRead(t *testing.T, v *visitor) {
	t.Helper()
	serials := v.do(t, logical.ListOperation, "certs/", nil).Texts("keys")
	for _, d := range described(t, v.m) {
		for _, name := range []string{"root", "web", "in", "in-token", "main", "default", "tls-server", strings.ReplaceAll(serials[0], ":", "-")} {
			path := d.path(name)
			for _, operation := range []logical.Operation{logical.ReadOperation, logical.ListOperation, logical.HelpOperation} {
				v.do(t, operation, path, nil)
			}
			v.do(t, logical.ListOperation, path+"/", nil)
		}
	}
}
