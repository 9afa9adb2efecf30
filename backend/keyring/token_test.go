//go:build cgo

package keyring_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/test/token"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// declare is the config that an operator would write for a token.
func declare(made *token.Token) keyring.TokenConfig {
	return keyring.TokenConfig{Module: made.Module, TokenSerial: made.Serial, PIN: made.PIN}
}

// withToken returns a ring with a token "t".
func withToken(t *testing.T, store *kvtest.Store) (*keyring.Ring, *token.Token) {
	t.Helper()
	made := token.New(t, "ring")
	ring := newRing(t, store)
	require.NoError(t, ring.PutToken(t.Context(), "t", declare(made)))
	return ring, made
}

// direct opens a token beside the ring.
func direct(t *testing.T, made *token.Token) *hsm.Token {
	t.Helper()
	opened, err := hsm.Open(t.Context(), hsm.Config{Module: made.Module, TokenSerial: made.Serial, PIN: made.PIN})
	require.NoError(t, err)
	t.Cleanup(opened.Close)
	return opened
}

func TestTokenKeys(t *testing.T) {
	store := kvtest.New()
	ring, made := withToken(t, store)
	_, err := ring.Generate(t.Context(), "first", cert.P256, "")
	require.NoError(t, err)
	for _, spec := range []cert.KeySpec{cert.RSA2048, cert.P256, cert.Edwards25519} {
		store.Reset()
		key, err := ring.Generate(t.Context(), spec.String(), spec, "t")
		require.NoError(t, err)
		require.Equal(t, kvtest.Counts{Puts: 1}, store.Counts())
		require.Equal(t, "t", key.Token)
		require.Len(t, key.TokenID, 24)
		require.Equal(t, &hsm.Evidence{Local: true, AlwaysSensitive: true, NeverExtractable: true, Sensitive: true}, key.Evidence)
		require.NotContains(t, string(store.Dump()[layout.Key+key.ID]), "pkcs8")
		checkSigns(t, ring, key)
		store.Reset()
		checkSigns(t, ring, key)
		require.Zero(t, store.Counts().Total(), "a warm signer of a token key")
		checkSigns(t, newRing(t, store), key)
		_, err = ring.Export(t.Context(), key.ID)
		require.True(t, fault.Is(err, fault.Denied), "%v", err)
	}
	pairs, err := direct(t, made).List(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, pairs, 3)
	_, err = ring.Generate(t.Context(), "", cert.P256, "no such token")
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func TestTokenConfigs(t *testing.T) {
	store := kvtest.New()
	ring, made := withToken(t, store)
	config, err := ring.GetToken(t.Context(), "t")
	require.NoError(t, err)
	require.Equal(t, &keyring.TokenConfig{Module: made.Module, TokenSerial: made.Serial}, config, "the PIN is write-only")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(verb, declare(made)), made.PIN)
		require.NotContains(t, fmt.Sprintf(verb, hsm.Config{PIN: made.PIN}), made.PIN)
	}
	_, err = ring.GetToken(t.Context(), "nothing")
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)

	kept := declare(made)
	kept.PIN, kept.MaxSessions = "", 16
	require.NoError(t, ring.PutToken(t.Context(), "t", kept), "the earlier PIN is kept")
	config, err = newRing(t, store).GetToken(t.Context(), "t")
	require.NoError(t, err)
	require.Equal(t, 16, config.MaxSessions)
	key, err := newRing(t, store).Generate(t.Context(), "", cert.P256, "t")
	require.NoError(t, err)
	ring.Invalidate()

	other := token.New(t, "other")
	elsewhere := declare(other)
	elsewhere.PIN = ""
	err = ring.PutToken(t.Context(), "t", elsewhere)
	require.True(t, fault.Is(err, fault.Invalid), "a PIN is not shown to another token: %v", err)
	require.Equal(t, "pin", fault.FieldOfError(err))
	err = ring.PutToken(t.Context(), "t", declare(other))
	require.True(t, fault.Is(err, fault.Conflict), "its keys are not there: %v", err)
	checkSigns(t, ring, key)

	err = ring.PutToken(t.Context(), "evil", keyring.TokenConfig{Module: "/tmp/evil.so", TokenLabel: "x", PIN: "y"})
	require.True(t, fault.Is(err, fault.Denied), "%v", err)
	for _, name := range []string{"", "a/b"} {
		require.True(t, fault.Is(ring.PutToken(t.Context(), name, declare(made)), fault.Invalid))
	}
	names, err := ring.ListTokens(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"t"}, names)

	require.True(t, fault.Is(ring.DeleteToken(t.Context(), "t"), fault.Conflict))
	require.NoError(t, ring.Delete(t.Context(), key.ID))
	require.NoError(t, ring.DeleteToken(t.Context(), "t"))
	require.NoError(t, ring.DeleteToken(t.Context(), "t"), "twice")
	names, err = ring.ListTokens(t.Context())
	require.NoError(t, err)
	require.Empty(t, names)
	_, err = ring.TokenStatus(t.Context(), "t")
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func TestTokenThatMovedKeepsItsKeys(t *testing.T) {
	store := kvtest.New()
	ring, made := withToken(t, store)
	key, err := ring.Generate(t.Context(), "", cert.P256, "t")
	require.NoError(t, err)
	signer, err := ring.Signer(t.Context(), key.ID)
	require.NoError(t, err)
	renamed := declare(made)
	renamed.TokenSerial, renamed.TokenLabel = "", made.Label
	require.NoError(t, ring.PutToken(t.Context(), "t", renamed))
	require.NoError(t, signs(signer), "handed out before the token was declared anew")
	checkSigns(t, ring, key)
}

