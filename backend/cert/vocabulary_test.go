package cert_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

func TestParseSerial(t *testing.T) {
	for _, text := range []string{"17:5f:0a", "17-5F-0A", "175f0a", " 17:5f:0a\n", "00:17:5f:0a", "0x175f0a", "0X175F0A", "17 5f 0a", "0x17:5f:0a", "175f 0a", "00 17 5F 0A"} {
		serial, err := cert.ParseSerial(text)
		require.NoError(t, err, text)
		require.Equal(t, "17:5f:0a", serial.String())
		require.Equal(t, "17-5f-0a", serial.Hyphenated())
		require.Equal(t, int64(0x175f0a), serial.Big().Int64())
	}
	for _, text := range []string{"a:5f:0a", "0a5f0a", "a5f0a", "0xa5f0a", "0xA5F0A", "A 5F 0A"} {
		serial, err := cert.ParseSerial(text)
		require.NoError(t, err, text)
		require.Equal(t, "0a:5f:0a", serial.String(), "the first zero is left out by programs that print a number")
	}
	one, err := cert.ParseSerial("1")
	require.NoError(t, err)
	require.Equal(t, "01", one.String())
	twenty := strings.Repeat("7f", cert.MaxSerialOctets)
	_, err = cert.ParseSerial(twenty)
	require.NoError(t, err)
	for _, text := range []string{"", ":", "0", "00", "0x", "0x0x17", "17:0x5f", "zz", "17:5f:0", "17:5:0a", "17:5f0:0a", "17.5f.0a", "-17", "-0x17", " -17:5f:0a", "17,5f", twenty + "01", "../../etc", strings.Repeat("00:", 30) + "01"} {
		_, err := cert.ParseSerial(text)
		require.Error(t, err, text)
		require.Equal(t, "serial_number", fault.FieldOfError(err))
	}
	require.Empty(t, cert.Serial("").String())
}

func TestSerialRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		octets := rapid.SliceOfN(rapid.Byte(), 1, cert.MaxSerialOctets).Draw(r, "octets")
		octets[0] |= 1
		n := new(big.Int).SetBytes(octets)
		serial := cert.SerialOf(n)
		for _, text := range []string{serial.String(), serial.Hyphenated(), strings.ToUpper(serial.String())} {
			back, err := cert.ParseSerial(text)
			require.NoError(r, err)
			require.Equal(r, serial, back)
		}
		require.Zero(r, n.Cmp(serial.Big()))
	})
}

func FuzzParseSerial(f *testing.F) {
	for _, seed := range []string{"17:5f:0a", "17-5F-0A", "0x75f0a", "17 5f 0a", "00", "zz", strings.Repeat("7f", 20)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		serial, err := cert.ParseSerial(text)
		if err != nil {
			require.Empty(t, serial)
			return
		}
		require.Positive(t, serial.Big().Sign())
		back, err := cert.ParseSerial(serial.Hyphenated())
		require.NoError(t, err)
		require.Equal(t, serial, back)
	})
}

func TestReasons(t *testing.T) {
	require.Len(t, cert.Reasons(), 10)
	for _, reason := range cert.Reasons() {
		require.True(t, reason.Known())
		for _, text := range []string{reason.String(), strings.ToUpper(reason.String())} {
			back, err := cert.ParseReason(text)
			require.NoError(t, err)
			require.Equal(t, reason, back)
		}
	}
	require.False(t, cert.Reason(7).Known(), "RFC 5280 section 5.3.1 does not use 7")
	back, err := cert.ParseReason("key_compromise")
	require.NoError(t, err)
	require.Equal(t, cert.KeyCompromise, back)
	back, err = cert.ParseReason("")
	require.NoError(t, err)
	require.Equal(t, cert.Unspecified, back)
	_, err = cert.ParseReason("bored")
	require.Equal(t, "reason", fault.FieldOfError(err))
}

