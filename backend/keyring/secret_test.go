package keyring_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

func TestExportOnceAfterGenerate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		ring := newRing(t, store)
		key, err := ring.Generate(t.Context(), "out", cert.P256, "")
		require.NoError(t, err)
		require.False(t, key.Exported)
		text, err := ring.Export(t.Context(), key.ID)
		require.NoError(t, err)
		block, rest := pem.Decode([]byte(text))
		require.Empty(t, rest)
		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		require.NoError(t, err)
		pub, err := key.Public()
		require.NoError(t, err)
		require.True(t, cert.Equal(pub, private.(crypto.Signer).Public()))
		for _, each := range []*keyring.Ring{ring, newRing(t, store)} {
			found, err := each.Get(t.Context(), "out")
			require.NoError(t, err)
			require.True(t, found.Exported, "on record")
			_, err = each.Export(t.Context(), key.ID)
			require.True(t, fault.Is(err, fault.Denied), "never readable back: %v", err)
		}
		kept, err := ring.Generate(t.Context(), "", cert.P256, "")
		require.NoError(t, err)
		<-time.After(time.Minute) // of the bubble's clock
		synctest.Wait()
		_, err = ring.Export(t.Context(), kept.ID)
		require.True(t, fault.Is(err, fault.Denied), "%v", err)
		_, err = ring.Export(t.Context(), "nothing")
		require.True(t, fault.Is(err, fault.Denied), "%v", err)
	})
}

// secretsOf returns what must not be seen of a key: its encodings and its numbers.
func secretsOf(t *testing.T, pkcs8 []byte) [][]byte {
	t.Helper()
	key, err := x509.ParsePKCS8PrivateKey(pkcs8)
	require.NoError(t, err)
	secrets := [][]byte{pkcs8}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		secrets = append(secrets, key.D.Bytes(), key.Primes[0].Bytes(), key.Primes[1].Bytes(), []byte(key.D.String()))
	case *ecdsa.PrivateKey:
		d, err := key.Bytes()
		require.NoError(t, err)
		secrets = append(secrets, d, []byte(new(big.Int).SetBytes(d).String()))
	case ed25519.PrivateKey:
		secrets = append(secrets, key.Seed(), fmt.Append(nil, key.Seed()))
	}
	for _, secret := range secrets[:len(secrets):len(secrets)] {
		secrets = append(secrets, []byte(hex.EncodeToString(secret)), fmt.Append(nil, secret))
	}
	return secrets
}

func TestKey2_PrivatePartIsNeverShown(t *testing.T) {
	var log bytes.Buffer
	store := kvtest.New()
	ring := keyring.New(keyring.Config{Store: store, Mount: "m", Log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace})})
	for _, spec := range []cert.KeySpec{cert.RSA2048, cert.P256, cert.Edwards25519} {
		key, err := ring.Generate(t.Context(), spec.String(), spec, "")
		require.NoError(t, err)
		var stored struct {
			Record struct {
				PKCS8 []byte `json:"pkcs8"`
			} `json:"r"`
		}
		require.NoError(t, json.Unmarshal(store.Dump()[layout.Key+key.ID], &stored))
		secrets := secretsOf(t, stored.Record.PKCS8)
		signer, err := ring.Signer(t.Context(), key.ID)
		require.NoError(t, err)
		keys, err := ring.List(t.Context())
		require.NoError(t, err)

		var shown bytes.Buffer
		for _, value := range []any{key, *key, keys, signer, []crypto.Signer{signer}, struct{ S crypto.Signer }{signer}, ring} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q"} {
				fmt.Fprintf(&shown, verb, value)
			}
			if text, err := json.Marshal(value); err == nil {
				shown.Write(text)
			}
		}
		_, err = ring.Export(t.Context(), key.ID)
		require.NoError(t, err)
		_, err = ring.Export(t.Context(), key.ID)
		shown.WriteString(err.Error())
		shown.Write(log.Bytes())
		require.NotZero(t, log.Len())
		for _, secret := range secrets {
			require.False(t, bytes.Contains(shown.Bytes(), secret), "%s: %x is shown", spec, secret[:4])
		}
		_, is := signer.(*ecdsa.PrivateKey)
		require.False(t, is, "the signer is not the key")
		_, err = x509.MarshalPKCS8PrivateKey(signer)
		require.Error(t, err)
	}
}

