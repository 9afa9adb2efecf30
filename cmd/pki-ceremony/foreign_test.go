package main

import (
	"crypto"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// tbsCertList is RFC 5280 section 5.1 with nothing that a library insists on.
type tbsCertList struct {
	Version    int `asn1:"optional"`
	Signature  pkix.AlgorithmIdentifier
	Issuer     asn1.RawValue
	ThisUpdate time.Time                 `asn1:"utc"`
	NextUpdate time.Time                 `asn1:"optional,utc"`
	Revoked    []pkix.RevokedCertificate `asn1:"optional"`
	Extensions []pkix.Extension          `asn1:"tag:0,optional,explicit"`
}

// foreign-crls KEY CERTIFICATE writes CRLs as other software makes them, signed by the
// P-384 key of the certificate, each in a file of its own.
func foreignCRLs(ts *testscript.TestScript, _ bool, args []string) {
	key, root := readKey(ts, args[0]), readRoot(ts, args[1])
	value := func(v any) []byte {
		der, err := asn1.Marshal(v)
		ts.Check(err)
		return der
	}
	number := func(n *big.Int) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 20}, Value: value(n)}
	}
	aki := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 35}, Value: append([]byte{0x30, byte(len(root.SubjectKeyId) + 2), 0x80, byte(len(root.SubjectKeyId))}, root.SubjectKeyId...)}
	entry := func(serial int64) pkix.RevokedCertificate {
		return pkix.RevokedCertificate{SerialNumber: big.NewInt(serial), RevocationTime: time.Now().UTC().AddDate(0, 0, -3)}
	}
	hold := entry(0x1001)
	hold.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 23}, Value: value(asn1.ObjectIdentifier{1, 2, 840, 10040, 2, 1})}}
	microsoft := func(last int, v any) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 21, last}, Value: value(v)}
	}
	largest := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 159), big.NewInt(1))
	seven := number(big.NewInt(7))
	for name, list := range map[string]tbsCertList{
		"plain.crl":      {Extensions: []pkix.Extension{aki, seven}, Revoked: []pkix.RevokedCertificate{entry(0x1001)}},
		"negative.crl":   {Extensions: []pkix.Extension{aki, seven}, Revoked: []pkix.RevokedCertificate{entry(-0x24), entry(0x24), entry(0)}},
		"hold.crl":       {Extensions: []pkix.Extension{aki, seven}, Revoked: []pkix.RevokedCertificate{hold}},
		"twice.crl":      {Extensions: []pkix.Extension{aki, seven}, Revoked: []pkix.RevokedCertificate{entry(0x1001), entry(0x1001)}},
		"adcs.crl":       {Extensions: []pkix.Extension{aki, microsoft(1, 0), number(big.NewInt(12)), microsoft(4, time.Now().UTC()), microsoft(14, []string{})}, Revoked: []pkix.RevokedCertificate{entry(0x1001)}},
		"no-aki.crl":     {Extensions: []pkix.Extension{seven}},
		"number-0.crl":   {Extensions: []pkix.Extension{aki, number(big.NewInt(0))}},
		"number-20.crl":  {Extensions: []pkix.Extension{aki, number(new(big.Int).Lsh(big.NewInt(1), 158))}},
		"number-max.crl": {Extensions: []pkix.Extension{aki, number(largest)}},
		"no-number.crl":  {Extensions: []pkix.Extension{aki}},
		"idp.crl":        {Extensions: []pkix.Extension{aki, seven, {Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 3, 0x82, 1, 0xff}}}},
	} {
		list.Version, list.Issuer = 1, asn1.RawValue{FullBytes: root.RawSubject}
		list.ThisUpdate, list.NextUpdate = time.Now().UTC().Add(-time.Hour), time.Now().UTC().AddDate(0, 1, 0)
		list.Signature = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}} // ecdsa-with-SHA384
		tbs := value(list)
		digest := sha512.Sum384(tbs)
		signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA384)
		ts.Check(err)
		whole := value(struct {
			TBS       asn1.RawValue
			Algorithm pkix.AlgorithmIdentifier
			Signature asn1.BitString
		}{asn1.RawValue{FullBytes: tbs}, list.Signature, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
		ts.Check(os.WriteFile(ts.MkAbs(name), whole, 0o600))
	}
}

func readKey(ts *testscript.TestScript, path string) crypto.Signer {
	block, _ := pem.Decode([]byte(ts.ReadFile(path)))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	ts.Check(err)
	return key.(crypto.Signer)
}

func readRoot(ts *testscript.TestScript, path string) *x509.Certificate {
	certificates, _, err := cert.ParseCertificates([]byte(ts.ReadFile(path)))
	ts.Check(err)
	return certificates[0]
}
