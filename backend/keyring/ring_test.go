package keyring_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// noon is the time of all tests.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newRing returns a ring of the mount "mount-a".
func newRing(t *testing.T, store *kvtest.Store) *keyring.Ring {
	t.Helper()
	return mounted(t, store, "mount-a")
}

// mounted returns the ring of a mount.
func mounted(t *testing.T, store *kvtest.Store, mount string) *keyring.Ring {
	t.Helper()
	ring := keyring.New(keyring.Config{
		Store: store, Log: hclog.NewNullLogger(), Mount: mount, Now: func() time.Time { return noon },
	})
	t.Cleanup(ring.Close)
	return ring
}

// checkSigns signs with a key of the ring and verifies with the standard library.
func checkSigns(t *testing.T, ring *keyring.Ring, key *keyring.Key) {
	t.Helper()
	signer, err := ring.Signer(t.Context(), key.ID)
	require.NoError(t, err)
	require.NoError(t, signs(signer))
	pub, err := key.Public()
	require.NoError(t, err)
	require.True(t, cert.Equal(pub, signer.Public()))
}

// signs makes a certificate with the signer, which the standard library verifies.
func signs(signer crypto.Signer) error {
	template := &x509.CertificateRequest{}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, signer)
	if err != nil {
		return err
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	return request.CheckSignature()
}

func TestGenerateEachSpec(t *testing.T) {
	store := kvtest.New()
	ring := newRing(t, store)
	for _, spec := range cert.KeySpecs() {
		t.Run(spec.String(), func(t *testing.T) {
			key, err := ring.Generate(t.Context(), "key-"+spec.String(), spec, "")
			require.NoError(t, err)
			require.Equal(t, spec, key.Spec)
			require.Equal(t, noon.Unix(), key.CreatedAt)
			require.Empty(t, key.Token)
			require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, key.ID)
			checkSigns(t, ring, key)
			checkSigns(t, newRing(t, store), key)
		})
	}
	_, err := ring.Generate(t.Context(), "", cert.KeySpec{Type: cert.RSA, Bits: 1024}, "")
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
}

func TestReferences(t *testing.T) {
	ring := newRing(t, kvtest.New())
	key, err := ring.Generate(t.Context(), "issuing", cert.P256, "")
	require.NoError(t, err)
	other, err := ring.Generate(t.Context(), "", cert.P256, "")
	require.NoError(t, err)

	for _, ref := range []string{key.ID, "issuing"} {
		found, err := ring.Get(t.Context(), ref)
		require.NoError(t, err)
		require.Equal(t, key, found)
	}
	for _, ref := range []string{"", "Issuing", "issuing ", "nothing"} {
		_, err = ring.Get(t.Context(), ref)
		require.True(t, fault.Is(err, fault.NotFound), "%q: %v", ref, err)
	}
	chosen, err := ring.DefaultKey(t.Context())
	require.NoError(t, err)
	require.Equal(t, key.ID, chosen, "the first key is the default")
	chosen, err = ring.SetDefaultKey(t.Context(), other.ID)
	require.NoError(t, err)
	require.Equal(t, other.ID, chosen)
	chosen, err = ring.SetDefaultKey(t.Context(), "issuing")
	require.NoError(t, err)
	require.Equal(t, key.ID, chosen)
	found, err := ring.Get(t.Context(), "default")
	require.NoError(t, err)
	require.Equal(t, key.ID, found.ID)
	_, err = ring.SetDefaultKey(t.Context(), "nothing")
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)

	require.NoError(t, ring.Delete(t.Context(), key.ID))
	chosen, err = ring.DefaultKey(t.Context())
	require.NoError(t, err)
	require.Empty(t, chosen, "a deleted key is no default")
	_, err = ring.Get(t.Context(), "default")
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	_, err = ring.Signer(t.Context(), key.ID)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	require.NoError(t, ring.Delete(t.Context(), key.ID), "twice")

	next, err := ring.Generate(t.Context(), "next", cert.P256, "")
	require.NoError(t, err)
	chosen, err = ring.DefaultKey(t.Context())
	require.NoError(t, err)
	require.Equal(t, next.ID, chosen, "the first key while there is no default")

	pub, err := other.Public()
	require.NoError(t, err)
	found, err = ring.FindPublic(t.Context(), pub)
	require.NoError(t, err)
	require.Equal(t, other, found)
	pub, err = key.Public()
	require.NoError(t, err)
	found, err = ring.FindPublic(t.Context(), pub)
	require.NoError(t, err)
	require.Nil(t, found)
}

