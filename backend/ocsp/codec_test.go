package ocsp_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	oracle "golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
)

// openssl runs the tool and returns what it printed.
func openssl(t testing.TB, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is missing: install the Debian package openssl")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// file writes octets for a tool, as PEM when kind is given, and returns the path.
func file(t testing.TB, kind string, octets []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if kind != "" {
		octets = pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: octets})
	}
	require.NoError(t, os.WriteFile(path, octets, 0o600))
	return path
}

// leaf returns a certificate of the CA.
func leaf(t testing.TB, c ca, serial *big.Int) *x509.Certificate {
	t.Helper()
	return c.issue(t, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "leaf"},
		NotBefore: c.certificate.NotBefore, NotAfter: c.certificate.NotAfter,
	}, c.key.Public())
}

func TestParseRequest_OfOpenSSL(t *testing.T) {
	c := newCA(t, algorithms[3], "root", time.Now())
	issuer := file(t, "CERTIFICATE", c.certificate.Raw)
	one := file(t, "CERTIFICATE", leaf(t, c, big.NewInt(0x8001)).Raw)
	two := file(t, "CERTIFICATE", leaf(t, c, big.NewInt(0x7f)).Raw)
	key, err := x509.MarshalPKCS8PrivateKey(c.key)
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), "request")
	openssl(t, "ocsp", "-issuer", issuer, "-cert", one, "-sha256", "-cert", two, "-reqout", out,
		"-signer", issuer, "-signkey", file(t, "PRIVATE KEY", key))
	der, err := os.ReadFile(out)
	require.NoError(t, err)

	request, status := ocsp.ParseRequest(der)
	require.Equal(t, ocsp.Successful, status, "signed, with a nonce and two certificates")
	require.Len(t, request.CertIDs, 2)
	require.NotEmpty(t, request.Nonce)
	require.Equal(t, cert.Serial("\x80\x01"), request.CertIDs[0].Serial)
	require.Equal(t, crypto.SHA1, request.CertIDs[0].Hash)
	require.Equal(t, cert.Serial("\x7f"), request.CertIDs[1].Serial)
	require.Equal(t, crypto.SHA256, request.CertIDs[1].Hash)
	require.Equal(t, hash(crypto.SHA256, c.certificate.RawSubject), request.CertIDs[1].NameHash)
}

