package attack_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// anotherCertificate has an outside CA certify a CA key under a subject.
func anotherCertificate(t *testing.T, signer *ecdsa.PrivateKey, subject pkix.Name, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	require.NoError(t, err)
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "Outside"}, SubjectKeyId: []byte{9, 9, 9}}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{7, 7, 7},
	}, parent, pub, signer)
	require.NoError(t, err)
	made, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return made
}

// shiftedBits moves octets to the left by n bits, as the content of a BIT STRING with n
// unused bits has them that means the same number.
func shiftedBits(octets []byte, n uint) asn1.BitString {
	out := make([]byte, len(octets))
	for i := range octets {
		out[i] = octets[i] << n
		if i+1 < len(octets) {
			out[i] |= octets[i+1] >> (8 - n)
		}
	}
	return asn1.BitString{Bytes: out, BitLength: 8*len(out) - int(n)}
}

// withShiftedKey signs a certificate again whose key stands in a BIT STRING with n
// unused bits. Parsers shift it back and see the same key.
func withShiftedKey(t *testing.T, of *x509.Certificate, signer *ecdsa.PrivateKey, n uint) *x509.Certificate {
	t.Helper()
	var tbs struct {
		Version  int `asn1:"optional,explicit,default:0,tag:0"`
		Serial   *big.Int
		Alg      pkix.AlgorithmIdentifier
		Issuer   asn1.RawValue
		Validity asn1.RawValue
		Subject  asn1.RawValue
		SPKI     struct {
			Alg pkix.AlgorithmIdentifier
			Key asn1.BitString
		}
		Extensions []pkix.Extension `asn1:"omitempty,optional,explicit,tag:3"`
	}
	rest, err := asn1.Unmarshal(of.RawTBSCertificate, &tbs)
	require.NoError(t, err)
	require.Empty(t, rest)
	tbs.SPKI.Key = shiftedBits(tbs.SPKI.Key.Bytes, n)
	der, err := asn1.Marshal(tbs)
	require.NoError(t, err)
	digest := sha256.Sum256(der)
	signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	require.NoError(t, err)
	made, err := x509.ParseCertificate(signedWith(t, der, signature))
	require.NoError(t, err)
	require.True(t, of.PublicKey.(*ecdsa.PublicKey).Equal(made.PublicKey), "the same key to a parser")
	require.NotEqual(t, of.RawSubjectPublicKeyInfo, made.RawSubjectPublicKeyInfo)
	return made
}

func TestId1_AKeyInAnotherEncodingIsRefusedWhereCertificatesEnter(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		outside := newKey(t)
		ca := subordinate(t, m, "root", "issuing", nil)
		again := anotherCertificate(t, outside, pkix.Name{CommonName: "Again"}, ca.PublicKey)
		before := m.List(t, "issuers/", nil).Texts("keys")
		for n := uint(1); n <= 5; n++ {
			text := encode("CERTIFICATE", withShiftedKey(t, again, outside, n).Raw)
			for _, path := range []string{"issuers/import/bundle", "config/ca", "issuers/import/cert", "intermediate/set-signed"} {
				answer := m.Write(t, path, body{field(path): text}).Expect(http.StatusBadRequest)
				require.Contains(t, answer.Errors[0], "SubjectPublicKeyInfo", path)
			}
		}
		require.Equal(t, before, m.List(t, "issuers/", nil).Texts("keys"))
		m.Write(t, "issuers/import/cert", body{"pem_bundle": encode("CERTIFICATE", again.Raw)}).Expect(http.StatusOK)
	})
}

