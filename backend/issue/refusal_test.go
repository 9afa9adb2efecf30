package issue_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// TestPast1_NothingIsSignedWhoseURLsAreNotNoted: and what was refused so late claims no
// key for its owner.
func TestPast1_NothingIsSignedWhoseURLsAreNotNoted(t *testing.T) {
	m := start(t, nil)
	base, err := profile.FromPreset("tls-server")
	require.NoError(t, err)
	base.UniqueKey = true
	_, err = m.catalog.PutProfile(t.Context(), "unique", base)
	require.NoError(t, err)
	bound := role.DefaultConfigFor("unique", base)
	bound.AllowedDomains, bound.AllowSubdomains = []string{"example.com"}, true
	require.NoError(t, m.catalog.PutRole(t.Context(), "web", bound))
	sign := func(owner string, key []byte) error {
		_, err := m.issue.Sign(t.Context(), issue.Request{Role: "web", CSR: key, Note: issue.Annotation{Owner: owner}}, role.Identity{})
		return err
	}
	require.NoError(t, sign("warm", csr(t, newKey(t), "a.example.com")))
	require.NoError(t, m.issuers.PutURLs(t.Context(), issuer.URLs{OCSPServers: []string{"http://ocsp.example.com"}}))
	asked := csr(t, newKey(t), "a.example.com")
	for n := 1; n <= 2; n++ { // the read and the write of the URLs
		m.store.Break(n, kvtest.LoseWrite)
		require.ErrorIs(t, sign("one", asked), kvtest.ErrLost)
		require.True(t, m.store.Broken())
	}
	require.NoError(t, sign("two", asked), "the refused request left its claim")
}

func TestAuthz2_ARequestIsSignedByTheIssuerThatItNames(t *testing.T) {
	m := start(t, nil)
	_, _, err := m.issue.Root(t.Context(), issue.CARequest{
		Key: issuer.KeyChoice{Spec: cert.P256}, Name: "other", Subject: pkix.Name{CommonName: "Other"}, Profile: profile.ForCA(profile.KindRoot), TTL: time.Hour,
	}, role.Identity{})
	require.NoError(t, err)
	for named, right := range map[string]bool{"default": true, "other": false, "nobody": false} {
		asked := request(t, "a.example.com")
		asked.Named = named
		_, err := m.issue.Sign(t.Context(), asked, role.Identity{})
		if right {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, "issuer_ref", fault.FieldOfError(err), "%s: %v", named, err)
	}
}

func TestTheLargestAnnotationsAreTaken(t *testing.T) {
	m := start(t, nil)
	asked := request(t, "a.example.com")
	for range issue.MaxContacts {
		asked.Note.Contacts = append(asked.Note.Contacts, "shop@example.com")
	}
	_, err := m.issue.Sign(t.Context(), asked, role.Identity{})
	require.NoError(t, err)
}

func TestSimulationShowsTheDraft(t *testing.T) {
	m := start(t, nil)
	shown, err := m.issue.Simulate(t.Context(), request(t, "a.example.com"), role.Identity{})
	require.NoError(t, err)
	require.Equal(t, []string{"a.example.com"}, shown.Draft.DNSNames)
	require.Equal(t, "role:web", shown.Profile)
}

// TestBatchesWithoutStoringAreNoted: the ledger counts what it has no record of.
func TestBatchesWithoutStoringAreNoted(t *testing.T) {
	m := start(t, func(c *role.Config) { c.NoStore = true })
	outcomes, err := m.issue.Batch(t.Context(), []issue.Request{request(t, "a.example.com")}, role.Identity{})
	require.NoError(t, err)
	require.NoError(t, outcomes[0].Err)
	rows, err := m.ledger.Rows("")
	require.NoError(t, err)
	for row := range rows {
		if row.Serial == outcomes[0].Result.Serial {
			require.True(t, row.Unstored)
			return
		}
	}
	t.Fatal("the ledger does not know the certificate")
}

func TestDamagedRequestsOfCAsAreRefused(t *testing.T) {
	m := start(t, nil)
	_, err := m.issue.SignIntermediate(t.Context(), issue.CARequest{
		Subordinate: issue.Subordinate{Issuer: issuer.DefaultRef, CSR: []byte("x")}, Profile: profile.ForCA(profile.KindSubCA), TTL: time.Hour,
	}, role.Identity{})
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
}

func TestSelfIssued_ExactlyOneCertificate(t *testing.T) {
	m := start(t, nil)
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Other Root"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	one := cert.CertificatePEM(der)
	sign := func(text string) error {
		_, err := m.issue.SignSelfIssued(t.Context(), issue.CrossRequest{Issuer: issuer.DefaultRef, Certificate: []byte(text)}, role.Identity{})
		return err
	}
	require.NoError(t, sign(one))
	require.Equal(t, "certificate", fault.FieldOfError(sign(one+one)))
	require.Equal(t, "certificate", fault.FieldOfError(sign("")))
	require.NoError(t, m.issuers.PutURLs(t.Context(), issuer.URLs{OCSPServers: []string{"{{cluster_path}}/ocsp"}, EnableTemplating: true}))
	require.ErrorContains(t, sign(one), "config/cluster", "a template that leads nowhere is refused")
}

// TestRespondersOfAnEndingCAEndWithIt: its certificate is cut, not refused.
func TestRespondersOfAnEndingCAEndWithIt(t *testing.T) {
	m := start(t, nil)
	parent, _, err := m.issue.Root(t.Context(), issue.CARequest{
		Key: issuer.KeyChoice{Spec: cert.P256}, Subject: pkix.Name{CommonName: "Ending"}, Profile: profile.ForCA(profile.KindRoot), TTL: time.Hour,
	}, role.Identity{})
	require.NoError(t, err)
	signed, err := m.issue.Delegate(t.Context(), parent, newKey(t).Public(), 24*time.Hour, role.Identity{})
	require.NoError(t, err)
	require.Equal(t, parent.Certificate().NotAfter, signed.NotAfter)
}

func TestNamesOfACARequestThatCannotBeCertified(t *testing.T) {
	m := start(t, nil)
	san, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 8, Bytes: []byte{0x2a, 3}}}) // registeredID
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "Issuing"}, ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}},
	}, newKey(t))
	require.NoError(t, err)
	for _, used := range []bool{true, false} {
		_, err = m.issue.SignIntermediate(t.Context(), issue.CARequest{
			Subordinate: issue.Subordinate{Issuer: issuer.DefaultRef, CSR: der, UseCSR: used}, Subject: pkix.Name{CommonName: "Issuing"},
			Profile: profile.ForCA(profile.KindSubCA), TTL: time.Hour,
		}, role.Identity{})
		require.Equal(t, used, err != nil, "%v", err)
		require.True(t, err == nil || fault.FieldOfError(err) == "csr", "%v", err)
	}
}

// TestARequestKeepsThePoolWaiting: keys are made ahead while nobody asks for a
// certificate.
func TestARequestKeepsThePoolWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, nil)
		_, err := m.issue.Issue(t.Context(), issue.Request{Role: "web", KeyType: "rsa", KeyBits: 2048, Names: role.Ask{CommonName: "a.example.com"}}, role.Identity{})
		require.NoError(t, err)
		synctest.Wait()
		require.Zero(t, m.issue.Keys.Ready(cert.RSA2048))
		m.issue.Keys.Close()
		synctest.Wait()
	})
}