func TestOCSP1_RefusedRequests(t *testing.T) {
	c := newCA(t, algorithms[0], "root", noon)
	id := ask(t, c.certificate, crypto.SHA1, big.NewInt(1))
	list := func(n int) (all []wireSingle) {
		for range n {
			all = append(all, id)
		}
		return all
	}
	good := encode(t, list(1))
	unknown := asn1.ObjectIdentifier{1, 2, 3, 4}
	accept, err := asn1.Marshal([]asn1.ObjectIdentifier{oidBasic})
	require.NoError(t, err)
	other, err := asn1.Marshal([]asn1.ObjectIdentifier{unknown})
	require.NoError(t, err)
	singly := func(critical bool) []wireSingle {
		one := list(1)
		one[0].Extensions = []pkix.Extension{{Id: unknown, Critical: critical, Value: []byte{5, 0}}}
		return one
	}
	cases := []struct {
		name string
		der  []byte
		want ocsp.Status
	}{
		{"one certificate", good, ocsp.Successful},
		{"16 certificates", encode(t, list(16)), ocsp.Successful},
		{"17 certificates", encode(t, list(17)), ocsp.MalformedRequest},
		{"no certificate", encode(t, list(0)), ocsp.MalformedRequest},
		{"nothing", nil, ocsp.MalformedRequest},
		{"text", []byte("GET / HTTP/1.0"), ocsp.MalformedRequest},
		{"cut short", good[:len(good)-1], ocsp.MalformedRequest},
		{"trailing octet", append(bytes.Clone(good), 0), ocsp.MalformedRequest},
		{"10 MB", make([]byte, 10<<20), ocsp.MalformedRequest},
		{"indefinite length", []byte{0x30, 0x80, 0, 0}, ocsp.MalformedRequest},
		{"deep", bytes.Repeat([]byte{0x30, 0x80}, 30000), ocsp.MalformedRequest},
		{"version 2", encode(t, list(1), func(r *wireRequest) { r.TBS.Version = 1 }), ocsp.MalformedRequest},
		{"nonce of 1", encode(t, list(1), nonce(1)), ocsp.Successful},
		{"nonce of 128", encode(t, list(1), nonce(128)), ocsp.Successful},
		{"nonce of 0", encode(t, list(1), nonce(0)), ocsp.MalformedRequest},
		{"nonce of 129", encode(t, list(1), nonce(129)), ocsp.MalformedRequest},
		{"two nonces", encode(t, list(1), nonce(8), nonce(8)), ocsp.MalformedRequest},
		{"bare nonce", encode(t, list(1), extended(oidNonce, false, []byte("12345678"))), ocsp.MalformedRequest},
		{"unknown extension", encode(t, list(1), extended(unknown, false, []byte{5, 0})), ocsp.Successful},
		{"critical unknown extension", encode(t, list(1), extended(unknown, true, []byte{5, 0})), ocsp.Unauthorized},
		{"critical nonce", encode(t, list(1), nonce(8), func(r *wireRequest) { r.TBS.Extensions[0].Critical = true }), ocsp.Successful},
		{"critical acceptable responses", encode(t, list(1), extended(oidAccept, true, accept)), ocsp.Successful},
		{"critical acceptable responses of other types", encode(t, list(1), extended(oidAccept, true, other)), ocsp.Unauthorized},
		{"unknown single extension", encode(t, singly(false)), ocsp.Successful},
		{"critical unknown single extension", encode(t, singly(true)), ocsp.Unauthorized},
	}
	for _, c := range cases {
		request, status := ocsp.ParseRequest(c.der)
		require.Equal(t, c.want, status, c.name)
		require.Equal(t, status == ocsp.Successful, request != nil, c.name)
	}
}

func TestParseRequest_SerialsThatNobodyHas(t *testing.T) {
	c := newCA(t, algorithms[0], "root", noon)
	huge := new(big.Int).Lsh(big.NewInt(1), 8*20)
	for _, serial := range []*big.Int{big.NewInt(0), big.NewInt(-1), big.NewInt(-0x8001), huge} {
		request, status := ocsp.ParseRequest(about(t, c, serial))
		require.Equal(t, ocsp.Successful, status)
		require.Empty(t, request.CertIDs[0].Serial, serial.String())
	}
	request, _ := ocsp.ParseRequest(about(t, c, new(big.Int).Sub(huge, big.NewInt(1))))
	require.Len(t, request.CertIDs[0].Serial, 20)
}

// TestEncode_OpenSSLVerifies lets OpenSSL check every signature algorithm, a nonce,
// two CertIDs with different hashes, and the three states.
func TestEncode_OpenSSLVerifies(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	for _, a := range algorithms {
		c := newCA(t, a, "root", now)
		issuer := file(t, "CERTIFICATE", c.certificate.Raw)
		out := filepath.Join(t.TempDir(), "request")
		openssl(t, "ocsp", "-issuer", issuer, "-serial", "0x11", "-sha256", "-serial", "0x22", "-serial", "0x33", "-reqout", out)
		der, err := os.ReadFile(out)
		require.NoError(t, err)
		request, status := ocsp.ParseRequest(der)
		require.Equal(t, ocsp.Successful, status)
		signer, err := ocsp.NewSigner(c.authority(t))
		require.NoError(t, err)
		response, err := signer.Encode(ocsp.Response{
			ThisUpdate: now, NextUpdate: now.Add(time.Hour), Nonce: request.Nonce,
			Singles: []ocsp.Single{
				{CertID: request.CertIDs[0].Raw, State: ocsp.Good},
				{CertID: request.CertIDs[1].Raw, State: ocsp.Revoked, RevokedAt: now.Add(-time.Hour), Reason: cert.CertificateHold},
				{CertID: request.CertIDs[2].Raw, State: ocsp.Unknown},
			},
		})
		require.NoError(t, err)
		// With -no_nonce it adds none of its own and still compares the two that are there.
		said := openssl(t, "ocsp", "-reqin", out, "-no_nonce", "-respin", file(t, "", response), "-CAfile", issuer, "-verify_other", issuer, "-resp_text")
		for _, line := range []string{"Response verify OK", "Cert Status: good", "Cert Status: revoked", "Revocation Reason: certificateHold (0x6)", "Cert Status: unknown", "OCSP Nonce"} {
			require.Contains(t, said, line, a.name)
		}
		require.NotContains(t, said, "WARNING", a.name)
	}
}