func TestKey2_DamagedRecordIsNotRepeated(t *testing.T) {
	store := kvtest.New()
	ring := newRing(t, store)
	one, err := ring.Generate(t.Context(), "one", cert.P256, "")
	require.NoError(t, err)
	two, err := ring.Generate(t.Context(), "two", cert.P256, "")
	require.NoError(t, err)
	// The private key of one under the public key of the other.
	var a, b map[string]map[string]any
	raw := map[string][]byte{}
	for id, into := range map[string]*map[string]map[string]any{one.ID: &a, two.ID: &b} {
		raw[id] = store.Dump()[layout.Key+id]
		var whole map[string]any
		require.NoError(t, json.Unmarshal(raw[id], &whole))
		*into = map[string]map[string]any{"r": whole["r"].(map[string]any)}
	}
	a["r"]["pkcs8"] = b["r"]["pkcs8"]
	text, err := json.Marshal(map[string]any{"v": 1, "r": a["r"]})
	require.NoError(t, err)
	require.NoError(t, store.Put(t.Context(), layout.Key+one.ID, text))
	fresh := newRing(t, store)
	_, err = fresh.Signer(t.Context(), one.ID)
	require.True(t, fault.Is(err, fault.Internal), "%v", err)
	require.NotContains(t, err.Error(), b["r"]["pkcs8"])
	checkSigns(t, fresh, two)
}

func TestCrash1_EveryWritePoint(t *testing.T) {
	imported := []byte(openssl(t, "genpkey", "-algorithm", "ED25519"))
	steps := []struct {
		name string
		work func(*keyring.Ring) error
	}{
		{"generate", func(r *keyring.Ring) error { _, err := r.Generate(t.Context(), "new", cert.P256, ""); return err }},
		{"import", func(r *keyring.Ring) error { _, _, err := r.Import(t.Context(), "in", imported); return err }},
		{"rename", func(r *keyring.Ring) error {
			key, err := r.Get(t.Context(), "old")
			if err == nil {
				_, err = r.Rename(t.Context(), key.ID, "renamed")
			}
			return err
		}},
		{"default", func(r *keyring.Ring) error { _, err := r.SetDefaultKey(t.Context(), "old"); return err }},
		{"delete", func(r *keyring.Ring) error {
			key, err := r.Get(t.Context(), "old")
			if err == nil {
				err = r.Delete(t.Context(), key.ID)
			}
			return err
		}},
	}
	for _, step := range steps {
		base := kvtest.New()
		_, err := newRing(t, base).Generate(t.Context(), "old", cert.P256, "")
		require.NoError(t, err)
		for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
			for n := 1; ; n++ {
				store := base.Clone()
				ring := newRing(t, store)
				store.Break(n, loss)
				err := step.work(ring)
				if !store.Broken() {
					require.NoError(t, err, step.name)
					require.Greater(t, n, 1, "%s touched no storage", step.name)
					break
				}
				require.Error(t, err, "%s at %d", step.name, n)
				// The ring that saw the failure and one that starts now agree, and all works.
				sees, err := ring.List(t.Context())
				require.NoError(t, err)
				after := newRing(t, store)
				there, err := after.List(t.Context())
				require.NoError(t, err)
				require.Equal(t, there, sees, "%s at %d", step.name, n)
				for _, key := range sees {
					checkSigns(t, ring, key)
					checkSigns(t, after, key)
				}
				names := map[string]bool{}
				for _, key := range sees {
					require.False(t, names[key.Name])
					names[key.Name] = true
				}
			}
		}
	}
}
