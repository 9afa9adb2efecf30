// Package hsmtest promises that two PKCS#11 tokens which pass its suite behave the
// same for the engine, whatever their makers think.
package hsmtest

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
)

// Token is a kind of token under test.
type Token struct {
	// Fresh makes an empty token that lasts as long as the test and returns the
	// config that opens it.
	Fresh func(t *testing.T) hsm.Config
	// Specs lists the keys that the token can make, without which the suite would
	// have nothing to do.
	Specs []cert.KeySpec
	// Padding says which signatures RSA keys of the token make.
	Padding Padding
}

// Padding is a set of RSA signature schemes (RFC 8017 section 8).
type Padding uint8

// The sets. A token that does not make PSS signatures says so, each time.
const (
	EveryPadding Padding = iota
	PKCS1v15Only
)

// Run runs the suite.
func Run(t *testing.T, token Token) {
	require.NotEmpty(t, token.Specs)
	for name, test := range map[string]func(*testing.T, Token){
		"EachKeySpec":          eachKeySpec,
		"WrongDigests":         wrongDigests,
		"IDCollision":          idCollision,
		"OtherPublicKey":       otherPublicKey,
		"Absent":               absent,
		"WrongPINLatched":      wrongPINLatched,
		"WrongPINWhileInUse":   wrongPINWhileInUse,
		"ParallelSigners":      parallelSigners,
		"ParallelGenerators":   parallelGenerators,
		"ListByPrefix":         listByPrefix,
		"Status":               status,
		"ClosedTokenIsRefused": closedTokenIsRefused,
	} {
		t.Run(name, func(t *testing.T) { test(t, token) })
	}
}