func TestNames(t *testing.T) {
	ring := newRing(t, kvtest.New())
	first, err := ring.Generate(t.Context(), "issuing", cert.P256, "")
	require.NoError(t, err)
	second, err := ring.Generate(t.Context(), "", cert.P256, "")
	require.NoError(t, err)
	for _, row := range []struct {
		name string
		kind fault.Kind
	}{
		{"issuing", fault.Conflict},
		{"ISSUING", fault.Conflict},
		{"default", fault.Invalid},
		{"Default", fault.Invalid},
		{first.ID, fault.Invalid},
		{"a/b", fault.Invalid},
		{"..", fault.Invalid},
		{".hidden", fault.Invalid},
		{"end.", fault.Invalid},
		{"-x", fault.Invalid},
		{"a b", fault.Invalid},
		{"a\n", fault.Invalid},
		{"naïve", fault.Invalid},
		{strings.Repeat("a", 129), fault.Invalid},
	} {
		_, err := ring.Generate(t.Context(), row.name, cert.P256, "")
		require.True(t, fault.Is(err, row.kind), "%q: %v", row.name, err)
		require.Equal(t, "key_name", fault.FieldOfError(err))
		_, err = ring.Rename(t.Context(), second.ID, row.name)
		require.True(t, fault.Is(err, row.kind), "%q: %v", row.name, err)
	}
	for _, name := range []string{"a", strings.Repeat("a", 128), "A.b-c_d", ""} {
		renamed, err := ring.Rename(t.Context(), second.ID, name)
		require.NoError(t, err)
		require.Equal(t, name, renamed.Name)
	}
	renamed, err := ring.Rename(t.Context(), first.ID, "Issuing")
	require.NoError(t, err, "its own name in other case")
	require.Equal(t, "Issuing", renamed.Name)
	_, err = ring.Rename(t.Context(), second.ID, "issuing")
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	_, err = ring.Rename(t.Context(), "nothing", "x")
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	checkSigns(t, ring, first)
}

func TestOneNameUnderConcurrency(t *testing.T) {
	ring := newRing(t, kvtest.New())
	var wait sync.WaitGroup
	var won sync.Map
	for i := range 16 {
		wait.Go(func() {
			if key, err := ring.Generate(t.Context(), "wanted", cert.P256, ""); err == nil {
				won.Store(i, key)
			} else if !fault.Is(err, fault.Conflict) {
				t.Errorf("losing a name: %v", err)
			}
		})
	}
	wait.Wait()
	winners := 0
	won.Range(func(any, any) bool { winners++; return true })
	require.Equal(t, 1, winners)
	keys, err := ring.List(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 1)
	require.NoError(t, ring.Delete(t.Context(), keys[0].ID))
	_, err = ring.Generate(t.Context(), "wanted", cert.P256, "")
	require.NoError(t, err, "a name is free again")
}

