package cert_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// The standard library writes CRL distribution points, whose syntax freshestCRL shares.
func TestMarshalPoints_AsTheStandardLibrary(t *testing.T) {
	key, err := cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	urls := []string{"http://crl.example.com/a.crl", "ldap://ldap.example.com/cn=a?certificateRevocationList"}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), CRLDistributionPoints: urls}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	made, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	var value []byte
	for _, e := range made.Extensions {
		if e.Id.String() == "2.5.29.31" {
			value = e.Value
		}
	}
	require.Equal(t, value, cert.MarshalPoints(urls))

	// Under the name of CRL distribution points it reads what MarshalPoints wrote.
	template = &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 31}, Value: cert.MarshalPoints(urls[:1])}}}
	der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	made, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	require.Equal(t, urls[:1], made.CRLDistributionPoints)
}
