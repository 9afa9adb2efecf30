package attack_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// anyKey grants names below example.com for keys of all kinds.
var anyKey = webRole.with(body{"key_type": "any"})

func rsaCSR(t *testing.T, bits int) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	return csrForKey(t, key)
}

func csrForKey(t *testing.T, key crypto.Signer) string {
	t.Helper()
	return csrOf(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a.example.com"}}, key)
}

// keyOf makes an RSA key of two primes.
func keyOf(t *testing.T, p, q *big.Int) *rsa.PrivateKey {
	t.Helper()
	one := big.NewInt(1)
	order := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537},
		D:         new(big.Int).ModInverse(big.NewInt(65537), order), Primes: []*big.Int{p, q},
	}
	require.NotNil(t, key.D)
	key.Precompute()
	return key
}

func prime(t *testing.T, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	require.NoError(t, err)
	return p
}

// next returns the smallest prime above n.
func next(n *big.Int) *big.Int {
	p := new(big.Int).Add(n, big.NewInt(2))
	for !p.ProbablyPrime(10) {
		p.Add(p, big.NewInt(2))
	}
	return p
}

// rocaPrime makes a prime as the broken library did (CVE-2017-15361):
// k*M + (65537^a mod M), where M is the product of the first 126 primes.
func rocaPrime(t *testing.T) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	for n, count := int64(2), 0; count < 126; n++ {
		if big.NewInt(n).ProbablyPrime(20) {
			m.Mul(m, big.NewInt(n))
			count++
		}
	}
	for {
		a, err := rand.Int(rand.Reader, m)
		require.NoError(t, err)
		k, err := rand.Int(rand.Reader, big.NewInt(1<<50))
		require.NoError(t, err)
		p := new(big.Int).Exp(big.NewInt(65537), a, m)
		p.Add(p, k.Add(k, big.NewInt(1<<53)).Mul(k, m))
		if p.ProbablyPrime(10) {
			return p
		}
	}
}

// rawRSA returns a request with an RSA key that no library makes, whose signature is
// the padded digest itself: with the exponent 1 it is a valid one.
func rawRSA(t *testing.T, n *big.Int, e int64) string {
	t.Helper()
	null := func(b *cryptobyte.Builder) { b.AddASN1(cbasn1.NULL, func(*cryptobyte.Builder) {}) }
	key := bytesOf(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1BigInt(n)
			b.AddASN1Int64(e)
		})
	})
	spki := bytesOf(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1})
				null(b)
			})
			b.AddASN1BitString(key)
		})
	})
	block, _ := pem.Decode([]byte(rawRequest(t, newKey(t), spki, func(*cryptobyte.Builder) {})))
	var request struct {
		Info      asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	_, err := asn1.Unmarshal(block.Bytes, &request)
	require.NoError(t, err)
	digest := sha256.Sum256(request.Info.FullBytes)
	prefix := []byte{0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20}
	padded := make([]byte, max(256, (n.BitLen()+7)/8))
	for i := range padded {
		padded[i] = 0xff
	}
	padded[0], padded[1], padded[len(padded)-52] = 0, 1, 0
	copy(padded[len(padded)-51:], append(prefix, digest[:]...))
	return encode("CERTIFICATE REQUEST", bytesOf(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(request.Info.FullBytes)
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11})
				null(b)
			})
			b.AddASN1BitString(padded)
		})
	}))
}

// opensslCSR returns a request that the command line tool makes with a key of its own.
func opensslCSR(t *testing.T, keyArgs []string, requestArgs ...string) string {
	t.Helper()
	key, csr := inFolder(t, "key.pem"), inFolder(t, "csr.pem")
	openssl(t, append(keyArgs, "-out", key)...)
	openssl(t, append([]string{"req", "-new", "-key", key, "-subj", "/CN=a.example.com", "-out", csr}, requestArgs...)...)
	text, err := os.ReadFile(csr)
	require.NoError(t, err)
	return string(text)
}

