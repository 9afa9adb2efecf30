package attack_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// keyPEM returns a private key in PEM.
func keyPEM(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return encode("PRIVATE KEY", der)
}

// importCRL imports a list of a CA whose key is elsewhere.
func (o outside) importCRL(t *testing.T, m *pathstest.Mount, id string, ca *x509.Certificate, number *big.Int, serials ...*big.Int) {
	t.Helper()
	template := &x509.RevocationList{Number: number, ThisUpdate: time.Now(), NextUpdate: time.Now().Add(24 * time.Hour)}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Now().Add(-time.Minute), ReasonCode: 1})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, ca, o.key)
	require.NoError(t, err)
	m.Write(t, "issuer/"+id+"/crl/import", body{"crl": encode("X509 CRL", der)}).Expect(http.StatusOK)
}

// imported imports a bundle and returns the id of its first issuer.
func imported(t *testing.T, m *pathstest.Mount, bundle string) string {
	t.Helper()
	return m.Write(t, "issuers/import/bundle", body{"pem_bundle": bundle}).Expect(http.StatusOK).Texts("imported_issuers")[0]
}

// numbered stands for a certificate of a CA that has a serial number.
func numbered(n int64, ca *x509.Certificate) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(n), RawIssuer: ca.RawSubject}
}

func revoke(t *testing.T, m *pathstest.Mount, c *x509.Certificate) pathstest.Answer {
	t.Helper()
	return m.Write(t, "revoke", body{"serial_number": serialOf(c), "reason": "keyCompromise"}).Expect(http.StatusOK)
}

// The key of a CA leaves, its CRL is made elsewhere, and the key comes back.
func TestCa5_AnImportedListMayNameCertificatesOfTheMount(t *testing.T) {
	m := pathstest.InProcess(t)
	o := newOutside(t, "Root")
	id := imported(t, m, pemOf(o.cert)+keyPEM(t, o.key))
	m.Write(t, "roles/web", webRole).Expect(http.StatusOK)
	first, second := leafOf(t, m, "issue/web"), leafOf(t, m, "issue/web")
	revoke(t, m, first)
	key := m.Read(t, "issuer/"+id, nil).Text("key_id")
	m.DeleteWith(t, "issuer/"+id, body{"force": true}).OK()
	m.DeleteWith(t, "key/"+key, body{"force": true}).OK()
	require.Equal(t, id, imported(t, m, pemOf(o.cert)))
	number := new(big.Int).Add(crlAt(t, m, id, o.cert).Number, big.NewInt(5))
	o.importCRL(t, m, id, o.cert, number, first.SerialNumber, second.SerialNumber)

	m.Write(t, "issuers/import/bundle", body{"pem_bundle": keyPEM(t, o.key)}).Expect(http.StatusOK)
	third := leafOf(t, m, "issuer/"+id+"/issue/web")
	require.Empty(t, revoke(t, m, third).Warnings)
	after := stillRevoked(t, m, []string{id}, []*x509.Certificate{o.cert}, first, second, third)
	require.Positive(t, after.Cmp(number))
	restart(t, m)
	stillRevoked(t, m, []string{id}, []*x509.Certificate{o.cert}, first, second, third)
	checked(t, m)
}