func TestId1_AKeyInAnotherEncodingIsRefusedInRequests(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "roles/any", anyKey).Expect(http.StatusOK)
	key := newKey(t)
	var spki struct {
		Alg pkix.AlgorithmIdentifier
		Key asn1.BitString
	}
	_, err := asn1.Unmarshal(spkiOf(t, key), &spki)
	require.NoError(t, err)
	point := spki.Key.Bytes
	shifted := spki
	shifted.Key = shiftedBits(point, 3)
	compressed := append([]byte{2 + point[64]&1}, point[1:33]...)
	with := func(key asn1.BitString, rest ...byte) []byte {
		return bytesOf(t, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				algorithm, err := asn1.Marshal(spki.Alg)
				require.NoError(t, err)
				b.AddBytes(algorithm)
				b.AddASN1BitString(key.Bytes)
				b.AddBytes(rest)
			})
		})
	}
	moved, err := asn1.Marshal(shifted)
	require.NoError(t, err)
	for name, raw := range map[string][]byte{
		"unused bits":      moved,
		"further octets":   ecSPKI(t, append(append([]byte{}, point...), 0)),
		"further elements": with(spki.Key, 5, 0),
		"compressed":       ecSPKI(t, compressed),
		"hybrid":           ecSPKI(t, append([]byte{6 + point[64]&1}, point[1:]...)),
	} {
		csr := rawRequest(t, key, raw, func(*cryptobyte.Builder) {})
		shut(t, m, "any", body{"csr": csr}, "csr")
		for _, path := range []string{"root/sign-intermediate", "issuer/root/sign-intermediate", "edge/ocsp-signer/root"} {
			ask := body{"csr": csr}
			if path != "edge/ocsp-signer/root" {
				ask = ask.with(body{"common_name": "x", "ttl": "1h"})
			}
			answer := m.Write(t, path, ask)
			require.Equal(t, http.StatusBadRequest, answer.Status, "%s to %s: %v", name, path, answer.Data)
		}
	}
	open(t, m, "any", body{"csr": rawRequest(t, key, nil, func(*cryptobyte.Builder) {})})
}

// Whatever certificate the key of a revoked CA has, and whenever it was imported, the
// key issues no more.
func TestId1_RevokingACAStopsEveryIssuerOfItsKey(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		ca := subordinate(t, m, "root", "issuing", nil)
		outside := newKey(t)
		foreign := anotherCertificate(t, outside, ca.Subject, ca.PublicKey)
		twin := m.Write(t, "issuers/import/cert", body{"pem_bundle": encode("CERTIFICATE", foreign.Raw)}).Expect(http.StatusOK).Texts("imported_issuers")[0]
		key := m.Read(t, "issuer/issuing", nil).Text("key_id")
		csr := m.Write(t, "intermediate/generate/existing", body{"common_name": "issuing", "key_ref": key}).Expect(http.StatusOK).Text("csr")
		signed := m.Write(t, "issuer/root/sign-intermediate", body{"csr": csr, "common_name": "issuing", "ttl": "700h"}).Expect(http.StatusOK)
		renewed := m.Write(t, "intermediate/set-signed", body{"certificate": signed.Text("certificate")}).Expect(http.StatusOK).Texts("imported_issuers")[0]
		m.Write(t, "config/issuers", body{"default": twin}).Expect(http.StatusOK)
		for _, ref := range []string{"issuing", twin, renewed, "default"} {
			m.Write(t, "issuer/"+ref+"/issue/web", body{"common_name": "a.example.com"}).Expect(http.StatusOK)
		}

		revoked := m.Write(t, "issuer/issuing/revoke", nil).Expect(http.StatusOK)
		require.Contains(t, revoked.Warnings[0]+revoked.Warnings[1]+revoked.Warnings[2], twin, "the answer says what else ended")
		barred := func() {
			t.Helper()
			for _, ref := range []string{"issuing", twin, renewed, "default"} {
				answer := m.Write(t, "issuer/"+ref+"/issue/web", body{"common_name": "a.example.com"})
				require.NotEqual(t, http.StatusOK, answer.Status, ref)
			}
			for _, ref := range []string{twin, renewed} {
				require.Equal(t, "revoked", m.Read(t, "issuer/"+ref, nil).Text("state"))
				m.Write(t, "config/issuers", body{"default": ref}).Expect(http.StatusBadRequest)
				m.Patch(t, "issuer/"+ref, body{"usage": "issuing-certificates"}).Expect(http.StatusBadRequest)
			}
		}
		barred()
		restart(t, m)
		barred()
		m.Write(t, "crl/rotate", nil).Expect(http.StatusOK)
		list, err := x509.ParseRevocationList(m.Read(t, "issuer/root/crl/der", nil).Expect(http.StatusOK).Body)
		require.NoError(t, err)
		require.NoError(t, list.CheckSignatureFrom(root))
		require.Len(t, list.RevokedCertificateEntries, 2, "both certificates that the root signed for the key")
	})
}
