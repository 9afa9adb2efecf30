package cert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"math/big"
	"math/bits"
	"sync"

	"github.com/titanous/rocacheck"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

const (
	minExponent  = 65537
	primesBelow  = 2048 // trial division
	fermatRounds = 100  // as in the CA/Browser Forum Baseline Requirements 6.1.1.3
)

// CheckKey refuses public keys that are known to be weak (key-1): RSA below 2048 or
// above 8192 bits, exponents other than odd and >= 65537, factors below 2048,
// Fermat-close primes, ROCA (CVE-2017-15361); curves other than P-256, P-384 and
// P-521, points off the curve; Ed25519 keys of small order or in another encoding than
// the canonical one. Debian's weak keys (CVE-2008-0166) are not recognised: that takes
// a list of their digests.
func CheckKey(pub crypto.PublicKey) error {
	if _, err := KeySpecOf(pub); err != nil {
		return err
	}
	switch key := pub.(type) {
	case *rsa.PublicKey:
		return checkRSA(key)
	case *ecdsa.PublicKey:
		if _, err := key.ECDH(); err != nil {
			return fault.New(fault.Invalid, "EC public key must be a point on %s", key.Curve.Params().Name)
		}
	case ed25519.PublicKey:
		return checkEd25519(key)
	}
	return nil
}

func checkRSA(key *rsa.PublicKey) error {
	size := key.N.BitLen()
	switch {
	case key.N.Sign() <= 0 || size < MinRSABits:
		return fault.New(fault.Invalid, "RSA keys must be at least %d bits, not %d", MinRSABits, size)
	case size > MaxRSABits:
		return fault.New(fault.Invalid, "RSA keys must be at most %d bits, not %d", MaxRSABits, size)
	case key.E < minExponent || key.E%2 == 0:
		return fault.New(fault.Invalid, "RSA public exponent must be odd and at least %d, not %d", minExponent, key.E)
	case hasSmallFactor(key.N):
		return fault.New(fault.Invalid, "RSA modulus must have no factor below %d", primesBelow)
	case rocacheck.IsWeak(key):
		return fault.New(fault.Invalid, "RSA key has the structure of CVE-2017-15361 (ROCA)")
	case fermatFactors(key.N):
		return fault.New(fault.Invalid, "RSA primes must not be close to each other (Fermat factorisation)")
	}
	return nil
}

// primeProducts packs the primes into words, so that one pass over the modulus
// tests several primes.
var primeProducts = sync.OnceValue(func() []uint {
	composite := make([]bool, primesBelow)
	var products []uint
	product := uint(1)
	for n := 2; n < primesBelow; n++ {
		if composite[n] {
			continue
		}
		for multiple := n * n; multiple < primesBelow; multiple += n {
			composite[multiple] = true
		}
		high, low := bits.Mul(product, uint(n))
		if high != 0 {
			products = append(products, product)
			low = uint(n)
		}
		product = low
	}
	return append(products, product)
})

func hasSmallFactor(n *big.Int) bool {
	words := n.Bits()
	for _, product := range primeProducts() {
		remainder := uint(0)
		for i := len(words) - 1; i >= 0; i-- {
			remainder = bits.Rem(remainder, uint(words[i]), product)
		}
		if gcd(product, remainder) != 1 {
			return true
		}
	}
	return false
}

func gcd(a, b uint) uint {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// fermatFactors reports whether n = a^2 - b^2 is found within fermatRounds steps of
// a from the square root: then n = (a+b)(a-b).
func fermatFactors(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	square := new(big.Int).Mul(a, a)
	if square.Cmp(n) == 0 {
		return true
	}
	a.Add(a, one)
	rest := square.Mul(a, a)
	rest.Sub(rest, n)
	step := new(big.Int).Lsh(a, 1)
	step.Add(step, one) // (a+1)^2 - a^2
	root := new(big.Int)
	for range fermatRounds {
		if maySquare(rest) && root.Mul(root.Sqrt(rest), root).Cmp(rest) == 0 {
			return true
		}
		rest.Add(rest, step)
		step.Add(step, two)
	}
	return false
}

var (
	one = big.NewInt(1)
	two = big.NewInt(2)
)

// squareModulus = 63*65*11; few residues of it are squares.
const squareModulus = 45045

var squareResidues = sync.OnceValue(func() []bool {
	table := make([]bool, squareModulus)
	for i := range squareModulus {
		table[i*i%squareModulus] = true
	}
	return table
})

// maySquare is false only for numbers that are no square; it spares the root of 99
// numbers out of 100.
func maySquare(n *big.Int) bool {
	words := n.Bits()
	if len(words) == 0 {
		return true
	}
	if words[0]&2 != 0 || words[0]&7 == 5 { // squares are 0, 1 or 4 modulo 8
		return false
	}
	remainder := uint(0)
	for i := len(words) - 1; i >= 0; i-- {
		remainder = bits.Rem(remainder, uint(words[i]), squareModulus)
	}
	return squareResidues()[remainder]
}

// smallOrder holds the y coordinates of the points whose order divides 8, little
// endian with the sign bit clear, non-canonical encodings included. A signature
// under such a key proves nothing.
var smallOrder = [][ed25519.PublicKeySize]byte{
	{}, // 0: order 4
	{1},
	{
		0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
	},
	{
		0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
	},
	fieldPrimePlus(-1), fieldPrimePlus(0), fieldPrimePlus(1),
}

// fieldPrimePlus returns 2^255 - 19 + n in little endian.
func fieldPrimePlus(n int) (encoded [ed25519.PublicKeySize]byte) {
	for i := range encoded {
		encoded[i] = 0xff
	}
	encoded[0], encoded[31] = byte(0xed+n), 0x7f
	return encoded
}

func checkEd25519(key ed25519.PublicKey) error {
	if len(key) != ed25519.PublicKeySize {
		return fault.New(fault.Invalid, "Ed25519 public key must be %d bytes", ed25519.PublicKeySize)
	}
	var y [ed25519.PublicKeySize]byte
	copy(y[:], key)
	y[31] &= 0x7f
	for _, weak := range smallOrder {
		if bytes.Equal(y[:], weak[:]) {
			return fault.New(fault.Invalid, "Ed25519 public key must not be a point of small order")
		}
	}
	if !belowFieldPrime(y) {
		return fault.New(fault.Invalid, "Ed25519 public key must be in its canonical encoding (RFC 8032 section 5.1.3)")
	}
	return nil
}

// belowFieldPrime reports whether a coordinate in little endian is below 2^255 - 19.
// y and y + 2^255 - 19 encode one point, which would be two keys to whoever compares
// octets.
func belowFieldPrime(y [ed25519.PublicKeySize]byte) bool {
	prime := fieldPrimePlus(0)
	for i := len(y) - 1; i >= 0; i-- {
		if y[i] != prime[i] {
			return y[i] < prime[i]
		}
	}
	return false
}
