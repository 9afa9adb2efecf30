//go:build cgo

package keyring_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

// pkcs11Tool runs OpenSC's tool on a token.
func pkcs11Tool(t *testing.T, on *token.Token, args ...string) {
	t.Helper()
	args = append([]string{"--module", on.Module, "--token-label", on.Label, "--login", "--pin", on.PIN}, args...)
	out, err := exec.CommandContext(t.Context(), "pkcs11-tool", args...).CombinedOutput()
	require.NoError(t, err, "pkcs11-tool (package opensc): %s", out)
}

// free admits every key.
func free(context.Context, cert.Fingerprint) error { return nil }

func adopt(t *testing.T, ring *keyring.Ring, ask keyring.Adoption) (*keyring.Key, keyring.Adopted, error) {
	t.Helper()
	ask.Token = "t"
	if ask.Admit == nil {
		ask.Admit = free
	}
	return ring.Adopt(t.Context(), ask)
}

func TestAdopt_KeysOfOtherTools(t *testing.T) {
	store := kvtest.New()
	ring, made := withToken(t, store)
	pkcs11Tool(t, made, "--keypairgen", "--key-type", "EC:prime256v1", "--id", "4242", "--label", "legacy")
	pkcs11Tool(t, made, "--keypairgen", "--key-type", "rsa:2048", "--id", "4343", "--label", "legacy")
	pkcs11Tool(t, made, "--keypairgen", "--key-type", "EC:secp384r1", "--label", "without id")

	_, _, err := adopt(t, ring, keyring.Adoption{Label: "legacy"})
	require.True(t, fault.Is(err, fault.Conflict), "two keys have the label: %v", err)
	require.ErrorContains(t, err, "4242")
	require.ErrorContains(t, err, "4343")
	for _, none := range []keyring.Adoption{{ID: []byte{1}}, {Label: "none"}, {ID: []byte{0x42, 0x42}, Label: "other"}} {
		_, _, err = adopt(t, ring, none)
		require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	}

	for name, ask := range map[string]keyring.Adoption{
		"ec": {ID: []byte{0x42, 0x42}}, "rsa": {ID: []byte{0x43, 0x43}, Label: "legacy"}, "noid": {Label: "without id"},
	} {
		ask.Name = name
		key, did, err := adopt(t, ring, ask)
		require.NoError(t, err, name)
		require.Equal(t, keyring.NewKey, did)
		require.Equal(t, string(ask.ID), string(key.TokenID))
		require.NotNil(t, key.Evidence)
		checkSigns(t, ring, key)
		checkSigns(t, newRing(t, store), key)
		again, did, err := adopt(t, ring, ask)
		require.NoError(t, err, "%s: a retry", name)
		require.Equal(t, keyring.SameKey, did)
		require.Equal(t, key.ID, again.ID)
		require.True(t, fault.Is(ring.Destroy(t.Context(), key.ID), fault.Conflict), "what another tool made is not destroyed")
		checkSigns(t, ring, key)
	}
	_, _, err = adopt(t, ring, keyring.Adoption{ID: []byte{0x42, 0x42}, Name: "other"})
	require.NoError(t, err, "known under its earlier name")
}

func TestAdopt_ADeletedKeyComesBack(t *testing.T) {
	ring, _ := withToken(t, kvtest.New())
	for _, spec := range []cert.KeySpec{cert.P256, cert.Edwards25519} {
		key, err := ring.Generate(t.Context(), "ca", spec, "t")
		require.NoError(t, err)
		require.NoError(t, ring.Delete(t.Context(), key.ID))
		back, did, err := adopt(t, ring, keyring.Adoption{ID: key.TokenID, Name: "ca"})
		require.NoError(t, err)
		require.Equal(t, keyring.NewKey, did)
		require.Equal(t, key.SPKI, back.SPKI)
		checkSigns(t, ring, back)
		require.NoError(t, ring.Delete(t.Context(), back.ID))
	}
}

func TestAdopt_AKeyWhoseIDChangedIsFoundAgain(t *testing.T) {
	store := kvtest.New()
	ring, made := withToken(t, store)
	pkcs11Tool(t, made, "--keypairgen", "--key-type", "EC:prime256v1", "--id", "4242", "--label", "moving")
	key, _, err := adopt(t, ring, keyring.Adoption{ID: []byte{0x42, 0x42}})
	require.NoError(t, err)
	for _, half := range []string{"privkey", "pubkey"} {
		pkcs11Tool(t, made, "--set-id", "4444", "--type", half, "--id", "4242")
	}
	_, err = newRing(t, store).Signer(t.Context(), key.ID)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	moved, did, err := adopt(t, ring, keyring.Adoption{Label: "moving"})
	require.NoError(t, err)
	require.Equal(t, keyring.MovedKey, did)
	require.Equal(t, key.ID, moved.ID)
	checkSigns(t, ring, moved)
	checkSigns(t, newRing(t, store), moved)
}