// CAs that count their certificates have the same serial numbers.
func TestCa5_ImportedListsMayShareSerialNumbers(t *testing.T) {
	m := pathstest.InProcess(t)
	root := withRoot(t, m)
	leaf := leafOf(t, m, "issue/web")
	cas := []outside{newOutside(t, "First"), newOutside(t, "Second")}
	ids := make([]string, len(cas))
	for i, o := range cas {
		ids[i] = imported(t, m, pemOf(o.cert))
		o.importCRL(t, m, ids[i], o.cert, big.NewInt(4), big.NewInt(4096), big.NewInt(int64(4097+i)), leaf.SerialNumber)
	}
	for _, o := range cas {
		require.Empty(t, m.Write(t, "issuers/import/bundle", body{"pem_bundle": keyPEM(t, o.key)}).Expect(http.StatusOK).Warnings)
	}
	for range 2 {
		for i, o := range cas {
			later := leafOf(t, m, "issuer/"+ids[i]+"/issue/web")
			revoke(t, m, later)
			m.Write(t, "crl/rotate", nil).Expect(http.StatusOK)
			list := crlAt(t, m, ids[i], o.cert)
			for _, c := range []*x509.Certificate{numbered(4096, o.cert), numbered(int64(4097+i), o.cert), leaf, later} {
				require.True(t, lists(list, c), serialOf(c))
			}
			said, err := ask(t, m, numbered(4096, o.cert), o.cert)
			require.True(t, err != nil || said.Status != ocsp.Good)
		}
		restart(t, m)
	}
	wait.Until(t, "the answer after the start", func() bool {
		said, err := ask(t, m, leaf, root)
		return err == nil && said.Status == ocsp.Good
	})
	checked(t, m)
}

// Two CAs have one key: the signature alone does not say whose certificate it is.
func TestId1_ACertificateWithoutARecordIsOfTheCAThatItNames(t *testing.T) {
	m := pathstest.InProcess(t)
	o := newOutside(t, "Outside")
	old, ca := issuingFrom(t, m, o, "issuing")
	other := o.signCA(t, pkix.Name{CommonName: "Another name"}, ca.PublicKey, nil)
	id := imported(t, m, pemOf(other))
	m.Write(t, "roles/bare", webRole.with(body{"no_store": true})).Expect(http.StatusOK)
	leaf := leafOf(t, m, "issuer/"+id+"/issue/bare")
	m.Write(t, "revoke", body{"certificate": pemOf(leaf), "reason": "keyCompromise"}).Expect(http.StatusOK)
	stillRevoked(t, m, []string{id}, []*x509.Certificate{other}, leaf)
	require.False(t, lists(crlAt(t, m, old, ca), leaf))
}

func TestCa5_CertificatesWithoutARecordOfADeletedIssuerAreRevoked(t *testing.T) {
	m := pathstest.InProcess(t)
	id, ca := issuingFrom(t, m, newOutside(t, "Outside"), "issuing")
	m.Write(t, "roles/bare", webRole.with(body{"no_store": true})).Expect(http.StatusOK)
	leafOf(t, m, "issue/web")
	leaf := leafOf(t, m, "issue/bare")
	m.DeleteWith(t, "issuer/"+id, body{"force": true}).OK()
	m.Write(t, "revoke", body{"certificate": pemOf(leaf), "reason": "keyCompromise"}).Expect(http.StatusOK)
	stillRevoked(t, m, []string{id}, []*x509.Certificate{ca}, leaf)
}

func TestCa5_ADeletedIssuerReturnsWithoutANameThatWasTaken(t *testing.T) {
	m := pathstest.InProcess(t)
	o := newOutside(t, "Outside")
	old, ca := issuingFrom(t, m, o, "issuing")
	leafOf(t, m, "issue/web")
	id := imported(t, m, pemOf(o.signCA(t, ca.Subject, ca.PublicKey, nil)))
	m.Delete(t, "issuer/"+old).OK()
	m.Patch(t, "issuer/"+id, body{"issuer_name": "issuing"}).Expect(http.StatusOK)
	require.Equal(t, old, imported(t, m, pemOf(ca)))
	require.Empty(t, m.Read(t, "issuer/"+old, nil).Text("issuer_name"))
	require.Equal(t, id, m.Read(t, "issuer/issuing", nil).Text("issuer_id"))
	checked(t, m)
}