// open opens a config for the length of the test.
func open(t *testing.T, config hsm.Config) *hsm.Token {
	t.Helper()
	token, err := hsm.Open(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(token.Close)
	return token
}

// newID returns a random CKA_ID.
func newID(t *testing.T) []byte {
	t.Helper()
	id := make([]byte, 16)
	_, err := rand.Read(id)
	require.NoError(t, err)
	return id
}

func eachKeySpec(t *testing.T, token Token) {
	opened := open(t, token.Fresh(t))
	for _, spec := range token.Specs {
		t.Run(spec.String(), func(t *testing.T) {
			id := newID(t)
			made, evidence, err := opened.Generate(t.Context(), spec, id, "suite "+spec.String())
			require.NoError(t, err)
			require.Equal(t, hsm.Evidence{Local: true, AlwaysSensitive: true, NeverExtractable: true, Sensitive: true}, evidence)
			got, err := cert.KeySpecOf(made.Public())
			require.NoError(t, err)
			require.Equal(t, spec, got)
			require.NoError(t, token.verify(made))

			found, err := opened.Find(t.Context(), id, made.Public())
			require.NoError(t, err)
			require.True(t, cert.Equal(made.Public(), found.Public()))
			require.NoError(t, token.verify(found))

			again, err := opened.Evidence(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, evidence, again)

			require.NoError(t, opened.Destroy(t.Context(), id))
			_, err = opened.Find(t.Context(), id, made.Public())
			require.True(t, fault.Is(err, fault.NotFound), "%v", err)
			_, err = opened.Evidence(t.Context(), id)
			require.True(t, fault.Is(err, fault.NotFound), "%v", err)
			sum := sha256.Sum256(nil)
			_, err = made.Sign(rand.Reader, sum[:], hashFor(made))
			require.True(t, fault.Is(err, fault.NotFound), "a signer outlived its key: %v", err)
		})
	}
}

// hashFor returns the options with which a SHA-256 digest is signed.
func hashFor(signer crypto.Signer) crypto.SignerOpts {
	if _, ok := signer.Public().(ed25519.PublicKey); ok {
		return crypto.Hash(0)
	}
	return crypto.SHA256
}

func wrongDigests(t *testing.T, token Token) {
	opened := open(t, token.Fresh(t))
	for _, spec := range token.Specs {
		if spec.Type == cert.RSA && spec.Bits > 2048 {
			continue
		}
		signer, _, err := opened.Generate(t.Context(), spec, newID(t), "")
		require.NoError(t, err)
		options := []crypto.SignerOpts{crypto.SHA1, crypto.MD5, crypto.SHA256, crypto.SHA384}
		if spec.Type == cert.RSA {
			options = append(options, crypto.Hash(0), &rsa.PSSOptions{Hash: crypto.SHA256}, &rsa.PSSOptions{})
		}
		if spec.Type == cert.Ed25519 {
			options = append(options, &ed25519.Options{Context: "c"})
		}
		for _, option := range options {
			for _, size := range []int{0, 20, 31, 33, 47, 64} {
				_, err := signer.Sign(rand.Reader, make([]byte, size), option)
				require.True(t, fault.Is(err, fault.Invalid), "%s signed %d bytes as %v: %v", spec, size, option, err)
			}
		}
		_, err = signer.Sign(rand.Reader, make([]byte, 32), nil)
		require.True(t, fault.Is(err, fault.Invalid), "%v", err)
		require.NoError(t, token.verify(signer))
	}
}

func idCollision(t *testing.T, token Token) {
	opened := open(t, token.Fresh(t))
	id := newID(t)
	first, _, err := opened.Generate(t.Context(), token.Specs[0], id, "first")
	require.NoError(t, err)
	for _, spec := range token.Specs {
		_, _, err = opened.Generate(t.Context(), spec, id, "second")
		require.True(t, fault.Is(err, fault.Conflict), "%s: %v", spec, err)
	}
	_, _, err = opened.Generate(t.Context(), token.Specs[0], nil, "no id")
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	found, err := opened.Find(t.Context(), id, first.Public())
	require.NoError(t, err, "the collision cost the first key")
	require.NoError(t, token.verify(found))
}

func otherPublicKey(t *testing.T, token Token) {
	opened := open(t, token.Fresh(t))
	for _, spec := range token.Specs {
		id := newID(t)
		made, _, err := opened.Generate(t.Context(), spec, id, "same label")
		require.NoError(t, err)
		other, _, err := opened.Generate(t.Context(), spec, newID(t), "same label")
		require.NoError(t, err)
		_, err = opened.Find(t.Context(), id, other.Public())
		require.True(t, fault.Is(err, fault.Conflict), "%s: %v", spec, err)
		_, err = opened.Find(t.Context(), id, made.Public())
		require.NoError(t, err)
	}
}

func absent(t *testing.T, token Token) {
	opened := open(t, token.Fresh(t))
	made, _, err := opened.Generate(t.Context(), token.Specs[0], newID(t), "")
	require.NoError(t, err)
	_, err = opened.Find(t.Context(), newID(t), made.Public())
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	require.True(t, fault.Is(opened.Destroy(t.Context(), newID(t)), fault.NotFound))
	require.True(t, fault.Is(opened.DestroyOrphan(t.Context(), newID(t)), fault.NotFound))
	require.True(t, fault.Is(opened.Destroy(t.Context(), nil), fault.Invalid))
}

func wrongPINLatched(t *testing.T, token Token) {
	config := token.Fresh(t)
	wrong := config
	wrong.PIN = "not " + config.PIN
	// More often than any token forgives: only the first may reach it.
	for range 20 {
		_, err := hsm.Open(t.Context(), wrong)
		require.True(t, fault.Is(err, fault.Denied), "%v", err)
		require.ErrorIs(t, err, hsm.ErrWrongPIN)
		require.NotContains(t, err.Error(), config.PIN)
	}
	opened := open(t, config)
	signer, _, err := opened.Generate(t.Context(), token.Specs[0], newID(t), "")
	require.NoError(t, err, "the right PIN after a wrong one")
	require.NoError(t, token.verify(signer))
}

func wrongPINWhileInUse(t *testing.T, token Token) {
	config := token.Fresh(t)
	opened := open(t, config)
	signer, _, err := opened.Generate(t.Context(), token.Specs[0], newID(t), "")
	require.NoError(t, err)
	wrong := config
	wrong.PIN = "not " + config.PIN
	_, err = hsm.Open(t.Context(), wrong)
	require.True(t, fault.Is(err, fault.Denied), "%v", err)
	require.NotErrorIs(t, err, hsm.ErrWrongPIN, "compared in this process, not at the token")
	_, err = hsm.Offer(t.Context(), wrong)
	require.True(t, fault.Is(err, fault.Denied), "%v", err)
	require.ErrorIs(t, err, hsm.ErrWrongPIN)
	require.NoError(t, token.verify(signer))
	open(t, config)
}

func parallelSigners(t *testing.T, token Token) {
	opened := open(t, token.Fresh(t))
	var signers []crypto.Signer
	for _, spec := range token.Specs {
		if spec.Type == cert.RSA && spec.Bits > 2048 {
			continue
		}
		signer, _, err := opened.Generate(t.Context(), spec, newID(t), "")
		require.NoError(t, err)
		signers = append(signers, signer)
	}
	var wait sync.WaitGroup
	for i := range 32 {
		wait.Go(func() {
			if err := token.verify(signers[i%len(signers)]); err != nil {
				t.Errorf("signing beside others: %v", err)
			}
		})
	}
	wait.Wait()
}

func parallelGenerators(t *testing.T, token Token) {
	opened := open(t, token.Fresh(t))
	spec := token.Specs[0]
	for _, candidate := range token.Specs {
		if candidate.Type == cert.EC {
			spec = candidate
		}
	}
	busy, _, err := opened.Generate(t.Context(), spec, newID(t), "")
	require.NoError(t, err)
	var wait sync.WaitGroup
	for range 32 {
		wait.Go(func() {
			id := newID(t)
			signer, _, err := opened.Generate(context.Background(), spec, id, "")
			if err != nil {
				t.Errorf("generating beside others: %v", err)
				return
			}
			if err := token.verify(signer); err != nil {
				t.Errorf("signing with a new key: %v", err)
			}
			if err := opened.Destroy(context.Background(), id); err != nil {
				t.Errorf("destroying beside others: %v", err)
			}
		})
		wait.Go(func() {
			if err := token.verify(busy); err != nil {
				t.Errorf("signing beside generation: %v", err)
			}
		})
	}
	wait.Wait()
}

func listByPrefix(t *testing.T, token Token) {
	opened := open(t, token.Fresh(t))
	for _, id := range []string{"ours-2", "theirs", "ours-1"} {
		_, _, err := opened.Generate(t.Context(), token.Specs[0], []byte(id), "label "+id)
		require.NoError(t, err)
	}
	pairs, err := opened.List(t.Context(), []byte("ours-"))
	require.NoError(t, err)
	require.Equal(t, []hsm.Pair{
		{ID: []byte("ours-1"), Label: "label ours-1", Private: true, Public: true},
		{ID: []byte("ours-2"), Label: "label ours-2", Private: true, Public: true},
	}, pairs)
	require.True(t, fault.Is(opened.DestroyOrphan(t.Context(), []byte("ours-1")), fault.Conflict))
	all, err := opened.List(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, all, 3)
}

func status(t *testing.T, token Token) {
	config := token.Fresh(t)
	opened := open(t, config)
	got := opened.Status(t.Context())
	require.True(t, got.Reachable)
	require.False(t, got.PINLatched)
	require.Empty(t, got.LastError)
	require.NotEmpty(t, got.Serial)
	require.Equal(t, opened.Serial(), got.Serial)
	require.NotEmpty(t, got.Manufacturer)
	require.NotEmpty(t, got.Present)
	require.GreaterOrEqual(t, got.Count, len(got.Present))
	for _, text := range append(got.Present, got.Label, got.Model) {
		require.NotContains(t, text, config.PIN)
	}
}

func closedTokenIsRefused(t *testing.T, token Token) {
	config := token.Fresh(t)
	first, err := hsm.Open(t.Context(), config)
	require.NoError(t, err)
	second, err := hsm.Open(t.Context(), config)
	require.NoError(t, err)
	signer, _, err := first.Generate(t.Context(), token.Specs[0], newID(t), "")
	require.NoError(t, err)
	first.Close()
	first.Close() // once more than it was opened
	require.NoError(t, token.verify(signer))
	second.Close()
	_, err = signer.Sign(rand.Reader, make([]byte, 32), hashFor(signer))
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}