func TestHSM1_UnreachableTokenCostsOnlyItsOwnKeys(t *testing.T) {
	store := kvtest.New()
	ring, made := withToken(t, store)
	hard, err := ring.Generate(t.Context(), "hard", cert.P256, "t")
	require.NoError(t, err)
	soft, err := ring.Generate(t.Context(), "soft", cert.P256, "")
	require.NoError(t, err)
	held, err := ring.Signer(t.Context(), hard.ID)
	require.NoError(t, err)
	ring.Close()
	require.True(t, fault.Is(signs(held), fault.Unavailable), "a closed mount signs no more")

	// The next process finds an empty token directory.
	away := filepath.Join(t.TempDir(), "empty.conf")
	tokens := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.Mkdir(tokens, 0o700))
	require.NoError(t, os.WriteFile(away, []byte("directories.tokendir = "+tokens+"\n"), 0o600))
	t.Setenv("SOFTHSM2_CONF", away)
	ring = newRing(t, store)
	before := store.Dump()
	keys, err := ring.List(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 2)
	checkSigns(t, ring, soft)
	for range 3 {
		_, err = ring.Signer(t.Context(), hard.ID)
		require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
		_, err = ring.Generate(t.Context(), "instead", cert.P256, "t")
		require.True(t, fault.Is(err, fault.Unavailable), "no software instead: %v", err)
	}
	require.Equal(t, before, store.Dump())
	status, err := ring.TokenStatus(t.Context(), "t")
	require.NoError(t, err)
	require.False(t, status.Reachable)
	require.NotEmpty(t, status.LastError)
	require.Equal(t, noon, status.LastErrorAt)

	// It comes back, and nobody restarts anything.
	t.Setenv("SOFTHSM2_CONF", made.Config)
	wait.Until(t, "the token signs again", func() bool {
		signer, err := ring.Signer(t.Context(), hard.ID)
		return err == nil && signs(signer) == nil
	})
	status, err = ring.TokenStatus(t.Context(), "t")
	require.NoError(t, err)
	require.True(t, status.Reachable)
}

