package sign_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	end   = start.AddDate(1, 0, 0)

	onceRSA = sync.OnceValues(func() (crypto.Signer, error) { return cert.GenerateKey(cert.RSA3072) })
)

func key(t testing.TB, spec cert.KeySpec) crypto.Signer {
	t.Helper()
	if spec == cert.RSA3072 { // one for all tests: making it takes long
		signer, err := onceRSA()
		require.NoError(t, err)
		return signer
	}
	signer, err := cert.GenerateKey(spec)
	require.NoError(t, err)
	return signer
}

func caTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: start, NotAfter: end,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func leafTemplate(dns ...string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: dns, NotBefore: start, NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature}
}

// root makes a self-signed CA; edit may be nil.
func root(t testing.TB, signer crypto.Signer, algorithm x509.SignatureAlgorithm, edit func(*x509.Certificate)) *sign.Authority {
	t.Helper()
	template := caTemplate("Root")
	if edit != nil {
		edit(template)
	}
	draft, err := sign.SelfDraft(template, signer, algorithm)
	require.NoError(t, err)
	certificate, err := draft.Sign()
	require.NoError(t, err)
	return authority(t, certificate, signer, algorithm)
}

func authority(t testing.TB, certificate *x509.Certificate, signer crypto.Signer, algorithm x509.SignatureAlgorithm) *sign.Authority {
	t.Helper()
	made, err := sign.NewAuthority(sign.Config{Certificate: certificate, Signer: signer, Algorithm: algorithm})
	require.NoError(t, err)
	return made
}

// every algorithm that an authority may sign with, and a key for it.
var every = []struct {
	spec      cert.KeySpec
	algorithm x509.SignatureAlgorithm
}{
	{cert.RSA3072, x509.SHA256WithRSA},
	{cert.RSA3072, x509.SHA384WithRSA},
	{cert.RSA3072, x509.SHA512WithRSA},
	{cert.RSA3072, x509.SHA256WithRSAPSS},
	{cert.RSA3072, x509.SHA384WithRSAPSS},
	{cert.RSA3072, x509.SHA512WithRSAPSS},
	{cert.P256, x509.ECDSAWithSHA256},
	{cert.P384, x509.ECDSAWithSHA384},
	{cert.P521, x509.ECDSAWithSHA512},
	{cert.P256, x509.ECDSAWithSHA384},
	{cert.Edwards25519, x509.PureEd25519},
}

func TestDraftThenSign(t *testing.T) {
	for _, row := range every {
		t.Run(row.algorithm.String(), func(t *testing.T) {
			ca := root(t, key(t, row.spec), row.algorithm, nil)
			require.Equal(t, row.algorithm, ca.Algorithm())
			require.NoError(t, ca.Certificate().CheckSignatureFrom(ca.Certificate()))

			leaf := key(t, cert.P256)
			draft, err := ca.Draft(leafTemplate("a.example"), leaf.Public())
			require.NoError(t, err)
			require.Error(t, draft.Certificate().CheckSignatureFrom(ca.Certificate()), "a draft is worth nothing")
			require.Equal(t, row.algorithm, draft.Certificate().SignatureAlgorithm)
			signed, err := draft.Sign()
			require.NoError(t, err)
			require.NoError(t, signed.CheckSignatureFrom(ca.Certificate()))
			require.Equal(t, draft.Certificate().RawTBSCertificate, signed.RawTBSCertificate)
			require.Equal(t, row.algorithm, signed.SignatureAlgorithm)
			require.Equal(t, ca.Certificate().SubjectKeyId, signed.AuthorityKeyId)
			want, err := cert.SubjectKeyID(leaf.Public())
			require.NoError(t, err)
			require.Equal(t, want, signed.SubjectKeyId)
		})
	}
}