func TestEncode_OracleReadsTheSame(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	for _, a := range algorithms[:4] { // the oracle knows neither PSS nor Ed25519
		c := newCA(t, a, "root", now)
		signer, err := ocsp.NewSigner(c.authority(t))
		require.NoError(t, err)
		for _, reason := range append(cert.Reasons()[1:], cert.Unspecified) {
			request, status := ocsp.ParseRequest(about(t, c, big.NewInt(0xabc)))
			require.Equal(t, ocsp.Successful, status)
			der, err := signer.Encode(ocsp.Response{
				ThisUpdate: now, NextUpdate: now.Add(time.Hour),
				Singles: []ocsp.Single{{CertID: request.CertIDs[0].Raw, State: ocsp.Revoked, RevokedAt: now, Reason: reason}},
			})
			require.NoError(t, err)
			read, err := oracle.ParseResponse(der, c.certificate)
			require.NoError(t, err, a.name)
			require.Equal(t, oracle.Revoked, read.Status)
			require.Equal(t, int(reason), read.RevocationReason)
			require.Equal(t, big.NewInt(0xabc), read.SerialNumber)
			require.Equal(t, now, read.RevokedAt)
			require.Equal(t, now, read.ProducedAt)
			require.Equal(t, now, read.ThisUpdate)
			require.Equal(t, now.Add(time.Hour), read.NextUpdate)
			require.Len(t, read.ResponderKeyHash, 20)
			require.Nil(t, read.Certificate, "a CA that answers for itself is not included")
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	c := newCA(f, algorithms[0], "root", noon)
	one := ask(f, c.certificate, crypto.SHA1, big.NewInt(0x123456))
	two := ask(f, c.certificate, crypto.SHA256, big.NewInt(-5))
	two.Extensions = []pkix.Extension{{Id: oidAccept, Value: []byte{5, 0}}}
	f.Add(encode(f, []wireSingle{one}))
	f.Add(encode(f, []wireSingle{one, two}, nonce(32), extended(oidAccept, true, []byte{0x30, 0})))
	f.Add(encode(f, []wireSingle{two}, func(r *wireRequest) { r.TBS.Version = 1 }))
	f.Fuzz(func(t *testing.T, der []byte) {
		request, status := ocsp.ParseRequest(der)
		if status != ocsp.Successful {
			require.Nil(t, request)
			require.Contains(t, []ocsp.Status{ocsp.MalformedRequest, ocsp.Unauthorized}, status)
			return
		}
		require.NotEmpty(t, request.CertIDs)
		require.LessOrEqual(t, len(request.CertIDs), ocsp.MaxCertIDs)
		for _, id := range request.CertIDs {
			require.True(t, bytes.Contains(der, id.Raw))
			require.LessOrEqual(t, len(id.Serial), cert.MaxSerialOctets)
		}
		if read, err := oracle.ParseRequest(der); err == nil && request.CertIDs[0].Serial != "" {
			require.Equal(t, read.SerialNumber, request.CertIDs[0].Serial.Big())
			require.Equal(t, read.HashAlgorithm == crypto.SHA1, request.CertIDs[0].Hash == crypto.SHA1)
			require.True(t, bytes.Equal(read.IssuerNameHash, request.CertIDs[0].NameHash))
			require.True(t, bytes.Equal(read.IssuerKeyHash, request.CertIDs[0].KeyHash))
		}
	})
}
