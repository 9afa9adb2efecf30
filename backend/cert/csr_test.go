package cert_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

var extensionRequest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// craft makes a CSR whose attributes field holds exactly the given octets.
func craft(t testing.TB, key *ecdsa.PrivateKey, attributes []byte) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	return craftWithKey(t, key, spki, attributes)
}

func craftWithKey(t testing.TB, key *ecdsa.PrivateKey, spki, attributes []byte) []byte {
	t.Helper()
	info := cryptobyte.NewBuilder(nil)
	info.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		b.AddASN1(cbasn1.SEQUENCE, func(*cryptobyte.Builder) {})
		b.AddBytes(spki)
		b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddBytes(attributes) })
	})
	tbs := info.BytesOrPanic()
	digest := sha256.Sum256(tbs)
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	require.NoError(t, err)
	outer := cryptobyte.NewBuilder(nil)
	outer.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2})
		})
		b.AddASN1BitString(signature)
	})
	return outer.BytesOrPanic()
}

// attribute encodes an attribute with values as given.
func attribute(oid asn1.ObjectIdentifier, values ...[]byte) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
			for _, value := range values {
				b.AddBytes(value)
			}
		})
	})
	return b.BytesOrPanic()
}

func extensions(t testing.TB, list ...pkix.Extension) []byte {
	t.Helper()
	der, err := asn1.Marshal(list)
	require.NoError(t, err)
	return der
}

func basicConstraints(value ...byte) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: value}
}

func TestParseCSRReadsWhatOpenSSLWrites(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is missing: install the Debian package openssl")
	}
	for _, algorithm := range [][]string{
		{"ec", "-pkeyopt", "ec_paramgen_curve:P-256"}, {"rsa:2048"}, {"ed25519"},
	} {
		out := filepath.Join(t.TempDir(), "csr.pem")
		args := append([]string{"req", "-new", "-nodes", "-keyout", filepath.Join(t.TempDir(), "key.pem"), "-out", out, "-newkey"}, algorithm...)
		args = append(args, "-subj", "/CN=web.example.com",
			"-addext", "subjectAltName=DNS:WEB.example.com,DNS:*.example.com,IP:10.0.0.1,email:a@Example.com,URI:spiffe://corp/ns/a,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:a@corp",
			"-addext", "keyUsage=digitalSignature", "-addext", "extendedKeyUsage=serverAuth,1.2.3.4",
			"-addext", "basicConstraints=CA:FALSE", "-addext", "1.2.3.5=ASN1:NULL")
		output, err := exec.Command(openssl, args...).CombinedOutput()
		require.NoError(t, err, string(output))
		raw, err := exec.Command(openssl, "req", "-in", out, "-text").Output() // text before the PEM block
		require.NoError(t, err)

		request, err := cert.ParseCSR(raw)
		require.NoError(t, err)
		require.Equal(t, "web.example.com", request.Subject.CommonName)
		require.Equal(t, []string{"web.example.com", "*.example.com"}, request.Names.DNS)
		require.Equal(t, []net.IP{{10, 0, 0, 1}}, request.Names.IP)
		require.Equal(t, []string{"a@example.com"}, request.Names.Email)
		require.Equal(t, "spiffe://corp/ns/a", request.Names.URI[0].String())
		require.Equal(t, []cert.OtherName{{OID: "1.3.6.1.4.1.311.20.2.3", Value: "a@corp"}}, request.Names.Other)
		require.Equal(t, x509.KeyUsageDigitalSignature, request.KeyUsage)
		require.Equal(t, []string{"1.3.6.1.5.5.7.3.1", "1.2.3.4"}, request.ExtKeyUsage)
		require.Equal(t, []string{"1.2.3.5"}, request.Unknown)
		require.Equal(t, 6, request.Names.Count())
	}
}

func TestParseCSRAcceptsDERAndBothPEMTypes(t *testing.T) {
	der := craft(t, ecKey(t), nil)
	for _, raw := range [][]byte{
		der,
		[]byte(cert.CSRPEM(der)),
		pem.EncodeToMemory(&pem.Block{Type: "NEW CERTIFICATE REQUEST", Bytes: der}),
	} {
		request, err := cert.ParseCSR(raw)
		require.NoError(t, err)
		require.Equal(t, der, request.Raw)
		require.Zero(t, request.Names.Count())
	}
}

