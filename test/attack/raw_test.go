package attack_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The building blocks of requests that no decent library makes.

var (
	oidExtensionRequest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidMSExtensions     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 14}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidECDSAWithSHA256  = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
)

type building = func(*cryptobyte.Builder)

func bytesOf(t *testing.T, build building) []byte {
	t.Helper()
	b := cryptobyte.NewBuilder(nil)
	build(b)
	der, err := b.Bytes()
	require.NoError(t, err)
	return der
}

// rawRequest returns a PKCS#10 request in PEM for a.example.com with attributes as
// they are given, signed by the key over whatever SubjectPublicKeyInfo is given.
func rawRequest(t *testing.T, key *ecdsa.PrivateKey, spki []byte, attributes building) string {
	t.Helper()
	if spki == nil {
		var err error
		spki, err = x509.MarshalPKIXPublicKey(key.Public())
		require.NoError(t, err)
	}
	info := bytesOf(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(0)
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{2, 5, 4, 3})
						b.AddASN1(cbasn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte("a.example.com")) })
					})
				})
			})
			b.AddBytes(spki)
			b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), attributes)
		})
	})
	return encode("CERTIFICATE REQUEST", signedBy(t, key, info))
}

// signedBy wraps what is to be signed as a certificate or a request does.
func signedBy(t *testing.T, key *ecdsa.PrivateKey, tbs []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(tbs)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	require.NoError(t, err)
	return signedWith(t, tbs, signature)
}

func signedWith(t *testing.T, tbs, signature []byte) []byte {
	t.Helper()
	return bytesOf(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(tbs)
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidECDSAWithSHA256) })
			b.AddASN1BitString(signature)
		})
	})
}

// malleated returns the certificate with the other signature that ECDSA allows for
// the same octets: (r, n-s) for (r, s). It is as valid, and another DER.
func malleated(t *testing.T, c *x509.Certificate, order *big.Int) []byte {
	t.Helper()
	var signature struct{ R, S *big.Int }
	_, err := asn1.Unmarshal(c.Signature, &signature)
	require.NoError(t, err)
	signature.S.Sub(order, signature.S)
	der, err := asn1.Marshal(signature)
	require.NoError(t, err)
	return signedWith(t, c.RawTBSCertificate, der)
}

// attribute holds values, each as it is given, in one attribute of a request.
func attribute(oid asn1.ObjectIdentifier, values ...building) building {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oid)
			b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
				for _, value := range values {
					value(b)
				}
			})
		})
	}
}

// extensionList holds extensions, each an OID and the octets of its value.
func extensionList(oid asn1.ObjectIdentifier, values ...[]byte) building {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, value := range values {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(oid)
					b.AddASN1OctetString(value)
				})
			}
		})
	}
}

func all(parts ...building) building {
	return func(b *cryptobyte.Builder) {
		for _, part := range parts {
			part(b)
		}
	}
}

// openssl runs the command line tool, which makes what Go refuses to make.
func openssl(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is not installed: it is in Debian's package openssl")
	}
	output, err := exec.Command(path, args...).CombinedOutput()
	require.NoError(t, err, "openssl %v: %s", args, output)
}

func inFolder(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(t.TempDir(), name)
}
