package signer_test

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/edge/config"
	"vault-plugin-secrets-enterprise-pki/edge/disk"
	"vault-plugin-secrets-enterprise-pki/edge/signer"
	"vault-plugin-secrets-enterprise-pki/edge/state"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

// tokenBench returns keys in a token.
func tokenBench(t *testing.T) (*bench, *token.Token) {
	t.Helper()
	k := token.New(t, "edge")
	t.Setenv("PKI_PKCS11_MODULES", k.Module)
	pin := filepath.Join(t.TempDir(), "pin")
	require.NoError(t, os.WriteFile(pin, []byte(token.PIN+"\n"), 0o600))
	return newBench(t, config.Signer{Key: config.KeyInToken, PKCS11: config.PKCS11{Module: k.Module, TokenLabel: k.Label, PINFile: pin}}), k
}

// TestCrash1_KeysThatAKilledEdgeLeftAreDestroyed goes on with the folder as it was
// while a key was being certified, as if the process had been killed then: made, in use
// nowhere, and on no record but the inventory.
func TestCrash1_KeysThatAKilledEdgeLeftAreDestroyed(t *testing.T) {
	b, k := tokenBench(t)
	other, reference, err := b.store.Make(t.Context(), func(string) {}) // of an edge with the same name
	require.NoError(t, err)
	before := filepath.Join(t.TempDir(), "before")
	b.Keys = signer.New(signer.Config{
		Certifier: certifier(func(csr string) (*x509.Certificate, error) {
			require.Len(t, pairs(t, k), 2)
			require.NoError(t, os.CopyFS(before, os.DirFS(b.dir)))
			return b.mount.SignResponder(context.Background(), edgemount.Issuer, csr)
		}),
		Folder: b.folder, Store: b.store, Now: b.Now,
	})
	b.prepare()
	left := b.certificate()
	require.NotNil(t, left)

	b.folder, err = disk.Open(before)
	require.NoError(t, err)
	b.restart()
	b.prepare()
	require.NotEqual(t, left.Raw, b.certificate().Raw)
	require.Len(t, pairs(t, k), 2, "the other edge's and the new one")
	_, err = b.store.Find(t.Context(), reference, other.Public())
	require.NoError(t, err)
	for range 3 { // nothing that is in use goes, now or later
		b.now = b.now.Add(5 * day)
		b.restart()
		b.prepare()
		b.prepare()
		require.Len(t, pairs(t, k), 2)
	}
}

// TestSweep_KeyOfAnIssuerThatIsGone: the issuer went while the edge was down.
func TestSweep_KeyOfAnIssuerThatIsGone(t *testing.T) {
	b, k := tokenBench(t)
	b.prepare()
	require.Len(t, pairs(t, k), 1)
	b.snapshot = &state.Snapshot{}
	b.restart()
	b.prepare()
	require.Len(t, pairs(t, k), 1, "nothing is known yet")
	b.snapshot = &state.Snapshot{Issuers: []*state.Issuer{}}
	b.prepare()
	require.Empty(t, pairs(t, k))
}

// TestSweep_DamagedInventoryCostsNoSigner: keys in use are known by their records.
func TestSweep_DamagedInventoryCostsNoSigner(t *testing.T) {
	b, k := tokenBench(t)
	b.prepare()
	first := b.certificate()
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "token-keys.json"), []byte("{}"), 0o600))
	b.restart()
	b.prepare()
	require.Equal(t, first.Raw, b.certificate().Raw)
	require.Len(t, pairs(t, k), 1)
}

// TestSweep_NothingIsNotedOfKeysInFiles: their references are the keys.
func TestSweep_NothingIsNotedOfKeysInFiles(t *testing.T) {
	for _, place := range []string{config.KeyInFile, config.KeyInMemory} {
		b := newBench(t, config.Signer{Key: place})
		b.prepare()
		require.NotNil(t, b.certificate())
		require.NoFileExists(t, filepath.Join(b.dir, "token-keys.json"))
	}
}