func TestCA1_CSRAskingForCAIsRefused(t *testing.T) {
	key := ecKey(t)
	ca := basicConstraints(0x30, 0x03, 0x01, 0x01, 0xff)
	none := basicConstraints(0x30, 0x00)
	one := func(list ...pkix.Extension) []byte { return attribute(extensionRequest, extensions(t, list...)) }
	usage := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: []byte{0x03, 0x02, 0x02, 0x04}}
	for name, attributes := range map[string][]byte{
		"plain":                  one(ca),
		"with path length":       one(basicConstraints(0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x00)),
		"TRUE in BER":            one(basicConstraints(0x30, 0x03, 0x01, 0x01, 0x01)),
		"long form length":       one(basicConstraints(0x30, 0x81, 0x03, 0x01, 0x01, 0xff)),
		"trailing bytes":         one(basicConstraints(0x30, 0x00, 0x01, 0x01, 0xff)),
		"trailing bytes inside":  one(basicConstraints(0x30, 0x06, 0x01, 0x01, 0x00, 0x01, 0x01, 0xff)),
		"path length without CA": one(basicConstraints(0x30, 0x03, 0x02, 0x01, 0x00)),
		"empty value":            one(basicConstraints()),
		"twice":                  one(none, ca),
		"twice, CA first":        one(ca, none),
		"two attributes":         append(one(none), one(ca)...),
		"two values":             attribute(extensionRequest, extensions(t, none), extensions(t, ca)),
		"Microsoft's attribute":  attribute(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 14}, extensions(t, ca)),
		"keyCertSign":            one(usage),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cert.ParseCSR(craft(t, key, attributes))
			require.Error(t, err)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.Equal(t, "csr", fault.FieldOfError(err))
		})
	}
	for name, attributes := range map[string][]byte{"absent": nil, "CA:FALSE": one(none), "FALSE spelt out": one(basicConstraints(0x30, 0x03, 0x01, 0x01, 0x00))} {
		_, err := cert.ParseCSR(craft(t, key, attributes))
		require.NoError(t, err, name)
	}
	request, err := cert.ParseCACSR(craft(t, key, one(ca)))
	require.NoError(t, err)
	require.True(t, request.CA)
}

func TestKey1_ProofOfPossession(t *testing.T) {
	key := ecKey(t)
	der := craft(t, key, nil)
	other, err := x509.MarshalPKIXPublicKey(ecKey(t).Public())
	require.NoError(t, err)
	_, err = cert.ParseCSR(craftWithKey(t, key, other, nil))
	require.ErrorContains(t, err, "must prove possession")

	broken := append([]byte{}, der...)
	broken[len(broken)-1] ^= 1
	_, err = cert.ParseCSR(broken)
	require.ErrorContains(t, err, "must prove possession")

	_, err = cert.ParseCSR(append(append([]byte{}, der...), 0))
	require.ErrorContains(t, err, "trailing data")
	_, err = cert.ParseCSR([]byte(cert.CSRPEM(der) + "\n" + cert.CSRPEM(der)))
	require.ErrorContains(t, err, "trailing data")
	_, err = cert.ParseCSR([]byte(cert.CertificatePEM(der)))
	require.ErrorContains(t, err, "PEM block")
}

func TestKey1_OldSignatureHashesAreRefused(t *testing.T) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{SignatureAlgorithm: x509.SHA256WithRSA}, rsaKey(t))
	require.NoError(t, err)
	sha256WithRSA := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b}
	for suffix, name := range map[byte]string{0x05: "SHA1-RSA", 0x04: "MD5-RSA"} {
		weak := append(append([]byte{}, sha256WithRSA[:8]...), suffix)
		_, err := cert.ParseCSR([]byte(strings.ReplaceAll(string(der), string(sha256WithRSA), string(weak))))
		require.ErrorContains(t, err, "must be signed with SHA-256 or better, not "+name)
	}
}