func TestKeySpecs(t *testing.T) {
	for _, spec := range cert.KeySpecs() {
		back, err := cert.ParseKeySpec(spec.String())
		require.NoError(t, err)
		require.Equal(t, spec, back)
		back, err = cert.NewKeySpec(string(spec.Type), spec.Bits)
		require.NoError(t, err)
		require.Equal(t, spec, back)
	}
	for keyType, want := range map[string]cert.KeySpec{"rsa": cert.RSA2048, "ec": cert.P256, "ed25519": cert.Edwards25519} {
		spec, err := cert.NewKeySpec(keyType, 0)
		require.NoError(t, err)
		require.Equal(t, want, spec)
	}
	_, err := cert.NewKeySpec("dsa", 0)
	require.Equal(t, "key_type", fault.FieldOfError(err))
	_, err = cert.NewKeySpec("rsa", 1024)
	require.Equal(t, "key_bits", fault.FieldOfError(err))
	_, err = cert.NewKeySpec("ec", 224)
	require.Equal(t, "key_bits", fault.FieldOfError(err))
	_, err = cert.ParseKeySpec("rsa-1024")
	require.ErrorContains(t, err, "rsa-2048, rsa-3072")
	spec, err := cert.KeySpecOf(rsaKey(t).Public())
	require.NoError(t, err)
	require.Equal(t, cert.RSA2048, spec)
}

func TestEqual(t *testing.T) {
	a, b := ecKey(t), ecKey(t)
	require.True(t, cert.Equal(a.Public(), a.Public()))
	require.False(t, cert.Equal(a.Public(), b.Public()))
	require.False(t, cert.Equal(a.Public(), rsaKey(t).Public()))
	require.False(t, cert.Equal(nil, nil))
}

func TestFingerprints(t *testing.T) {
	key := ecKey(t)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	digest, err := cert.KeyFingerprint(key.Public())
	require.NoError(t, err)
	require.Equal(t, cert.Fingerprint(sha256.Sum256(spki)), digest)
	require.Equal(t, digest, cert.FingerprintOf(spki))
	require.Equal(t, digest.Hex(), strings.ReplaceAll(digest.String(), ":", ""))
	_, err = cert.KeyFingerprint("no key")
	require.Error(t, err)
}

func TestSubjectKeyIDIsRFC7093Method1(t *testing.T) {
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	digest := sha256.Sum256(pub)
	id, err := cert.SubjectKeyID(pub)
	require.NoError(t, err)
	require.Equal(t, digest[:20], id)
	_, err = cert.SubjectKeyID("no key")
	require.Error(t, err)
}

func TestSignatureAlgorithm(t *testing.T) {
	for _, test := range []struct {
		spec   cert.KeySpec
		bits   int
		scheme cert.Scheme
		want   x509.SignatureAlgorithm
	}{
		{cert.RSA2048, 0, "", x509.SHA256WithRSA},
		{cert.RSA4096, 384, cert.PKCS1v15, x509.SHA384WithRSA},
		{cert.RSA4096, 512, cert.PSS, x509.SHA512WithRSAPSS},
		{cert.RSA4096, 0, cert.PSS, x509.SHA256WithRSAPSS},
		{cert.P256, 0, "", x509.ECDSAWithSHA256},
		{cert.P384, 0, cert.PKCS1v15, x509.ECDSAWithSHA384},
		{cert.P521, 0, "", x509.ECDSAWithSHA512},
		{cert.P256, 512, "", x509.ECDSAWithSHA512},
		{cert.Edwards25519, 0, "", x509.PureEd25519},
	} {
		got, err := cert.SignatureAlgorithm(test.spec, test.bits, test.scheme)
		require.NoError(t, err)
		require.Equal(t, test.want, got)
		require.True(t, cert.SuitsKey(got, test.spec.Type))
	}
	for field, test := range map[string]struct {
		spec   cert.KeySpec
		bits   int
		scheme cert.Scheme
	}{
		"signature_bits": {cert.RSA2048, 160, ""},
		"use_pss":        {cert.P256, 256, cert.PSS},
		"":               {cert.RSA2048, 256, "oaep"},
	} {
		_, err := cert.SignatureAlgorithm(test.spec, test.bits, test.scheme)
		require.Error(t, err)
		require.Equal(t, field, fault.FieldOfError(err))
	}
	_, err := cert.SignatureAlgorithm(cert.Edwards25519, 256, "")
	require.Equal(t, "signature_bits", fault.FieldOfError(err))
	require.False(t, cert.SuitsKey(x509.ECDSAWithSHA256, cert.RSA))
	require.False(t, cert.SuitsKey(x509.SHA1WithRSA, cert.RSA))
	require.False(t, cert.SuitsKey(0, cert.RSA))
}

func TestKeyUsageIsEncodedAsTheStandardLibraryDoes(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for usage := x509.KeyUsage(1); usage < 1<<9; usage++ {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), KeyUsage: usage}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		require.NoError(t, err)
		made, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		extension, err := cert.MarshalKeyUsage(usage)
		require.NoError(t, err)
		require.Contains(t, made.Extensions, extension, "%09b", usage)
	}
}
