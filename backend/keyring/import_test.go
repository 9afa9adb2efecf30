package keyring_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
)

// pemOf encodes a private key as a PEM block.
func pemOf(kind string, der []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestImport(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	pkcs8, err8 := x509.MarshalPKCS8PrivateKey(edKey)
	ring := newRing(t, kvtest.New())
	for _, row := range []struct{ name, text string }{
		{"pkcs1", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil)},
		{"sec1", pemOf("EC PRIVATE KEY", sec1, err)},
		{"pkcs8", pemOf("PRIVATE KEY", pkcs8, err8)},
		{"openssl-genpkey", openssl(t, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")},
		{"openssl-ecparam", openssl(t, "ecparam", "-name", "secp521r1", "-genkey")},
		{"openssl-genrsa", openssl(t, "genrsa", "-traditional", "2048")},
	} {
		key, existing, err := ring.Import(t.Context(), row.name, []byte(row.text))
		require.NoError(t, err, row.name)
		require.False(t, existing)
		checkSigns(t, ring, key)
		again, existing, err := ring.Import(t.Context(), "another-name", []byte(row.text))
		require.NoError(t, err)
		require.True(t, existing)
		require.Equal(t, key, again)
		_, err = ring.Export(t.Context(), key.ID)
		require.True(t, fault.Is(err, fault.Denied), "an imported key never leaves: %v", err)
	}
}

// openssl runs openssl and returns what it printed.
func openssl(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl was not found: install the Debian package openssl")
	}
	out, err := exec.CommandContext(t.Context(), path, args...).Output()
	require.NoError(t, err)
	return string(out)
}

func TestImportRefuses(t *testing.T) {
	good := openssl(t, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
	block, _ := pem.Decode([]byte(good))
	broken := bytes.Clone(block.Bytes)
	broken = broken[:len(broken)-1]
	ring := newRing(t, kvtest.New())
	for name, row := range map[string]struct {
		text string
		kind fault.Kind
	}{
		"nothing":          {"", fault.Invalid},
		"no PEM":           {"hello", fault.Invalid},
		"two keys":         {good + good, fault.Invalid},
		"certificate":      {pemOf("CERTIFICATE", []byte{0x30, 0}, nil), fault.Invalid},
		"public key":       {pemOf("PUBLIC KEY", []byte{0x30, 0}, nil), fault.Invalid},
		"truncated":        {pemOf("PRIVATE KEY", broken, nil), fault.Invalid},
		"encrypted":        {openssl(t, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256", "-pass", "pass:x"), fault.Invalid},
		"encrypted, old":   {openssl(t, "genrsa", "-traditional", "-aes256", "-passout", "pass:x", "2048"), fault.Invalid},
		"RSA-1024":         {openssl(t, "genrsa", "1024"), fault.Invalid},
		"RSA, exponent 3":  {openssl(t, "genrsa", "-3", "2048"), fault.Invalid},
		"P-224":            {openssl(t, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-224"), fault.Invalid},
		"X25519":           {openssl(t, "genpkey", "-algorithm", "X25519"), fault.Invalid},
		"Ed448":            {openssl(t, "genpkey", "-algorithm", "ED448"), fault.Invalid},
		"explicit curve":   {openssl(t, "ecparam", "-name", "prime256v1", "-genkey", "-param_enc", "explicit", "-noout"), fault.Invalid},
		"enormous":         {good + strings.Repeat("x", 16<<10), fault.TooLarge},
		"name is taken up": {good, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			keyName := "k"
			if name == "name is taken up" {
				keyName = "default"
			}
			_, _, err := ring.Import(t.Context(), keyName, []byte(row.text))
			require.True(t, fault.Is(err, row.kind), "%v", err)
			if len(row.text) > 80 {
				require.NotContains(t, err.Error(), row.text[60:80])
			}
		})
	}
	keys, err := ring.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, keys)
}