// The octets are the ones that crypto/x509 makes with the real key.
func TestSignedOctetsAreThoseOfTheStandardLibrary(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	signer := key(t, cert.Edwards25519) // deterministic signatures
	ca := root(t, signer, 0, nil)
	leaf := key(t, cert.P256)
	draft, err := ca.Draft(leafTemplate("a.example"), leaf.Public())
	require.NoError(t, err)
	signed, err := draft.Sign()
	require.NoError(t, err)
	template := leafTemplate("a.example")
	template.SubjectKeyId = signed.SubjectKeyId
	want, err := x509.CreateCertificate(rand.Reader, template, ca.Certificate(), leaf.Public(), signer)
	require.NoError(t, err)
	require.Equal(t, want, signed.Raw)
}

func TestTemplateIsNotChanged(t *testing.T) {
	ca := root(t, key(t, cert.P256), 0, nil)
	template := leafTemplate("a.example")
	_, err := ca.Draft(template, key(t, cert.P256).Public())
	require.NoError(t, err)
	require.Equal(t, leafTemplate("a.example"), template)
	template.SubjectKeyId = []byte{1, 2, 3}
	draft, err := ca.Draft(template, key(t, cert.P256).Public())
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 3}, draft.Certificate().SubjectKeyId)
}

func TestChecksSeeTheExactOctetsAndDecide(t *testing.T) {
	ca := root(t, key(t, cert.P256), 0, nil)
	var seen []*x509.Certificate
	look := func(drafted, issuer *x509.Certificate) error {
		require.Same(t, ca.Certificate(), issuer)
		seen = append(seen, drafted)
		return nil
	}
	refusal := fault.New(fault.Invalid, "no")
	refuse := func(_, _ *x509.Certificate) error { return refusal }
	never := func(_, _ *x509.Certificate) error { t.Error("the first refusal wins"); return nil }
	draft, err := ca.Draft(leafTemplate("a.example"), key(t, cert.P256).Public(), look, refuse, never)
	require.ErrorIs(t, err, refusal)
	require.Nil(t, draft)
	require.Len(t, seen, 1)

	draft, err = ca.Draft(leafTemplate("a.example"), key(t, cert.P256).Public(), look)
	require.NoError(t, err)
	require.Same(t, seen[1], draft.Certificate())

	_, err = sign.SelfDraft(caTemplate("Root"), key(t, cert.P256), 0, func(drafted, issuer *x509.Certificate) error {
		require.Same(t, drafted, issuer)
		return refusal
	})
	require.ErrorIs(t, err, refusal)
}

func TestDraftIsRedeemedOnce(t *testing.T) {
	ca := root(t, key(t, cert.P256), 0, nil)
	draft, err := ca.Draft(leafTemplate("a.example"), key(t, cert.P256).Public())
	require.NoError(t, err)
	var signed, refused atomic.Int32
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if _, err := draft.Sign(); err == nil {
				signed.Add(1)
			} else if fault.Is(err, fault.Conflict) {
				refused.Add(1)
			}
		})
	}
	group.Wait()
	require.Equal(t, int32(1), signed.Load())
	require.Equal(t, int32(15), refused.Load())
}