func TestKey1_ExplicitCurveIsRefused(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is missing: install the Debian package openssl")
	}
	key := filepath.Join(t.TempDir(), "key.pem")
	output, err := exec.Command(openssl, "ecparam", "-genkey", "-name", "prime256v1", "-param_enc", "explicit", "-noout", "-out", key).CombinedOutput()
	require.NoError(t, err, string(output))
	raw, err := exec.Command(openssl, "req", "-new", "-key", key, "-subj", "/CN=a").Output()
	require.NoError(t, err)
	_, err = cert.ParseCSR(raw)
	require.ErrorContains(t, err, "explicit EC parameters")
}

func TestKey1_KeysOffTheTableAreRefused(t *testing.T) {
	key := ecKey(t)
	good, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	offCurve := append([]byte{}, good...)
	offCurve[len(offCurve)-1] ^= 1
	_, err = cert.ParseCSR(craftWithKey(t, key, offCurve, nil))
	require.Error(t, err)

	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	spki, err := x509.MarshalPKIXPublicKey(small.Public())
	require.NoError(t, err)
	_, err = cert.ParseCSR(craftWithKey(t, key, spki, nil))
	require.ErrorContains(t, err, "P-224")

	dsa := attributeAlgorithm(asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1})
	_, err = cert.ParseCSR(craftWithKey(t, key, dsa, nil))
	require.ErrorContains(t, err, "1.2.840.10040.4.1 is not supported")

	lowOrder, err := x509.MarshalPKIXPublicKey(make(ed25519.PublicKey, ed25519.PublicKeySize))
	require.NoError(t, err)
	_, err = cert.ParseCSR(craftWithKey(t, key, lowOrder, nil))
	require.ErrorContains(t, err, "small order")
}

func attributeAlgorithm(oid asn1.ObjectIdentifier) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oid) })
		b.AddASN1BitString([]byte{2, 1, 1})
	})
	return b.BytesOrPanic()
}

func sanOf(t testing.TB, names cert.Names) pkix.Extension {
	t.Helper()
	san, err := cert.MarshalSAN(names, false)
	require.NoError(t, err)
	return san
}

func TestDos1_CapsHoldBeforeParsing(t *testing.T) {
	key := ecKey(t)
	many := cryptobyte.NewBuilder(nil)
	many.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for range cert.MaxSANs + 1 {
			b.AddASN1(cbasn1.Tag(2).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte("a.b")) })
		}
	})
	deep := make([]byte, 0, 60000)
	for range 15000 {
		deep = append(deep, 0x30, 0x80, 0x30, 0x80)
	}
	unknown := func(n int) (list []pkix.Extension) {
		for i := range n {
			list = append(list, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, i}, Value: []byte{5, 0}})
		}
		return list
	}
	var attributes []byte
	for i := range 40 {
		attributes = append(attributes, attribute(asn1.ObjectIdentifier{1, 2, 3, i}, []byte{5, 0})...)
	}
	modulus := make([]byte, 16384/8)
	modulus[0], modulus[len(modulus)-1] = 0x7f, 1
	huge := cryptobyte.NewBuilder(nil)
	huge.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1})
			b.AddASN1NULL()
		})
		b.AddASN1(cbasn1.BIT_STRING, func(b *cryptobyte.Builder) {
			b.AddUint8(0)
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(modulus) })
				b.AddASN1Int64(65537)
			})
		})
	})
	san := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: many.BytesOrPanic()}
	for name, test := range map[string]struct {
		raw  []byte
		kind fault.Kind
	}{
		"10 MB":               {[]byte(strings.Repeat("A", 10<<20)), fault.TooLarge},
		"100,000 names":       {craft(t, key, attribute(extensionRequest, make([]byte, 100_000*7))), fault.TooLarge},
		"1,001 names":         {craft(t, key, attribute(extensionRequest, extensions(t, san))), fault.TooLarge},
		"too many extensions": {craft(t, key, attribute(extensionRequest, extensions(t, unknown(65)...))), fault.TooLarge},
		"too many attributes": {craft(t, key, attributes), fault.TooLarge},
		"deep ASN.1":          {deep, fault.Invalid},
		"deep attribute":      {craft(t, key, attribute(extensionRequest, deep)), fault.Invalid},
		"RSA-16384":           {craftWithKey(t, key, huge.BytesOrPanic(), nil), fault.Invalid},
		"nothing":             {nil, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := cert.ParseCSR(test.raw)
			require.Error(t, err)
			require.Equal(t, test.kind, fault.KindOf(err), err)
			require.Equal(t, 400, fault.KindOf(err).HTTPStatus())
			require.Less(t, time.Since(start), 50*time.Millisecond)
			require.Less(t, len(err.Error()), 300)
		})
	}
}