func TestHSM1_WrongPINLatchesUntilAnOperatorWrites(t *testing.T) {
	store := kvtest.New()
	var log bytes.Buffer
	made := token.New(t, "pin")
	ring := keyring.New(keyring.Config{Store: store, Mount: "m", Log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace})})
	wrong := declare(made)
	wrong.PIN = "wrong-secret"
	err := ring.PutToken(t.Context(), "t", wrong)
	require.True(t, fault.Is(err, fault.Denied), "%v", err)
	require.ErrorIs(t, err, hsm.ErrWrongPIN)
	require.NotContains(t, err.Error(), wrong.PIN)
	require.Empty(t, store.Dump(), "a config that does not work is not written")

	require.NoError(t, ring.PutToken(t.Context(), "t", declare(made)))
	key, err := ring.Generate(t.Context(), "", cert.P256, "t")
	require.NoError(t, err)
	ring.Close()

	// Somebody changes the PIN at the token.
	change := exec.Command("pkcs11-tool", "--module", made.Module, "--token-label", made.Label,
		"--login", "--pin", made.PIN, "--change-pin", "--new-pin", "changed-1")
	out, err := change.CombinedOutput()
	if err != nil {
		t.Fatalf("pkcs11-tool failed (%v: %s): install the Debian package opensc", err, out)
	}
	ring = mounted(t, store, "m")
	for range 5 {
		_, err = ring.Signer(t.Context(), key.ID)
		require.True(t, fault.Is(err, fault.Denied), "%v", err)
	}
	status, err := ring.TokenStatus(t.Context(), "t")
	require.NoError(t, err)
	require.True(t, status.PINLatched)
	require.False(t, status.Reachable)
	kept := declare(made)
	kept.PIN = ""
	require.True(t, fault.Is(ring.PutToken(t.Context(), "t", kept), fault.Denied), "keeping the PIN is not offering it again")
	right := declare(made)
	right.PIN = "changed-1"
	require.NoError(t, ring.PutToken(t.Context(), "t", right))
	checkSigns(t, ring, key)
	status, err = ring.TokenStatus(t.Context(), "t")
	require.NoError(t, err)
	require.False(t, status.PINLatched)
	for _, pin := range []string{made.PIN, wrong.PIN, right.PIN} {
		require.NotContains(t, log.String(), pin)
	}
}

func TestHSM2_LostKeyIsNeverMadeAgain(t *testing.T) {
	store := kvtest.New()
	ring, made := withToken(t, store)
	key, err := ring.Generate(t.Context(), "ca", cert.P256, "t")
	require.NoError(t, err)
	signer, err := ring.Signer(t.Context(), key.ID)
	require.NoError(t, err)
	opened := direct(t, made)
	require.NoError(t, opened.Destroy(t.Context(), key.TokenID))
	// A foreign key with the same label does not stand in.
	_, _, err = opened.Generate(t.Context(), cert.P256, []byte("foreign"), "pki "+key.ID)
	require.NoError(t, err)
	fresh := newRing(t, store)
	before := store.Dump()
	_, err = fresh.Signer(t.Context(), key.ID)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	err = signs(signer)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)

	// Nor does one under the same CKA_ID.
	_, _, err = opened.Generate(t.Context(), cert.P256, key.TokenID, "pki "+key.ID)
	require.NoError(t, err)
	for _, each := range []*keyring.Ring{fresh, newRing(t, store)} {
		_, err = each.Signer(t.Context(), key.ID)
		require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	}
	err = signs(signer)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.Equal(t, before, store.Dump())
}

func TestHSM3_KeysOfAnotherMountAreRefused(t *testing.T) {
	mine, theirs := kvtest.New(), kvtest.New()
	ring, made := withToken(t, mine)
	key, err := ring.Generate(t.Context(), "ca", cert.P256, "t")
	require.NoError(t, err)
	other := mounted(t, theirs, "mount-b")
	require.NoError(t, other.PutToken(t.Context(), "t", declare(made)), "two mounts share a token")
	foreign, err := other.Generate(t.Context(), "ca", cert.P256, "t")
	require.NoError(t, err)
	require.NotEqual(t, key.TokenID[:8], foreign.TokenID[:8])

	// The record of one mount in the storage of the other.
	require.NoError(t, theirs.Put(t.Context(), layout.Key+key.ID, mine.Dump()[layout.Key+key.ID]))
	other.Invalidate()
	_, err = other.Signer(t.Context(), key.ID)
	require.True(t, fault.Is(err, fault.Denied), "%v", err)
	require.True(t, fault.Is(other.Destroy(t.Context(), key.ID), fault.Denied))
	swept, err := other.Sweep(t.Context(), "t")
	require.NoError(t, err)
	require.Equal(t, keyring.Swept{Examined: 1}, swept)
	checkSigns(t, ring, key)
	checkSigns(t, other, foreign)

	// Nor can the id be forged: it is bound to the mount that reads it.
	var whole map[string]any
	require.NoError(t, json.Unmarshal(mine.Dump()[layout.Key+key.ID], &whole))
	whole["r"].(map[string]any)["token_id"] = foreign.TokenID
	text, err := json.Marshal(whole)
	require.NoError(t, err)
	require.NoError(t, mine.Put(t.Context(), layout.Key+key.ID, text))
	ring.Invalidate()
	_, err = ring.Signer(t.Context(), key.ID)
	require.True(t, fault.Is(err, fault.Denied), "%v", err)

	nameless := mounted(t, mine, "")
	_, err = nameless.Generate(t.Context(), "", cert.P256, "t")
	require.True(t, fault.Is(err, fault.Internal), "%v", err)
}

