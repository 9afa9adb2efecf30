package ocsp_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
)

// What follows describes OCSP to encoding/asn1, apart from the codec under test.

type wireCertID struct {
	Algorithm pkix.AlgorithmIdentifier
	NameHash  []byte
	KeyHash   []byte
	Serial    *big.Int
}

type wireSingle struct {
	CertID     wireCertID
	Extensions []pkix.Extension `asn1:"explicit,tag:0,optional"`
}

type wireTBS struct {
	Version    int           `asn1:"explicit,tag:0,default:0,optional"`
	Requestor  asn1.RawValue `asn1:"explicit,tag:1,optional"`
	List       []wireSingle
	Extensions []pkix.Extension `asn1:"explicit,tag:2,optional"`
}

type wireRequest struct {
	TBS       wireTBS
	Signature asn1.RawValue `asn1:"explicit,tag:0,optional"`
}

var (
	oidSHA1   = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
	oidNonce  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}
	oidAccept = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 4}
	oidBasic  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
)

// ask returns the CertID for a serial number of a CA.
func ask(t testing.TB, issuer *x509.Certificate, h crypto.Hash, serial *big.Int) wireSingle {
	t.Helper()
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	_, err := asn1.Unmarshal(issuer.RawSubjectPublicKeyInfo, &spki)
	require.NoError(t, err)
	oid := map[crypto.Hash]asn1.ObjectIdentifier{crypto.SHA1: oidSHA1, crypto.SHA256: oidSHA256, crypto.SHA384: oidSHA384, crypto.SHA512: oidSHA512}[h]
	return wireSingle{CertID: wireCertID{
		Algorithm: pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.NullRawValue},
		NameHash:  hash(h, issuer.RawSubject), KeyHash: hash(h, spki.Key.Bytes), Serial: serial,
	}}
}

// encode returns the DER of a request; edits change it before.
func encode(t testing.TB, list []wireSingle, edits ...func(*wireRequest)) []byte {
	t.Helper()
	request := wireRequest{TBS: wireTBS{List: list}}
	for _, edit := range edits {
		edit(&request)
	}
	der, err := asn1.Marshal(request)
	require.NoError(t, err)
	return der
}

// about returns the request for one certificate with SHA-1, as most clients ask.
func about(t testing.TB, c ca, serial *big.Int, edits ...func(*wireRequest)) []byte {
	t.Helper()
	return encode(t, []wireSingle{ask(t, c.certificate, crypto.SHA1, serial)}, edits...)
}

// extended adds a request extension.
func extended(oid asn1.ObjectIdentifier, critical bool, value []byte) func(*wireRequest) {
	return func(r *wireRequest) {
		r.TBS.Extensions = append(r.TBS.Extensions, pkix.Extension{Id: oid, Critical: critical, Value: value})
	}
}

// nonce adds a nonce of n octets.
func nonce(n int) func(*wireRequest) {
	value := make([]byte, n)
	for i := range value {
		value[i] = byte(i)
	}
	der, _ := asn1.Marshal(value) // octets can always be encoded
	return extended(oidNonce, false, der)
}

type wireResponse struct {
	Status asn1.Enumerated
	Bytes  struct {
		Type     asn1.ObjectIdentifier
		Response []byte
	} `asn1:"explicit,tag:0,optional"`
}

type wireBasic struct {
	Data struct {
		Raw         asn1.RawContent
		ResponderID asn1.RawValue
		ProducedAt  time.Time `asn1:"generalized"`
		Singles     []wireAnswer
		Extensions  []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	Algorithm    pkix.AlgorithmIdentifier
	Signature    asn1.BitString
	Certificates []asn1.RawValue `asn1:"explicit,tag:0,optional"`
}

type wireAnswer struct {
	CertID  wireCertID
	Good    asn1.Flag `asn1:"tag:0,optional"`
	Revoked struct {
		At     time.Time       `asn1:"generalized"`
		Reason asn1.Enumerated `asn1:"explicit,tag:0,optional,default:0"`
	} `asn1:"tag:1,optional"`
	Unknown    asn1.Flag        `asn1:"tag:2,optional"`
	ThisUpdate time.Time        `asn1:"generalized"`
	NextUpdate time.Time        `asn1:"generalized,explicit,tag:0,optional"`
	Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
}

// state returns which of the three was chosen.
func (a wireAnswer) state() ocsp.State {
	switch {
	case bool(a.Good):
		return ocsp.Good
	case bool(a.Unknown):
		return ocsp.Unknown
	}
	return ocsp.Revoked
}

// statusOf returns the status of a response.
func statusOf(t testing.TB, der []byte) ocsp.Status {
	t.Helper()
	var response wireResponse
	rest, err := asn1.Unmarshal(der, &response)
	require.NoError(t, err)
	require.Empty(t, rest)
	return ocsp.Status(response.Status)
}

// decode returns the content of a successful response whose signature was verified:
// by the CA itself, or by the certificate inside, which the CA has signed.
func decode(t testing.TB, der []byte, by *x509.Certificate) wireBasic {
	t.Helper()
	var response wireResponse
	rest, err := asn1.Unmarshal(der, &response)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Zero(t, response.Status)
	require.Equal(t, oidBasic, response.Bytes.Type)
	var basic wireBasic
	rest, err = asn1.Unmarshal(response.Bytes.Response, &basic)
	require.NoError(t, err)
	require.Empty(t, rest)
	signer := by
	if len(basic.Certificates) > 0 {
		signer, err = x509.ParseCertificate(basic.Certificates[0].FullBytes)
		require.NoError(t, err)
		require.NoError(t, signer.CheckSignatureFrom(by))
		require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}, signer.ExtKeyUsage)
	}
	algorithm := x509.ECDSAWithSHA256
	require.Equal(t, "1.2.840.10045.4.3.2", basic.Algorithm.Algorithm.String())
	require.NoError(t, signer.CheckSignature(algorithm, basic.Data.Raw, basic.Signature.RightAlign()))
	return basic
}
