package cert_test

import (
	"crypto"
	"crypto/dsa"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"math/big"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

var onceRSA = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := onceRSA()
	require.NoError(t, err)
	return key
}

func prime(t testing.TB, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	require.NoError(t, err)
	return p
}

// rocaModulus makes a modulus as the broken library did (CVE-2017-15361): primes of
// the form k*M + (65537^a mod M), where M is the product of the first 126 primes.
func rocaModulus(t testing.TB) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	for n, count := int64(2), 0; count < 126; n++ {
		if big.NewInt(n).ProbablyPrime(20) {
			m.Mul(m, big.NewInt(n))
			count++
		}
	}
	factor := func() *big.Int {
		for {
			a, err := rand.Int(rand.Reader, m)
			require.NoError(t, err)
			k, err := rand.Int(rand.Reader, big.NewInt(1<<50))
			require.NoError(t, err)
			p := new(big.Int).Exp(big.NewInt(65537), a, m)
			p.Add(p, k.Mul(k.Add(k, big.NewInt(1<<53)), m))
			if p.ProbablyPrime(10) {
				return p
			}
		}
	}
	return new(big.Int).Mul(factor(), factor())
}

func TestKey1_WeakKeysAreRefused(t *testing.T) {
	good := rsaKey(t).N
	p := prime(t, 1024)
	near := new(big.Int).Add(p, big.NewInt(2))
	for !near.ProbablyPrime(10) {
		near.Add(near, big.NewInt(2))
	}
	composite := new(big.Int).Mul(good, big.NewInt(1999))
	rsaOf := func(n *big.Int, e int) *rsa.PublicKey { return &rsa.PublicKey{N: n, E: e} }
	for name, test := range map[string]struct {
		key  crypto.PublicKey
		want string
	}{
		"RSA-1024":          {rsaOf(p, 65537), "at least 2048 bits, not 1024"},
		"RSA-2047":          {rsaOf(new(big.Int).Rsh(good, 1), 65537), "at least 2048 bits, not 2047"},
		"RSA-16384":         {rsaOf(new(big.Int).Lsh(good, 16384-2048), 65537), "at most 8192 bits"},
		"zero":              {rsaOf(new(big.Int), 65537), "at least 2048 bits"},
		"negative":          {rsaOf(new(big.Int).Neg(good), 65537), "at least 2048 bits"},
		"e=1":               {rsaOf(good, 1), "exponent"},
		"e=3":               {rsaOf(good, 3), "exponent"},
		"e=65536":           {rsaOf(good, 65536), "exponent"},
		"e=65538":           {rsaOf(good, 65538), "exponent"},
		"factor 1999":       {rsaOf(composite, 65537), "no factor below 2048"},
		"even":              {rsaOf(new(big.Int).Lsh(good, 1), 65537), "no factor below 2048"},
		"square":            {rsaOf(new(big.Int).Mul(p, p), 65537), "Fermat"},
		"close primes":      {rsaOf(new(big.Int).Mul(p, near), 65537), "Fermat"},
		"ROCA":              {rsaOf(rocaModulus(t), 65537), "ROCA"},
		"P-224":             {&ecdsa.PublicKey{Curve: elliptic.P224()}, "P-224 is not supported"},
		"off the curve":     {&ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}, "point on P-256"},
		"infinity":          {&ecdsa.PublicKey{Curve: elliptic.P384(), X: new(big.Int), Y: new(big.Int)}, "point on P-384"},
		"short Ed25519":     {ed25519.PublicKey{1, 2}, "32 bytes"},
		"Ed25519 zero":      {make(ed25519.PublicKey, 32), "small order"},
		"Ed25519 identity":  {append(ed25519.PublicKey{1}, make([]byte, 31)...), "small order"},
		"Ed25519 order 8":   {fromHex(t, "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"), "small order"},
		"Ed25519 order 2":   {fromHex(t, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), "small order"},
		"DSA":               {&dsa.PublicKey{}, "not supported"},
		"nil":               {nil, "not supported"},
		"a private RSA key": {rsaKey(t), "not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			err := cert.CheckKey(test.key)
			require.ErrorContains(t, err, test.want)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
		})
	}
}

func fromHex(t testing.TB, text string) ed25519.PublicKey {
	t.Helper()
	raw, err := hex.DecodeString(text)
	require.NoError(t, err)
	return raw
}

func TestGoodKeysPass(t *testing.T) {
	require.NoError(t, cert.CheckKey(rsaKey(t).Public()))
	n := big.NewInt(1) // a true RSA-8192 key takes a minute to make
	for range 8 {
		n.Mul(n, prime(t, 1024))
	}
	require.NoError(t, cert.CheckKey(&rsa.PublicKey{N: n, E: 65537}))
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		require.NoError(t, err)
		require.NoError(t, cert.CheckKey(key.Public()))
	}
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	require.NoError(t, cert.CheckKey(pub))
}

// Every pair of primes whose distance Fermat's method covers in 100 steps is found,
// however the distance is drawn.
func TestKey1_FermatFindsEveryClosePair(t *testing.T) {
	p := prime(t, 1030)
	rapid.Check(t, func(r *rapid.T) {
		distance := rapid.Int64Range(1, 1<<40).Draw(r, "distance")
		q := new(big.Int).Add(p, big.NewInt(2*distance))
		n := new(big.Int).Mul(p, q)
		err := cert.CheckKey(&rsa.PublicKey{N: n, E: 65537})
		require.Error(t, err)
	})
}

func BenchmarkCheckKey(b *testing.B) {
	for name, key := range map[string]crypto.PublicKey{"ec-256": ecKey(b).Public(), "rsa-2048": rsaKey(b).Public()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := cert.CheckKey(key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