// What is compromised is the key, whichever of its certificates was deleted.
func TestId1_RevokingACAReachesItsDeletedIssuers(t *testing.T) {
	m := pathstest.InProcess(t)
	root := withRoot(t, m)
	ca := subordinate(t, m, "root", "issuing", nil)
	key := m.Read(t, "issuer/issuing", nil).Text("key_id")
	csr := m.Write(t, "intermediate/generate/existing", body{"common_name": "issuing", "key_ref": key}).Expect(http.StatusOK).Text("csr")
	signed := m.Write(t, "issuer/root/sign-intermediate", body{"csr": csr, "common_name": "issuing", "ttl": "700h"}).Expect(http.StatusOK).Text("certificate")
	renewed := m.Write(t, "intermediate/set-signed", body{"certificate": signed}).Expect(http.StatusOK).Texts("imported_issuers")[0]
	leafOf(t, m, "issuer/issuing/issue/web")
	m.Delete(t, "issuer/issuing").OK()
	m.Write(t, "issuer/"+renewed+"/revoke", nil).Expect(http.StatusOK)
	stillRevoked(t, m, []string{"root"}, []*x509.Certificate{root}, ca, certificate(t, signed))
	require.NotEqual(t, http.StatusOK, m.Write(t, "issuers/import/cert", body{"pem_bundle": pemOf(ca)}).Status)
}

// A certificate that a CA of the mount has revoked becomes no issuer that issues.
func TestCa4_ARevokedCertificateBecomesNoIssuer(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	superseded := func(c *x509.Certificate) {
		m.Write(t, "revoke", body{"serial_number": serialOf(c), "reason": "superseded"}).Expect(http.StatusOK)
	}
	ca := subordinate(t, m, "root", "issuing", nil)
	leafOf(t, m, "issuer/issuing/issue/web")
	m.DeleteWith(t, "issuer/issuing", body{"force": true}).OK()
	superseded(ca)
	m.Write(t, "issuers/import/cert", body{"pem_bundle": pemOf(ca)}).Expect(http.StatusConflict)

	key := newKey(t)
	csr := csrOf(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "Sub"}}, key)
	sub := certificate(t, m.Write(t, "root/sign-intermediate", body{"csr": csr, "common_name": "Sub", "ttl": "100h"}).Expect(http.StatusOK).Text("certificate"))
	id := imported(t, m, pemOf(sub))
	superseded(sub)
	for _, bundle := range []string{keyPEM(t, key), pemOf(sub), pemOf(sub) + keyPEM(t, key)} {
		m.Write(t, "issuers/import/bundle", body{"pem_bundle": bundle})
		require.Equal(t, "external", m.Read(t, "issuer/"+id, nil).Text("state"))
		require.NotEqual(t, http.StatusOK, m.Write(t, "issuer/"+id+"/issue/web", body{"common_name": "a.example.com"}).Status)
	}

	pending := m.Write(t, "intermediate/generate/internal", body{"common_name": "P", "key_type": "ec"}).Expect(http.StatusOK)
	signed := m.Write(t, "issuer/root/sign-intermediate", body{"csr": pending.Text("csr"), "common_name": "P", "ttl": "100h"}).Expect(http.StatusOK).Text("certificate")
	superseded(certificate(t, signed))
	m.Write(t, "intermediate/set-signed", body{"certificate": signed}).Expect(http.StatusConflict)
	checked(t, m)
}

func TestCa5_AKeyReturnsToADeletedIssuer(t *testing.T) {
	m := pathstest.InProcess(t)
	o := newOutside(t, "Root")
	id := imported(t, m, pemOf(o.cert)+keyPEM(t, o.key))
	m.Write(t, "roles/web", webRole).Expect(http.StatusOK)
	leaf := leafOf(t, m, "issue/web")
	key := m.Read(t, "issuer/"+id, nil).Text("key_id")
	m.DeleteWith(t, "issuer/"+id, body{"force": true}).OK()
	m.DeleteWith(t, "key/"+key, body{"force": true}).OK()
	require.Equal(t, "none", revoke(t, m, leaf).Text("crl_status"))
	require.Empty(t, m.Write(t, "issuers/import/bundle", body{"pem_bundle": keyPEM(t, o.key)}).Expect(http.StatusOK).Warnings)
	require.True(t, lists(crlAt(t, m, id, o.cert), leaf), "at once")
	stillRevoked(t, m, []string{id}, []*x509.Certificate{o.cert}, leaf)
	require.NotEqual(t, http.StatusOK, m.Write(t, "issuer/"+id+"/issue/web", body{"common_name": "a.example.com"}).Status)
	checked(t, m)
}