// faulty is a token that fails in one way.
type faulty struct {
	crypto.Signer
	sign func(digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (f faulty) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return f.sign(digest, opts)
}

func TestHSM1_FaultySignersYieldNothing(t *testing.T) {
	good := key(t, cert.P256)
	certificate := root(t, good, 0, nil).Certificate()
	draft, err := root(t, key(t, cert.P256), 0, nil).Draft(leafTemplate("ocsp.example"), good.Public())
	require.NoError(t, err)
	responder, err := draft.Sign()
	require.NoError(t, err)
	other := key(t, cert.P256)
	gone := fault.New(fault.Unavailable, "token is gone")
	for name, test := range map[string]struct {
		sign func(digest []byte, opts crypto.SignerOpts) ([]byte, error)
		kind fault.Kind
	}{
		"fails":                {func([]byte, crypto.SignerOpts) ([]byte, error) { return nil, gone }, fault.Unavailable},
		"fails without a kind": {func([]byte, crypto.SignerOpts) ([]byte, error) { return nil, errors.New("CKR_GENERAL_ERROR") }, fault.Internal},
		"returns nothing":      {func([]byte, crypto.SignerOpts) ([]byte, error) { return nil, nil }, fault.Internal},
		"returns rubbish":      {func([]byte, crypto.SignerOpts) ([]byte, error) { return []byte{1, 2, 3}, nil }, fault.Internal},
		"signs another message": {func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
			return good.Sign(rand.Reader, make([]byte, len(digest)), opts)
		}, fault.Internal},
		"signs with another key": {func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
			return other.Sign(rand.Reader, digest, opts)
		}, fault.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			ca := authority(t, certificate, faulty{good, test.sign}, 0)
			draft, err := ca.Draft(leafTemplate("a.example"), key(t, cert.P256).Public())
			require.NoError(t, err, "drafting does not touch the token")
			signed, err := draft.Sign()
			require.Nil(t, signed)
			require.Equal(t, test.kind, fault.KindOf(err), err)
			_, err = draft.Sign()
			require.Equal(t, fault.Conflict, fault.KindOf(err), "a failed draft stays redeemed")

			_, err = authority(t, responder, faulty{good, test.sign}, 0).Stream().Sign()
			require.Equal(t, test.kind, fault.KindOf(err), "a responder's key in a token is no better: %v", err)

			_, err = sign.Request(&x509.CertificateRequest{}, faulty{good, test.sign})
			require.Error(t, err)
			if test.kind == fault.Unavailable {
				require.Equal(t, test.kind, fault.KindOf(err))
			}
		})
	}
}

func TestNewAuthorityRefuses(t *testing.T) {
	certificate := root(t, key(t, cert.P256), 0, nil).Certificate()
	for name, test := range map[string]struct {
		config sign.Config
		kind   fault.Kind
	}{
		"nothing":           {sign.Config{}, fault.Internal},
		"another key":       {sign.Config{Certificate: certificate, Signer: key(t, cert.P256)}, fault.Conflict},
		"another type":      {sign.Config{Certificate: certificate, Signer: key(t, cert.Edwards25519)}, fault.Conflict},
		"another algorithm": {sign.Config{Certificate: certificate, Signer: faulty{Signer: public{certificate.PublicKey}}, Algorithm: x509.SHA256WithRSA}, fault.Invalid},
		"SHA-1":             {sign.Config{Certificate: certificate, Signer: faulty{Signer: public{certificate.PublicKey}}, Algorithm: x509.ECDSAWithSHA1}, fault.Invalid},
	} {
		_, err := sign.NewAuthority(test.config)
		require.Equal(t, test.kind, fault.KindOf(err), name)
	}
}

type public struct{ key crypto.PublicKey }

func (p public) Public() crypto.PublicKey { return p.key }

func (p public) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no private key")
}

func TestDraftRefuses(t *testing.T) {
	signer := key(t, cert.P256)
	ca := root(t, signer, 0, nil)
	leaf := key(t, cert.P256).Public()

	_, err := ca.Draft(leafTemplate("a.example"), signer.Public())
	require.ErrorContains(t, err, "must not be the issuer's own")
	_, err = ca.Draft(leafTemplate("a.example"), &rsa.PublicKey{N: big.NewInt(15), E: 3})
	require.ErrorContains(t, err, "at least 2048 bits")
	for _, serial := range []*big.Int{nil, big.NewInt(0), big.NewInt(-1), new(big.Int).Lsh(big.NewInt(1), 159)} {
		template := leafTemplate("a.example")
		template.SerialNumber = serial
		_, err = ca.Draft(template, leaf)
		require.ErrorContains(t, err, "serial number")
	}
	largest := leafTemplate("a.example")
	largest.SerialNumber = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 159), big.NewInt(1))
	_, err = ca.Draft(largest, leaf)
	require.NoError(t, err)

	noSign := root(t, signer, 0, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
	_, err = noSign.Draft(leafTemplate("a.example"), leaf)
	require.ErrorContains(t, err, "keyCertSign")

	responderKey := key(t, cert.P256)
	draft, err := ca.Draft(leafTemplate("ocsp.example"), responderKey.Public())
	require.NoError(t, err)
	responder, err := draft.Sign()
	require.NoError(t, err)
	delegated := authority(t, responder, responderKey, 0)
	_, err = delegated.Draft(leafTemplate("a.example"), leaf)
	require.ErrorContains(t, err, "must be a CA certificate")
	signature, err := delegated.Stream().Sign()
	require.NoError(t, err, "a responder that is no CA can stream")
	require.NoError(t, responder.CheckSignature(delegated.Algorithm(), nil, signature))
}