// A certificate beside the private key tells its public key, as Java leaves them. What
// is beside it must belong to it.
func TestAdopt_ThePublicKeyIsProven(t *testing.T) {
	ring, made := withToken(t, kvtest.New())
	folder := t.TempDir()
	pkcs11Tool(t, made, "--keypairgen", "--key-type", "EC:prime256v1", "--id", "01", "--label", "java")
	spki := filepath.Join(folder, "spki.der")
	pkcs11Tool(t, made, "--read-object", "--type", "pubkey", "--id", "01", "--output-file", spki)
	raw, err := os.ReadFile(spki)
	require.NoError(t, err)
	own, err := x509.ParsePKIXPublicKey(raw)
	require.NoError(t, err)
	stranger, err := cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	put := func(name string, pub any) {
		template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "java"}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, pub, stranger)
		require.NoError(t, err)
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, der, 0o600))
		pkcs11Tool(t, made, "--write-object", path, "--type", "cert", "--id", "01", "--label", "java")
	}
	pkcs11Tool(t, made, "--delete-object", "--type", "pubkey", "--id", "01")
	_, _, err = adopt(t, ring, keyring.Adoption{ID: []byte{1}})
	require.True(t, fault.Is(err, fault.Conflict), "nothing tells its public key: %v", err)
	require.ErrorContains(t, err, "write-object")

	put("wrong.der", stranger.Public())
	_, _, err = adopt(t, ring, keyring.Adoption{ID: []byte{1}})
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.ErrorContains(t, err, "does not belong")
	pkcs11Tool(t, made, "--delete-object", "--type", "cert", "--id", "01")

	put("right.der", own)
	key, _, err := adopt(t, ring, keyring.Adoption{ID: []byte{1}})
	require.NoError(t, err)
	checkSigns(t, ring, key)
}

func TestHSM3_AdoptionStaysWithItsMount(t *testing.T) {
	store := kvtest.New()
	ring, made := withToken(t, store)
	key, err := ring.Generate(t.Context(), "", cert.P256, "t")
	require.NoError(t, err)
	elsewhere := kvtest.New()
	other := keyring.New(keyring.Config{Store: elsewhere, Mount: "another mount", Log: hclog.NewNullLogger()})
	t.Cleanup(other.Close)
	require.NoError(t, other.PutToken(t.Context(), "t", declare(made)))
	for _, ask := range []keyring.Adoption{{ID: key.TokenID}, {Label: "pki " + key.ID}} {
		_, _, err = adopt(t, other, ask)
		require.True(t, fault.Is(err, fault.Denied), "a key that another mount made: %v", err)
		require.ErrorContains(t, err, "from_other_mount")
	}
	taken, _, err := adopt(t, other, keyring.Adoption{ID: key.TokenID, FromOtherMount: true})
	require.NoError(t, err)
	checkSigns(t, other, taken)
	checkSigns(t, ring, key)

	// The record in the storage of a third mount opens nothing.
	third := kvtest.New()
	require.NoError(t, third.Put(t.Context(), layout.Key+taken.ID, elsewhere.Dump()[layout.Key+taken.ID]))
	thief := keyring.New(keyring.Config{Store: third, Mount: "third mount", Log: hclog.NewNullLogger()})
	t.Cleanup(thief.Close)
	require.NoError(t, thief.PutToken(t.Context(), "t", declare(made)))
	_, err = thief.Signer(t.Context(), taken.ID)
	require.True(t, fault.Is(err, fault.Denied), "%v", err)
}

func TestKey1_AKeyInATokenPassesTheGateToo(t *testing.T) {
	store := kvtest.New()
	ring, made := withToken(t, store)
	pkcs11Tool(t, made, "--keypairgen", "--key-type", "EC:prime256v1", "--id", "4242", "--label", "bad")
	refusal := fault.Field("key_id", "compromised")
	_, _, err := adopt(t, ring, keyring.Adoption{ID: []byte{0x42, 0x42}, Admit: func(context.Context, cert.Fingerprint) error { return refusal }})
	require.ErrorIs(t, err, refusal)
	keys, err := ring.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, keys)
}
