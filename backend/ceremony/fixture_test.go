package ceremony_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/ceremony"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// set is a root, its CRL and an issuing CA as templates, to be bent by a test before
// they are signed with software keys.
type set struct {
	root, ca *x509.Certificate
	list     *x509.RevocationList
	caKey    crypto.Signer
	rootKey  crypto.Signer
	signer   crypto.Signer // of CRL and issuing CA
	now      time.Time
	previous *x509.RevocationList // nil: none
}

func newKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return key
}

func serial(t *testing.T) *big.Int {
	t.Helper()
	s, err := cert.NewSerial()
	require.NoError(t, err)
	return s.Big()
}

// caOnly is the issuingDistributionPoint of RFC 5280 section 5.2.5 with
// onlyContainsCACerts.
var caOnly = pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0x03, 0x82, 0x01, 0xff}}

func newSet(t *testing.T) *set {
	t.Helper()
	s := &set{rootKey: newKey(t, elliptic.P384()), caKey: newKey(t, elliptic.P384()), now: start.AddDate(0, 1, 0)}
	s.signer = s.rootKey
	rootID, err := cert.SubjectKeyID(s.rootKey.Public())
	require.NoError(t, err)
	caID, err := cert.SubjectKeyID(s.caKey.Public())
	require.NoError(t, err)
	s.root = &x509.Certificate{
		Subject: pkix.Name{CommonName: "Test Root"}, SerialNumber: serial(t), NotBefore: start.Add(-5 * time.Minute), NotAfter: start.AddDate(20, 0, 0),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: rootID,
	}
	s.ca = &x509.Certificate{
		Subject: pkix.Name{CommonName: "Test Issuing CA"}, SerialNumber: serial(t), NotBefore: start, NotAfter: start.AddDate(5, 0, 0),
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: caID,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, CRLDistributionPoints: []string{"http://pki.example.com/root.crl"},
	}
	s.list = &x509.RevocationList{
		Number: big.NewInt(7), ThisUpdate: start, NextUpdate: start.AddDate(1, 0, 0), ExtraExtensions: []pkix.Extension{caOnly},
	}
	return s
}

// verify signs the set and verifies the files. It returns the names of the checks
// that failed.
func (s *set) verify(t *testing.T) ([]string, error) {
	t.Helper()
	dir := t.TempDir()
	sign := func(name string, template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
		stand := *parent
		stand.PublicKey = signer.Public() // the library wants the signer's; a test may forge
		der, err := x509.CreateCertificate(rand.Reader, template, &stand, pub, signer)
		require.NoError(t, err)
		signed, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(cert.CertificatePEM(der)), 0o600))
		return signed
	}
	root := sign("root.pem", s.root, s.root, s.rootKey.Public(), s.rootKey)
	sign("ca.pem", s.ca, root, s.caKey.Public(), s.signer)
	files := ceremony.Artefacts{Root: filepath.Join(dir, "root.pem"), CRL: filepath.Join(dir, "root.crl"), CAs: []string{filepath.Join(dir, "ca.pem")}}
	list := func(path string, template *x509.RevocationList) {
		stand := *root
		stand.PublicKey = s.signer.Public()
		stand.KeyUsage |= x509.KeyUsageCRLSign
		der, err := x509.CreateRevocationList(rand.Reader, template, &stand, s.signer)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, der, 0o600))
	}
	list(files.CRL, s.list)
	if s.previous != nil {
		files.PreviousCRL = filepath.Join(dir, "previous.crl")
		list(files.PreviousCRL, s.previous)
	}
	var failed []string
	err := ceremony.New(ceremony.Config{
		Now: func() time.Time { return s.now },
		PIN: func(string) (string, error) { t.Fatal("verify asked for a PIN"); return "", nil },
		Report: func(step ceremony.Step) {
			for _, check := range step.Checks {
				if !check.Passed {
					failed = append(failed, filepath.Base(check.File)+" "+check.Name)
				}
			}
		},
	}).Verify(files)
	return failed, err
}
