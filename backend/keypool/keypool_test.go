package keypool_test

import (
	"crypto"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keypool"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
)

// maker makes keys that are quick to make and counts them.
type maker struct {
	made atomic.Int64
	fail atomic.Bool
}

func (m *maker) generate(cert.KeySpec) (crypto.Signer, error) {
	if m.fail.Load() {
		return nil, errors.New("no entropy")
	}
	m.made.Add(1)
	return cert.GenerateKey(cert.P256)
}

func open(store *kvtest.Store, m *maker) *keypool.Pool {
	return keypool.New(keypool.Config{Store: store, Log: hclog.NewNullLogger(), Now: time.Now, Generate: m.generate})
}

func take(t *testing.T, p *keypool.Pool, spec cert.KeySpec) crypto.Signer {
	t.Helper()
	key, err := p.Take(t.Context(), spec)
	require.NoError(t, err)
	return key
}

func TestASizeIsFilledOnceItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &maker{}
		p := open(kvtest.New(), m)
		defer p.Close()
		synctest.Wait()
		require.Zero(t, m.made.Load(), "a mount without RSA makes no keys")
		take(t, p, cert.RSA2048)
		synctest.Wait()
		require.Equal(t, 32, p.Ready(cert.RSA2048))
		require.Zero(t, p.Ready(cert.RSA4096))
		take(t, p, cert.P256)
		synctest.Wait()
		require.Zero(t, p.Ready(cert.P256), "keys on curves are made when they are asked for")
	})
}

func TestNoKeyIsHandedOutTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(kvtest.New(), &maker{})
		defer p.Close()
		take(t, p, cert.RSA2048)
		synctest.Wait()
		var mu sync.Mutex
		seen := map[cert.Fingerprint]bool{}
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				key, err := p.Take(t.Context(), cert.RSA2048)
				if err != nil {
					t.Error(err)
					return
				}
				fingerprint, err := cert.KeyFingerprint(key.Public())
				mu.Lock()
				defer mu.Unlock()
				if err != nil || seen[fingerprint] {
					t.Errorf("key %s handed out twice (%v)", fingerprint, err)
				}
				seen[fingerprint] = true
			})
		}
		group.Wait()
		require.Len(t, seen, 100)
	})
}

func TestKeysAreMadeOnlyWhileTheMountIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &maker{}
		p := open(kvtest.New(), m)
		defer p.Close()
		p.Touch()
		take(t, p, cert.RSA2048)
		made := m.made.Load()
		for range 10 {
			time.Sleep(keypool.Idle / 2)
			p.Touch()
			synctest.Wait()
			require.Equal(t, made, m.made.Load(), "busy")
		}
		time.Sleep(keypool.Idle)
		synctest.Wait()
		require.Equal(t, 32, p.Ready(cert.RSA2048))
	})
}

func TestSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, m := kvtest.New(), &maker{}
		p := open(store, m)
		defer p.Close()
		for _, c := range []struct {
			settings keypool.Settings
			spec     cert.KeySpec
			ready    int
		}{
			{keypool.Settings{RSA2048: 5}, cert.RSA2048, 5},
			{keypool.Settings{RSA2048: 2}, cert.RSA2048, 2},
			{keypool.Settings{RSA3072: 3}, cert.RSA3072, 3},
			{keypool.Settings{RSA4096: 4}, cert.RSA4096, 4},
			{keypool.Settings{}, cert.RSA2048, 0},
		} {
			require.NoError(t, p.PutSettings(t.Context(), c.settings))
			take(t, p, c.spec)
			synctest.Wait()
			require.Equal(t, c.ready, p.Ready(c.spec), "%+v", c.settings)
			again := open(store, m)
			read, err := again.Settings(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.settings, read)
			again.Close()
		}
		require.True(t, fault.Is(p.PutSettings(t.Context(), keypool.Settings{RSA2048: -1}), fault.Invalid))
	})
}

func TestFailureToMakeAheadHindersNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &maker{}
		p := open(kvtest.New(), m)
		defer p.Close()
		m.fail.Store(true)
		_, err := p.Take(t.Context(), cert.RSA2048)
		require.ErrorContains(t, err, "no entropy")
		synctest.Wait()
		m.fail.Store(false)
		take(t, p, cert.RSA2048)
		synctest.Wait()
		require.Equal(t, 32, p.Ready(cert.RSA2048), "it is tried again")
	})
}

func TestBudgetWarmTakeTouchesNoStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		p := open(store, &maker{})
		defer p.Close()
		take(t, p, cert.RSA2048)
		synctest.Wait()
		store.Reset()
		take(t, p, cert.RSA2048)
		synctest.Wait()
		require.Zero(t, store.Counts().Total())
	})
}

// Key2: what the pool holds is never in storage.
func TestKey2_ReadyKeysAreNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		p := open(store, &maker{})
		take(t, p, cert.RSA2048)
		synctest.Wait()
		require.NotZero(t, p.Ready(cert.RSA2048))
		require.Empty(t, store.Dump())
		p.Close()
		require.Zero(t, p.Ready(cert.RSA2048))
	})
}