func TestStreamSignsWhatWasWritten(t *testing.T) {
	for _, row := range every {
		t.Run(row.algorithm.String(), func(t *testing.T) {
			ca := root(t, key(t, row.spec), row.algorithm, nil)
			stream := ca.Stream()
			message := make([]byte, 100_000)
			for at := 0; at < len(message); at += 1000 {
				n, err := stream.Write(message[at : at+1000])
				require.NoError(t, err)
				require.Equal(t, 1000, n)
			}
			signature, err := stream.Sign()
			require.NoError(t, err)
			require.NoError(t, ca.Certificate().CheckSignature(row.algorithm, message, signature))

			_, err = stream.Sign()
			require.Error(t, err)
			_, err = stream.Write(message)
			require.Error(t, err)
		})
	}
}

func TestAlgorithmIdentifierIsThatOfTheStandardLibrary(t *testing.T) {
	for _, row := range every {
		signer := key(t, row.spec)
		ca := root(t, signer, row.algorithm, nil)
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: big.NewInt(1), ThisUpdate: start, NextUpdate: end, SignatureAlgorithm: row.algorithm,
		}, ca.Certificate(), signer)
		require.NoError(t, err)
		var list struct {
			TBS, Algorithm asn1.RawValue
			Signature      asn1.BitString
		}
		_, err = asn1.Unmarshal(der, &list)
		require.NoError(t, err)
		identifier, err := ca.AlgorithmIdentifier()
		require.NoError(t, err)
		require.Equal(t, list.Algorithm.FullBytes, identifier, row.algorithm)
	}
}

func TestRequestIsReadByParseCSR(t *testing.T) {
	for _, spec := range []cert.KeySpec{cert.RSA3072, cert.P256, cert.P384, cert.P521, cert.Edwards25519} {
		der, err := sign.Request(&x509.CertificateRequest{Subject: pkix.Name{CommonName: "Issuing CA"}}, key(t, spec))
		require.NoError(t, err)
		request, err := cert.ParseCSR(der)
		require.NoError(t, err)
		require.Equal(t, "Issuing CA", request.Subject.CommonName)
	}
	_, err := sign.Request(&x509.CertificateRequest{SignatureAlgorithm: x509.SHA256WithRSA}, key(t, cert.P256))
	require.ErrorContains(t, err, "does not suit")
}

// A CA with the same subject as its issuer still names the issuer's key.
func TestAuthorityKeyIDOfSelfIssued(t *testing.T) {
	ca := root(t, key(t, cert.P256), 0, nil)
	draft, err := ca.Draft(caTemplate("Root"), key(t, cert.P256).Public())
	require.NoError(t, err)
	require.Equal(t, ca.Certificate().SubjectKeyId, draft.Certificate().AuthorityKeyId)
}

func BenchmarkDraftAndSign(b *testing.B) {
	for _, spec := range []cert.KeySpec{cert.P256, cert.P384, cert.RSA3072, cert.Edwards25519} {
		ca := root(b, key(b, spec), 0, nil)
		leaf := key(b, cert.P256).Public()
		template := leafTemplate("web.example.com")
		check := sign.WithinChain([]*x509.Certificate{ca.Certificate()})
		b.Run(spec.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				draft, err := ca.Draft(template, leaf, check)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := draft.Sign(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