func TestBudgets(t *testing.T) {
	store := kvtest.New()
	setup := newRing(t, store)
	key, err := setup.Generate(t.Context(), "a", cert.P256, "")
	require.NoError(t, err)
	_, err = setup.Generate(t.Context(), "b", cert.P256, "")
	require.NoError(t, err)

	ring := newRing(t, store)
	store.Reset()
	pub, err := key.Public()
	require.NoError(t, err)
	_, err = ring.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, kvtest.Counts{Gets: 3, Lists: 2}, store.Counts(), "cold: each key and the default once")
	store.Reset()
	_, err = ring.Signer(t.Context(), key.ID)
	require.NoError(t, err)
	require.Equal(t, kvtest.Counts{Gets: 1}, store.Counts(), "a private key is read when it is first needed")

	store.Reset()
	for name, use := range map[string]func() error{
		"Signer":     func() error { _, err := ring.Signer(t.Context(), key.ID); return err },
		"Get":        func() error { _, err := ring.Get(t.Context(), "a"); return err },
		"List":       func() error { _, err := ring.List(t.Context()); return err },
		"FindPublic": func() error { _, err := ring.FindPublic(t.Context(), pub); return err },
		"DefaultKey": func() error { _, err := ring.DefaultKey(t.Context()); return err },
		"ListTokens": func() error { _, err := ring.ListTokens(t.Context()); return err },
	} {
		require.NoError(t, use(), name)
		require.Zero(t, store.Counts().Total(), name)
	}
	warm, err := ring.Signer(t.Context(), key.ID)
	require.NoError(t, err)
	require.NoError(t, signs(warm))
	require.Zero(t, store.Counts().Total(), "signing")

	for _, row := range []struct {
		name   string
		work   func() error
		counts kvtest.Counts
	}{
		{"Generate", func() error { _, err := ring.Generate(t.Context(), "c", cert.P256, ""); return err }, kvtest.Counts{Puts: 1}},
		{"Rename", func() error { _, err := ring.Rename(t.Context(), key.ID, "d"); return err }, kvtest.Counts{Gets: 1, Puts: 1}},
		{"SetDefaultKey", func() error { _, err := ring.SetDefaultKey(t.Context(), "d"); return err }, kvtest.Counts{Puts: 1}},
		{"Delete", func() error { return ring.Delete(t.Context(), key.ID) }, kvtest.Counts{Deletes: 1}},
	} {
		store.Reset()
		require.NoError(t, row.work(), row.name)
		require.Equal(t, row.counts, store.Counts(), row.name)
		for _, key := range store.Written() {
			found, ok := layout.Find(key)
			require.True(t, ok, key)
			require.Equal(t, "keyring", found.Owner, key)
		}
	}
}

func TestInvalidateShowsWhatAnotherNodeWrote(t *testing.T) {
	store := kvtest.New()
	here, there := newRing(t, store), newRing(t, store)
	key, err := here.Generate(t.Context(), "a", cert.P256, "")
	require.NoError(t, err)
	checkSigns(t, there, key)
	_, err = here.Rename(t.Context(), key.ID, "b")
	require.NoError(t, err)
	_, err = there.Get(t.Context(), "b")
	require.True(t, fault.Is(err, fault.NotFound))
	there.Invalidate()
	_, err = there.Get(t.Context(), "b")
	require.NoError(t, err)
	require.NoError(t, here.Delete(t.Context(), key.ID))
	there.Invalidate()
	_, err = there.Signer(t.Context(), key.ID)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func TestCallersCannotChangeTheRing(t *testing.T) {
	ring := newRing(t, kvtest.New())
	key, err := ring.Generate(t.Context(), "a", cert.P256, "")
	require.NoError(t, err)
	key.Name = "changed"
	keys, err := ring.List(t.Context())
	require.NoError(t, err)
	keys[0].Name = "changed"
	found, err := ring.Get(t.Context(), "a")
	require.NoError(t, err)
	found.Name = "changed"
	_, err = ring.Get(t.Context(), "a")
	require.NoError(t, err)
}

func TestStorageKeysCarryNoNames(t *testing.T) {
	store := kvtest.New()
	ring := newRing(t, store)
	key, err := ring.Generate(t.Context(), "secret-project", cert.P256, "")
	require.NoError(t, err)
	require.Equal(t, []string{layout.ConfigKeys, layout.Key + key.ID}, store.Written())
	require.Equal(t, key.ID, filepath.Base(store.Written()[1]))
}