func TestNames1_TypesThatAreNotUnderstoodAreRefused(t *testing.T) {
	key := ecKey(t)
	for tag, want := range map[byte]string{
		0xa3: "x400Address", 0xa4: "directoryName", 0xa5: "ediPartyName", 0x88: "registeredID",
		0x82: "empty labels", 0x87: "4 or 16 octets", 0xa0: "otherName is ill-formed", 0x0c: "GeneralNames only",
	} {
		san := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte{0x30, 2, tag, 0}}
		request, err := cert.ParseCSR(craft(t, key, attribute(extensionRequest, extensions(t, san))))
		require.NoError(t, err, "whether names are taken is not the parser's question")
		require.ErrorContains(t, request.NamesErr, want)
		require.Zero(t, request.Names.Count(), "and none of them can be taken unchecked")
	}
	// An otherName of another type than UTF8String.
	octets := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte{0x30, 10, 0xa0, 8, 0x06, 2, 0x2a, 3, 0xa0, 2, 0x04, 0}}
	request, err := cert.ParseCSR(craft(t, key, attribute(extensionRequest, extensions(t, octets))))
	require.NoError(t, err)
	require.ErrorContains(t, request.NamesErr, "must hold one UTF8String")
}

func TestMarshalSANIsReadBackTheSame(t *testing.T) {
	uri, err := url.Parse("spiffe://corp/a")
	require.NoError(t, err)
	names := cert.Names{
		DNS: []string{"a.example.com", "*.example.com"}, IP: []net.IP{{10, 0, 0, 1}, net.ParseIP("fd00::1")},
		Email: []string{"a@example.com"}, URI: []*url.URL{uri}, Other: []cert.OtherName{{OID: "1.2.3", Value: "ü"}},
	}
	san, err := cert.MarshalSAN(names, true)
	require.NoError(t, err)
	require.True(t, san.Critical)
	back, err := cert.ParseSAN(san.Value)
	require.NoError(t, err)
	require.Equal(t, names, back)

	// The standard library reads and writes the same octets, otherName aside.
	names.Other = nil
	ours := sanOf(t, names)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		DNSNames: names.DNS, IPAddresses: names.IP, EmailAddresses: names.Email, URIs: names.URI,
	}, ecKey(t))
	require.NoError(t, err)
	request, err := cert.ParseCSR(der)
	require.NoError(t, err)
	theirs, err := x509.ParseCertificateRequest(der)
	require.NoError(t, err)
	require.Equal(t, theirs.Extensions[0].Value, ours.Value)
	require.Equal(t, names, request.Names)

	_, err = cert.MarshalSAN(cert.Names{}, false)
	require.Error(t, err)
	_, err = cert.MarshalSAN(cert.Names{DNS: []string{"bücher.example"}}, false)
	require.Error(t, err)
	_, err = cert.MarshalSAN(cert.Names{Other: []cert.OtherName{{OID: "x"}}}, false)
	require.Error(t, err)
}

func TestCSRNamesAreUnique(t *testing.T) {
	san := sanOf(t, cert.Names{DNS: []string{"a.example.com", "A.example.com", "a.example.com."}, IP: []net.IP{{10, 0, 0, 1}, net.ParseIP("::ffff:10.0.0.1")}})
	names, err := cert.ParseSAN(san.Value)
	require.NoError(t, err)
	require.Equal(t, cert.Names{DNS: []string{"a.example.com"}, IP: []net.IP{{10, 0, 0, 1}}}, names)
}