func TestKey1_WeakAndUnprovenKeysAreRefused(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "roles/any", anyKey).Expect(http.StatusOK)
	open(t, m, "any", body{"csr": rsaCSR(t, 2048)})
	good, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p1024, roca := prime(t, 1024), rocaPrime(t)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	ec := func(args ...string) []string {
		return append([]string{"genpkey", "-algorithm", "EC", "-pkeyopt"}, args...)
	}
	for name, c := range map[string]struct{ csr, why string }{
		"RSA-1024":        {rsaCSR(t, 1024), "2048 bits"},
		"RSA-2047":        {rawRSA(t, new(big.Int).Rsh(good.N, 1), 65537), "2048 bits"},
		"exponent 1":      {rawRSA(t, good.N, 1), "exponent"},
		"exponent 2":      {rawRSA(t, good.N, 2), "exponent"},
		"exponent 65538":  {rawRSA(t, good.N, 65538), "exponent"},
		"exponent 2^33":   {rawRSA(t, good.N, 1<<33+1), "exponent"},
		"exponent -1":     {rawRSA(t, good.N, -1), ""},
		"modulus -n":      {rawRSA(t, new(big.Int).Neg(good.N), 65537), ""},
		"modulus 0":       {rawRSA(t, new(big.Int), 65537), ""},
		"exponent 3":      {opensslCSR(t, []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-pkeyopt", "rsa_keygen_pubexp:3"}), "exponent"},
		"close primes":    {rawRSA(t, new(big.Int).Mul(p1024, next(p1024)), 65537), "Fermat"},
		"ROCA":            {csrForKey(t, keyOf(t, roca, rocaPrime(t))), "ROCA"},
		"small factor":    {rawRSA(t, new(big.Int).Mul(prime(t, 2038), big.NewInt(1021)), 65537), "factor"},
		"square":          {rawRSA(t, new(big.Int).Mul(p1024, p1024), 65537), "Fermat"},
		"P-224":           {csrForKey(t, p224), "curve"},
		"secp256k1":       {opensslCSR(t, ec("ec_paramgen_curve:secp256k1")), ""},
		"brainpool":       {opensslCSR(t, ec("ec_paramgen_curve:brainpoolP256r1")), ""},
		"explicit curve":  {opensslCSR(t, ec("ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit")), "explicit"},
		"Ed448":           {opensslCSR(t, []string{"genpkey", "-algorithm", "ED448"}), "not supported"},
		"SHA-1":           {opensslCSR(t, []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, "-sha1"), "SHA-256 or better"},
		"wrong signature": {broken(t, csrForKey(t, good)), "possession"},
		"another key's":   {rawRequest(t, newKey(t), spkiOf(t, newKey(t)), func(*cryptobyte.Builder) {}), "possession"},
		"point at nought": {rawRequest(t, newKey(t), ecSPKI(t, []byte{0}), func(*cryptobyte.Builder) {}), ""},
		"off the curve":   {rawRequest(t, newKey(t), ecSPKI(t, append([]byte{4}, make([]byte, 64)...)), func(*cryptobyte.Builder) {}), ""},
	} {
		t.Run(name, func(t *testing.T) { shut(t, m, "any", body{"csr": c.csr}, c.why) })
	}
}

// broken turns one bit of the signature around.
func broken(t *testing.T, csr string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(csr))
	block.Bytes[len(block.Bytes)-9] ^= 1
	return string(pem.EncodeToMemory(block))
}

func spkiOf(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	return spki
}

// ecSPKI returns a P-256 key whose point is what is given.
func ecSPKI(t *testing.T, point []byte) []byte {
	t.Helper()
	return bytesOf(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1})
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7})
			})
			b.AddASN1BitString(point)
		})
	})
}

func TestKey1_KeysWithAnotherOwnerAreNotCertified(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		made := m.Write(t, "keys/generate/exported", body{"key_name": "ca", "key_type": "ec"}).Expect(http.StatusOK)
		m.Write(t, "root/generate/existing", body{"common_name": "Exported", "key_ref": "ca"}).Expect(http.StatusOK)
		block, _ := pem.Decode([]byte(made.Text("private_key")))
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		require.NoError(t, err)
		shut(t, m, "web", body{"csr": csrForKey(t, parsed.(*ecdsa.PrivateKey))}, "CA key")

		// Known to be compromised: never again, whatever the name.
		key := newKey(t)
		leaf := open(t, m, "web", body{"csr": csrForKey(t, key)})
		m.Write(t, "revoke", body{"certificate": encode("CERTIFICATE", leaf.Raw), "reason": "keyCompromise"}).Expect(http.StatusOK)
		shut(t, m, "web", body{"csr": csrForKey(t, key)}, "compromised")
		restart(t, m)
		shut(t, m, "web", body{"csr": csrForKey(t, key)}, "compromised")

		// A subordinate with the signer's own key would be the signer.
		m.Write(t, "issuer/"+m.Read(t, "key/ca", nil).Text("key_id")+"/sign-intermediate", body{"csr": csrFor(t), "common_name": "x"}).Expect(http.StatusNotFound)
		own := csrOf(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "Exported"}}, parsed.(*ecdsa.PrivateKey))
		ids := m.List(t, "issuers/", nil).Texts("keys")
		for _, id := range ids {
			if m.Read(t, "issuer/"+id, nil).Text("issuer_name") == "root" {
				continue
			}
			answer := m.Write(t, "issuer/"+id+"/sign-intermediate", body{"csr": own, "common_name": "Exported", "ttl": "1h"})
			require.Equal(t, http.StatusBadRequest, answer.Status, answer.Errors)
		}
	})
}

func TestKey1_WeakKeysOfCAsAreRefusedToo(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	weak := keyOf(t, rocaPrime(t), rocaPrime(t))
	m.Write(t, "root/sign-intermediate", body{"csr": csrForKey(t, weak), "common_name": "Weak", "ttl": "1h"}).Expect(http.StatusBadRequest)
	m.Write(t, "root/sign-intermediate", body{"csr": rsaCSR(t, 1024), "common_name": "Weak", "ttl": "1h"}).Expect(http.StatusBadRequest)
	before := m.List(t, "keys/", nil).Texts("keys")
	for _, key := range []*rsa.PrivateKey{weak, keyOf(t, prime(t, 512), prime(t, 512))} {
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		for _, text := range []string{encode("PRIVATE KEY", pkcs8), encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))} {
			m.Write(t, "keys/import", body{"pem_bundle": text}).Expect(http.StatusBadRequest)
			m.Write(t, "issuers/import/bundle", body{"pem_bundle": text}).Expect(http.StatusBadRequest)
		}
	}
	require.Equal(t, before, m.List(t, "keys/", nil).Texts("keys"))
}