func TestCa5_DeletingAnExpiredIssuerKeepsWhatItsCARevoked(t *testing.T) {
	m := pathstest.InProcess(t)
	o := newOutside(t, "Outside")
	ca := outside{key: newKey(t)}
	ca.cert = o.signCA(t, pkix.Name{CommonName: "CA"}, ca.key.Public(), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(3 * time.Second) })
	id := imported(t, m, pemOf(ca.cert))
	ca.importCRL(t, m, id, ca.cert, big.NewInt(4), big.NewInt(42))
	renewed := o.signCA(t, pkix.Name{CommonName: "CA"}, ca.key.Public(), nil)
	next := imported(t, m, pemOf(renewed)+keyPEM(t, ca.key))
	stillRevoked(t, m, []string{next}, []*x509.Certificate{renewed}, numbered(42, renewed))
	wait.Until(t, "the certificate to expire", func() bool { return time.Now().After(ca.cert.NotAfter.Add(time.Second)) })
	m.Delete(t, "issuer/"+id).OK()
	for range 2 {
		stillRevoked(t, m, []string{next}, []*x509.Certificate{renewed}, numbered(42, renewed))
		restart(t, m)
	}
	checked(t, m)
}

func TestCa5_ARenewedSubjectMayBeSpelledDifferently(t *testing.T) {
	m := pathstest.InProcess(t)
	o := newOutside(t, "Outside")
	old, ca := issuingFrom(t, m, o, "issuing")
	first := leafOf(t, m, "issue/web")
	revoke(t, m, first)
	before := stillRevoked(t, m, []string{old}, []*x509.Certificate{ca}, first)
	type attribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	set, err := asn1.MarshalWithParams([]attribute{{asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("ISSUING  issuing ")}}}, "set")
	require.NoError(t, err)
	name, err := asn1.Marshal([]asn1.RawValue{{FullBytes: set}})
	require.NoError(t, err)
	renewed := o.signCA(t, pkix.Name{}, ca.PublicKey, func(c *x509.Certificate) { c.RawSubject, c.SubjectKeyId = name, []byte{1, 2, 3} })
	id := imported(t, m, pemOf(renewed))
	second := leafOf(t, m, "issuer/"+id+"/issue/web")
	revoke(t, m, second)
	after := stillRevoked(t, m, []string{old, id}, []*x509.Certificate{ca, renewed}, first, second)
	require.Positive(t, after.Cmp(before))
	m.Delete(t, "issuer/"+old).OK()
	restart(t, m)
	stillRevoked(t, m, []string{old, id}, []*x509.Certificate{ca, renewed}, first, second)
	checked(t, m)
}

func TestId1_CAsThatShareASubjectOrAKeyStayApart(t *testing.T) {
	m := pathstest.InProcess(t)
	o := newOutside(t, "Outside")
	old, ca := issuingFrom(t, m, o, "issuing")
	key := newKey(t)
	named, twin := o.signCA(t, pkix.Name{CommonName: "Another name"}, ca.PublicKey, nil), o.signCA(t, ca.Subject, key.Public(), nil)
	refs := []string{old, imported(t, m, pemOf(named)), imported(t, m, pemOf(twin)+keyPEM(t, key))}
	cas := []*x509.Certificate{ca, named, twin}
	leaves := make([]*x509.Certificate, len(cas))
	for i, ref := range refs {
		leaves[i] = leafOf(t, m, "issuer/"+ref+"/issue/web")
		revoke(t, m, leaves[i])
	}
	for i, ref := range refs {
		stillRevoked(t, m, []string{ref}, []*x509.Certificate{cas[i]}, leaves[i])
		require.Len(t, crlAt(t, m, ref, cas[i]).RevokedCertificateEntries, 1)
	}
	checked(t, m)
}
