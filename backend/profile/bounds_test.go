package profile_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// TestTheBoundsThemselvesAreTaken: the largest value that a text names is a value.
func TestTheBoundsThemselvesAreTaken(t *testing.T) {
	const century = 100 * 366 * 86400
	config := preset(t, "tls-server")
	config.CRLRetention, config.SANMax, config.SANURIMax = century, cert.MaxSANs, cert.MaxSANs
	compile(t, config)
	config.CRLRetention = century + 1
	_, err := profile.New("", 0, config)
	require.Equal(t, "crl_retention", fault.FieldOfError(err))
	config = preset(t, "tls-server")
	config.SANMax = cert.MaxSANs + 1
	_, err = profile.New("", 0, config)
	require.Equal(t, "san_max", fault.FieldOfError(err))
	for _, country := range []string{"AA", "ZZ", "aa", "zz"} {
		require.NoError(t, profile.CheckAttribute("country", country), country)
	}
	for _, country := range []string{"@A", "A[", "`a", "a{", "D", "DEU"} {
		require.Equal(t, "country", fault.FieldOfError(profile.CheckAttribute("country", country)), country)
	}
	require.NoError(t, profile.CheckAttribute("organization", "Corp & Sons"), "the rules are those of the attribute")
}

// TestCA3_ConformsHoldsEachRule: a certificate from another CA is held to the key, the
// lifetime, the path length and the usages that were requested.
func TestCA3_ConformsHoldsEachRule(t *testing.T) {
	config := profile.ForCA(profile.KindSubCA)
	config.KeyAlgorithms, config.MaxTTL, config.MaxPathLength = []string{"ec-256"}, 3600, 1
	p := compile(t, config)
	const backdated = 5 * time.Minute
	conforms := func(edit func(*x509.Certificate)) error {
		c := &x509.Certificate{
			PublicKey: p256().Public(), NotBefore: now, NotAfter: now.Add(time.Hour + backdated), MaxPathLen: 1,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		}
		edit(c)
		return p.Conforms(c)
	}
	require.NoError(t, conforms(func(*x509.Certificate) {}))
	for rule, edit := range map[string]func(*x509.Certificate){
		"max_ttl":              func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Second) },
		"path length":          func(c *x509.Certificate) { c.MaxPathLen = 2 },
		"key usage":            func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign },
		"anyExtendedKeyUsage":  func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} },
		"ec-384":               func(c *x509.Certificate) { c.PublicKey = p384().Public() },
		"must have a path len": func(c *x509.Certificate) { c.MaxPathLen = -1 },
	} {
		require.ErrorContains(t, conforms(edit), rule)
	}
	config.MaxTTL = 0
	p = compile(t, config)
	require.NoError(t, conforms(func(c *x509.Certificate) { c.NotAfter = now.AddDate(10, 0, 0) }), "0 is no limit")
}
