//go:build cgo

package hsm_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/backend/hsm/hsmtest"
	"vault-plugin-secrets-enterprise-pki/test/token"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// sign signs some digest.
func sign(signer crypto.Signer) error {
	digest := sha256.Sum256([]byte("some"))
	_, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	return err
}

// recovers waits until the signer works again.
func recovers(t *testing.T, signer crypto.Signer) {
	t.Helper()
	wait.Until(t, "the signer works again", func() bool { return sign(signer) == nil })
	require.NoError(t, hsmtest.Verify(signer))
}

func TestHSM1_LostTokenIsUnavailableAndComesBack(t *testing.T) {
	server, remote := serve(t)
	opened, err := hsm.Open(t.Context(), remote)
	require.NoError(t, err)
	defer opened.Close()
	id := []byte("lost and found")
	signer, _, err := opened.Generate(t.Context(), cert.P256, id, "")
	require.NoError(t, err)
	require.NoError(t, hsmtest.Verify(signer))

	for range 2 {
		server.kill()
		for range 5 {
			err := sign(signer)
			require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
			_, _, err = opened.Generate(t.Context(), cert.P256, []byte("other"), "")
			require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
		}
		status := opened.Status(t.Context())
		require.False(t, status.Reachable)
		require.False(t, status.PINLatched)
		require.NotEmpty(t, status.LastError)
		_, err = hsm.Open(t.Context(), remote)
		require.True(t, fault.Is(err, fault.Unavailable), "%v", err)

		server.start()
		recovers(t, signer)
		found, err := opened.Find(t.Context(), id, signer.Public())
		require.NoError(t, err)
		require.NoError(t, hsmtest.Verify(found))
		require.True(t, opened.Status(t.Context()).Reachable)
	}
}

func TestHSM1_RestartedTokenServesTheNextCall(t *testing.T) {
	server, remote := serve(t)
	opened, err := hsm.Open(t.Context(), remote)
	require.NoError(t, err)
	defer opened.Close()
	signer, _, err := opened.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err)
	server.kill()
	server.start()
	require.NoError(t, sign(signer), "the loss shows during the call, which is made again")
	_, _, err = opened.Generate(t.Context(), cert.P256, []byte("l"), "")
	require.NoError(t, err)
}

func TestHSM1_SilentTokenOpensTheCircuit(t *testing.T) {
	server, remote := serve(t)
	opened, err := hsm.Open(t.Context(), remote)
	require.NoError(t, err)
	defer opened.Close()
	signer, _, err := opened.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err)

	server.signal(syscall.SIGSTOP)
	var wait sync.WaitGroup
	var late atomic.Int32
	started := make(chan struct{})
	timer := time.AfterFunc(5*remote.Timeout, func() { late.Add(1) })
	for range 50 {
		wait.Go(func() {
			<-started
			if err := sign(signer); !fault.Is(err, fault.Unavailable) {
				t.Errorf("a silent token answered: %v", err)
			}
		})
	}
	close(started)
	wait.Wait()
	// From now on nobody waits any more.
	for range 1000 {
		require.True(t, fault.Is(sign(signer), fault.Unavailable))
	}
	status := opened.Status(t.Context())
	require.False(t, status.Reachable)
	require.Contains(t, status.LastError, "has not come back")
	timer.Stop()
	require.Zero(t, late.Load(), "callers waited longer than a deadline and a turn")

	server.signal(syscall.SIGCONT)
	recovers(t, signer)

	server.signal(syscall.SIGSTOP)
	require.True(t, fault.Is(sign(signer), fault.Unavailable))
	server.kill()
	server.start()
	recovers(t, signer)
}

func TestHSM1_OtherTokensGoOnWhileOneIsLost(t *testing.T) {
	server, remote := serve(t)
	near := open(t, config(token.New(t, "near")))
	far := open(t, remote)
	here, _, err := near.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err)
	there, _, err := far.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err)

	server.kill()
	for range 5 {
		err := sign(there)
		require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
		require.Regexp(t, `token "remote" \([0-9a-f]{16}\)|library .* was lost`, err.Error(), "says what is away")
		require.NoError(t, hsmtest.Verify(here))
		_, err = near.Find(t.Context(), []byte("k"), here.Public())
		require.NoError(t, err)
	}
	server.start()
	recovers(t, there)

	server.signal(syscall.SIGSTOP)
	silent := make(chan error, 1)
	go func() { silent <- sign(there) }()
	require.NoError(t, hsmtest.Verify(here))
	_, _, err = near.Generate(t.Context(), cert.P256, []byte("l"), "")
	require.NoError(t, err)
	require.Empty(t, silent, "the token that is there waited for the one that is silent")
	err = <-silent
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.Contains(t, err.Error(), "has not come back within 1s")
	require.True(t, near.Status(t.Context()).Reachable)
	server.signal(syscall.SIGCONT)
	recovers(t, there)
}

func TestTokensOfOneLibraryAreReopenedTogether(t *testing.T) {
	server, remote := serve(t)
	opened, err := hsm.Open(t.Context(), remote)
	require.NoError(t, err)
	again, err := hsm.Open(t.Context(), remote)
	require.NoError(t, err)
	defer again.Close()
	signer, _, err := opened.Generate(t.Context(), cert.P256, []byte("k"), "")
	require.NoError(t, err)
	server.kill()
	require.True(t, fault.Is(sign(signer), fault.Unavailable))
	opened.Close()
	server.start()
	found, err := eventually(t, func() (crypto.Signer, error) { return again.Find(t.Context(), []byte("k"), signer.Public()) })
	require.NoError(t, err)
	require.NoError(t, hsmtest.Verify(found))
	require.NoError(t, hsmtest.Verify(signer), "shares the token that somebody still has open")
}

// eventually repeats f while it is Unavailable.
func eventually[T any](t *testing.T, f func() (T, error)) (value T, err error) {
	t.Helper()
	wait.Until(t, "the token is available", func() bool {
		value, err = f()
		return !fault.Is(err, fault.Unavailable)
	})
	return value, err
}