func TestDestroyProvesAbsence(t *testing.T) {
	store := kvtest.New()
	ring, made := withToken(t, store)
	key, err := ring.Generate(t.Context(), "", cert.P256, "t")
	require.NoError(t, err)
	soft, err := ring.Generate(t.Context(), "", cert.P256, "")
	require.NoError(t, err)
	// Lost after the token's part: it is done again from there.
	store.Break(1, kvtest.LoseWrite)
	require.Error(t, ring.Destroy(t.Context(), key.ID))
	_, err = newRing(t, store).Signer(t.Context(), key.ID)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	require.NoError(t, ring.Destroy(t.Context(), key.ID))
	require.NoError(t, ring.Destroy(t.Context(), soft.ID))
	pairs, err := direct(t, made).List(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, pairs)
	keys, err := ring.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, keys)
	require.True(t, fault.Is(ring.Destroy(t.Context(), key.ID), fault.NotFound))
}

func TestCrash1_GenerateInATokenLeavesWhatSweepFinds(t *testing.T) {
	store := kvtest.New()
	ring, made := withToken(t, store)
	kept, err := ring.Generate(t.Context(), "kept", cert.P256, "t")
	require.NoError(t, err)
	store.Break(1, kvtest.LoseWrite)
	_, err = ring.Generate(t.Context(), "lost", cert.P256, "t")
	require.ErrorIs(t, err, kvtest.ErrLost)
	_, err = ring.List(t.Context())
	require.NoError(t, err)
	store.Break(1, kvtest.LoseAnswer)
	_, err = ring.Generate(t.Context(), "answered", cert.P256, "t")
	require.ErrorIs(t, err, kvtest.ErrLost)
	answered, err := ring.Get(t.Context(), "answered")
	require.NoError(t, err, "written after all")
	checkSigns(t, ring, answered)

	// What a process killed during generation leaves: a public key alone.
	prefix := fmt.Sprintf("%x", kept.TokenID[:8])
	importPublic(t, made, prefix+"00")
	importPublic(t, made, "00"+prefix)

	swept, err := ring.Sweep(t.Context(), "t")
	require.NoError(t, err)
	require.Equal(t, 4, swept.Examined)
	require.Len(t, swept.Unnamed, 1)
	require.Equal(t, [][]byte{append(bytes.Clone(kept.TokenID[:8]), 0)}, swept.Removed)
	again, err := ring.Sweep(t.Context(), "t")
	require.NoError(t, err)
	require.Equal(t, keyring.Swept{Unnamed: swept.Unnamed, Examined: 3}, again)
	pairs, err := direct(t, made).List(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, pairs, 4, "what is not ours is left alone")
	checkSigns(t, ring, kept)
	checkSigns(t, ring, answered)
	_, err = ring.Generate(t.Context(), "lost", cert.P256, "t")
	require.NoError(t, err)
}

// importPublic puts a public key alone into a token.
func importPublic(t *testing.T, made *token.Token, id string) {
	t.Helper()
	dir := t.TempDir()
	private, public := filepath.Join(dir, "private"), filepath.Join(dir, "public")
	require.NoError(t, os.WriteFile(private, []byte(openssl(t, "genrsa", "2048")), 0o600))
	openssl(t, "rsa", "-in", private, "-pubout", "-outform", "DER", "-out", public)
	cmd := exec.Command("pkcs11-tool", "--module", made.Module, "--token-label", made.Label, "--login", "--pin", made.PIN,
		"--write-object", public, "--type", "pubkey", "--id", id, "--label", strings.Repeat("x", 3))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("pkcs11-tool failed (%v: %s): install the Debian package opensc", err, out)
	}
}
