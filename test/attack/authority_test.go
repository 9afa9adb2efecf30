package attack_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// outside is a root whose key is not in the mount.
type outside struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newOutside(t *testing.T, name string) outside {
	t.Helper()
	o := outside{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, o.key.Public(), o.key)
	require.NoError(t, err)
	o.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return o
}

// signCA signs a CA certificate that change may edit.
func (o outside) signCA(t *testing.T, subject pkix.Name, pub crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: subject,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, o.cert, pub, o.key)
	require.NoError(t, err)
	signed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return signed
}

func pemOf(c *x509.Certificate) string { return encode("CERTIFICATE", c.Raw) }

// issuingFrom makes an issuing CA whose certificate was signed outside, the default
// issuer, and the role web.
func issuingFrom(t *testing.T, m *pathstest.Mount, o outside, name string) (id string, ca *x509.Certificate) {
	t.Helper()
	made := m.Write(t, "issuers/generate/intermediate/internal", body{"common_name": "Issuing " + name, "key_type": "ec", "issuer_name": name}).Expect(http.StatusOK)
	block, _ := pem.Decode([]byte(made.Text("csr")))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	require.NoError(t, err)
	ca = o.signCA(t, csr.Subject, csr.PublicKey, nil)
	m.Write(t, "intermediate/set-signed", body{"certificate": pemOf(ca) + pemOf(o.cert)}).Expect(http.StatusOK)
	m.Write(t, "roles/web", webRole).Expect(http.StatusOK)
	return made.Text("issuer_id"), ca
}

func leafOf(t *testing.T, m *pathstest.Mount, path string) *x509.Certificate {
	t.Helper()
	return certificate(t, m.Write(t, path, body{"common_name": "a.example.com"}).Expect(http.StatusOK).Text("certificate"))
}

func crlAt(t *testing.T, m *pathstest.Mount, ref string, ca *x509.Certificate) *x509.RevocationList {
	t.Helper()
	list, err := x509.ParseRevocationList(m.Read(t, "issuer/"+ref+"/crl/der", nil).Expect(http.StatusOK).Body)
	require.NoError(t, err)
	require.NoError(t, list.CheckSignatureFrom(ca))
	return list
}

func lists(list *x509.RevocationList, c *x509.Certificate) bool {
	return slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(c.SerialNumber) == 0 })
}

// stillRevoked asks every door of a CA about certificates that were revoked for
// keyCompromise, and returns the number of its CRL.
func stillRevoked(t *testing.T, m *pathstest.Mount, refs []string, cas []*x509.Certificate, revoked ...*x509.Certificate) *big.Int {
	t.Helper()
	m.Write(t, "crl/rotate", nil).Expect(http.StatusOK)
	number := crlAt(t, m, refs[0], cas[0]).Number
	wait.Until(t, "one CRL at every URL: a rebuild may come in between", func() bool {
		first := number
		for _, ref := range refs {
			list := crlAt(t, m, ref, cas[0])
			for _, c := range revoked {
				require.True(t, lists(list, c), "the CRL at issuer/%s lacks %s", ref, serialOf(c))
			}
			require.GreaterOrEqual(t, list.Number.Cmp(number), 0, "one series of numbers for all certificates of a CA")
			number = list.Number
		}
		return number.Cmp(first) == 0
	})
	for _, ca := range cas {
		for _, c := range revoked {
			require.Equal(t, ocsp.Revoked, answered(t, m, c, ca).Status)
		}
	}
	return number
}

// answered is ask once the CA has its responder: until then it says tryLater.
func answered(t *testing.T, m *pathstest.Mount, subject, issuer *x509.Certificate) *ocsp.Response {
	t.Helper()
	var said *ocsp.Response
	wait.Until(t, "the responder of the CA", func() bool {
		var err error
		said, err = ask(t, m, subject, issuer)
		var refusal ocsp.ResponseError
		if errors.As(err, &refusal) && refusal.Status == ocsp.TryLater {
			return false
		}
		require.NoError(t, err)
		return true
	})
	return said
}

// checked runs fsck and wants it to find nothing.
func checked(t *testing.T, m *pathstest.Mount) {
	t.Helper()
	m.Write(t, "fsck", nil).OK()
	wait.Until(t, "fsck to end", func() bool { return m.Read(t, "fsck", nil).Text("state") != "running" })
	require.Equal(t, true, m.Read(t, "fsck", nil).Data["whole"], "%v", m.Read(t, "fsck", nil).Data["findings"])
}

func TestCa5_RenewalWithTheSameKeyLosesNoRevocation(t *testing.T) {
	m := pathstest.InProcess(t)
	o := newOutside(t, "Outside")
	old, ca := issuingFrom(t, m, o, "issuing")
	first := leafOf(t, m, "issue/web")
	m.Write(t, "revoke", body{"serial_number": serialOf(first), "reason": "keyCompromise"}).Expect(http.StatusOK)
	before := stillRevoked(t, m, []string{"issuing", old}, []*x509.Certificate{ca}, first)

	renewed := o.signCA(t, ca.Subject, ca.PublicKey, nil)
	id := m.Write(t, "issuers/import/cert", body{"pem_bundle": pemOf(renewed)}).Expect(http.StatusOK).Texts("imported_issuers")[0]
	require.Equal(t, m.Read(t, "issuer/"+old, nil).Text("ca_id"), m.Read(t, "issuer/"+id, nil).Text("ca_id"))
	refs, cas := []string{"issuing", old, id, m.Read(t, "issuer/"+id, nil).Text("ca_id")}, []*x509.Certificate{ca, renewed}
	after := stillRevoked(t, m, refs, cas, first)
	require.Positive(t, after.Cmp(before))

	second := leafOf(t, m, "issuer/"+id+"/issue/web")
	said := m.Write(t, "revoke", body{"serial_number": serialOf(second), "reason": "keyCompromise"}).Expect(http.StatusOK)
	require.NotEqual(t, "none", said.Text("crl_status"))
	stillRevoked(t, m, refs, cas, first, second)
	restart(t, m)
	stillRevoked(t, m, refs, cas, first, second)

	// The certificate that the leaves came from goes; what they point to does not.
	m.Write(t, "config/issuers", body{"default": id}).Expect(http.StatusOK)
	m.Delete(t, "issuer/"+old).OK()
	stillRevoked(t, m, refs, cas, first, second)
	require.Equal(t, ca.Raw, m.Read(t, "issuer/issuing/der", nil).Expect(http.StatusOK).Body)
	restart(t, m)
	stillRevoked(t, m, refs, cas, first, second)
	checked(t, m)
}

func TestCa5_DeletionAndImportLoseNoRevocation(t *testing.T) {
	m := pathstest.InProcess(t)
	id, ca := issuingFrom(t, m, newOutside(t, "Outside"), "issuing")
	first, second := leafOf(t, m, "issue/web"), leafOf(t, m, "issue/web")
	m.Write(t, "revoke", body{"serial_number": serialOf(first), "reason": "keyCompromise"}).Expect(http.StatusOK)
	refs, cas := []string{"issuing", id}, []*x509.Certificate{ca}
	before := stillRevoked(t, m, refs, cas, first)
	m.DeleteWith(t, "issuer/issuing", body{"force": true}).OK()
	m.Read(t, "issuer/issuing", nil).Expect(http.StatusInternalServerError)
	shutDoor := m.Write(t, "issuer/"+id+"/issue/web", body{"common_name": "a.example.com"})
	require.NotEqual(t, http.StatusOK, shutDoor.Status, "what is deleted issues nothing")

	m.Write(t, "revoke", body{"serial_number": serialOf(second), "reason": "keyCompromise"}).Expect(http.StatusOK)
	during := stillRevoked(t, m, refs, cas, first, second)
	require.Positive(t, during.Cmp(before))
	restart(t, m)
	stillRevoked(t, m, refs, cas, first, second)
	require.NotEqual(t, http.StatusOK, m.Write(t, "root/generate/internal", body{"common_name": "Other", "key_type": "ec", "issuer_name": "issuing"}).Status,
		"URLs in certificates carry the name")

	back := m.Write(t, "issuers/import/cert", body{"pem_bundle": pemOf(ca)}).Expect(http.StatusOK)
	require.Equal(t, []string{id}, back.Texts("imported_issuers"), "the id is in URLs")
	require.Equal(t, "active", m.Read(t, "issuer/issuing", nil).Expect(http.StatusOK).Text("state"))
	after := stillRevoked(t, m, refs, cas, first, second)
	require.Positive(t, after.Cmp(during))
	checked(t, m)
}

// Two certificates of a CA may have different subjectKeyIdentifiers: OpenSSL verifies with
// each of them.
func TestCa5_TheListVerifiesWithEveryCertificateOfTheCA(t *testing.T) {
	m := pathstest.InProcess(t)
	o := newOutside(t, "Outside")
	_, ca := issuingFrom(t, m, o, "issuing")
	leaf, good := leafOf(t, m, "issue/web"), leafOf(t, m, "issue/web")
	renewed := o.signCA(t, ca.Subject, ca.PublicKey, func(c *x509.Certificate) { c.SubjectKeyId = []byte{7, 7, 7} })
	id := m.Write(t, "issuers/import/cert", body{"pem_bundle": pemOf(renewed)}).Expect(http.StatusOK).Texts("imported_issuers")[0]
	later := leafOf(t, m, "issuer/"+id+"/issue/web")
	m.Write(t, "revoke", body{"serial_number": serialOf(leaf), "reason": "keyCompromise"}).Expect(http.StatusOK)
	stillRevoked(t, m, []string{"issuing", id}, []*x509.Certificate{ca, renewed}, leaf)
	crl := inFolder(t, "crl.pem")
	require.NoError(t, os.WriteFile(crl, []byte(encode("X509 CRL", crlAt(t, m, id, ca).Raw)), 0o600))
	for issuer, subject := range map[*x509.Certificate]*x509.Certificate{ca: good, renewed: later} {
		chain, subjectFile := inFolder(t, "chain.pem"), inFolder(t, "leaf.pem")
		require.NoError(t, os.WriteFile(chain, []byte(pemOf(issuer)), 0o600))
		require.NoError(t, os.WriteFile(subjectFile, []byte(pemOf(subject)), 0o600))
		openssl(t, "verify", "-partial_chain", "-trusted", chain, "-crl_check", "-CRLfile", crl, subjectFile)
	}
}

// The CRL of an offline root was imported; then its key comes.
func TestCa5_AnImportedListOutlivesTheImportOfTheKey(t *testing.T) {
	for _, number := range []*big.Int{big.NewInt(5), new(big.Int).SetUint64(1<<63 - 1), new(big.Int).Lsh(big.NewInt(1), 150)} {
		m := pathstest.InProcess(t)
		o := newOutside(t, "Root")
		id := m.Write(t, "issuers/import/cert", body{"pem_bundle": pemOf(o.cert)}).Expect(http.StatusOK).Texts("imported_issuers")[0]
		revoked := &x509.Certificate{SerialNumber: big.NewInt(42)}
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: number, ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(24 * time.Hour),
			RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: revoked.SerialNumber, RevocationTime: time.Now().Add(-time.Hour), ReasonCode: 2}},
		}, o.cert, o.key)
		require.NoError(t, err)
		imported := m.Write(t, "issuer/"+id+"/crl/import", body{"crl": encode("X509 CRL", der)}).Expect(http.StatusOK)
		require.Equal(t, number.String(), imported.Text("crl_number"))
		require.Equal(t, der, m.Read(t, "issuer/"+id+"/crl/der", nil).Expect(http.StatusOK).Body)

		pkcs8, err := x509.MarshalPKCS8PrivateKey(o.key)
		require.NoError(t, err)
		m.Write(t, "issuers/import/bundle", body{"pem_bundle": encode("PRIVATE KEY", pkcs8)}).Expect(http.StatusOK)
		require.Equal(t, "active", m.Read(t, "issuer/"+id, nil).Text("state"))
		m.Write(t, "roles/web", webRole).Expect(http.StatusOK)
		leaf := leafOf(t, m, "issuer/"+id+"/issue/web")
		m.Write(t, "revoke", body{"serial_number": serialOf(leaf), "reason": "keyCompromise"}).Expect(http.StatusOK)
		for range 2 {
			m.Write(t, "crl/rotate", nil).Expect(http.StatusOK)
			list := crlAt(t, m, id, o.cert)
			require.Positive(t, list.Number.Cmp(number), "numbers go on from the imported one")
			require.True(t, lists(list, revoked) && lists(list, leaf))
			request := &x509.Certificate{SerialNumber: revoked.SerialNumber, RawIssuer: o.cert.RawSubject}
			require.Equal(t, ocsp.Revoked, answered(t, m, request, o.cert).Status)
			restart(t, m)
		}
		checked(t, m)
	}
}

func TestCa6_NoSingleCallEndsACA(t *testing.T) {
	m := pathstest.InProcess(t)
	id, ca := issuingFrom(t, m, newOutside(t, "Outside"), "issuing")
	leaf := leafOf(t, m, "issue/web")
	m.Delete(t, "issuer/issuing").Expect(http.StatusConflict)
	m.Delete(t, "issuer/"+id).Expect(http.StatusConflict)
	m.Write(t, "issuer/issuing/retire", body{"state": "retired"}).Expect(http.StatusConflict)
	key := m.Read(t, "issuer/issuing", nil).Text("key_id")
	require.NotEqual(t, http.StatusNoContent, m.Delete(t, "key/"+key).Status)
	require.Equal(t, "active", m.Read(t, "issuer/issuing", nil).Text("state"))

	m.DeleteWith(t, "issuer/issuing", body{"force": true}).OK()
	m.Delete(t, "key/"+key).Expect(http.StatusConflict)
	m.Write(t, "revoke", body{"serial_number": serialOf(leaf), "reason": "keyCompromise"}).Expect(http.StatusOK)
	stillRevoked(t, m, []string{"issuing", id}, []*x509.Certificate{ca}, leaf)
	m.DeleteWith(t, "key/"+key, body{"force": true}).OK()
	require.True(t, lists(crlAt(t, m, id, ca), leaf), "the last CRL stays")
	m.Write(t, "crl/rotate", nil).Expect(http.StatusOK)
}

// A repeated request to retire changes nothing, and no state stops CRL and OCSP.
func TestPromise1_RetiringTwiceKeepsCRLAndOCSP(t *testing.T) {
	m := pathstest.InProcess(t)
	id, ca := issuingFrom(t, m, newOutside(t, "Outside"), "issuing")
	first, second := leafOf(t, m, "issue/web"), leafOf(t, m, "issue/web")
	for range 3 {
		m.Write(t, "issuer/issuing/retire", nil).Expect(http.StatusOK)
		require.Equal(t, "retiring", m.Read(t, "issuer/issuing", nil).Text("state"))
	}
	for _, leaf := range []*x509.Certificate{first, second} {
		m.Write(t, "revoke", body{"serial_number": serialOf(leaf), "reason": "keyCompromise"}).Expect(http.StatusOK)
		stillRevoked(t, m, []string{id}, []*x509.Certificate{ca}, leaf)
	}
	for range 2 {
		m.Write(t, "issuer/issuing/activate", nil).Expect(http.StatusOK)
	}
	m.Write(t, "config/issuers", body{"default": id}).Expect(http.StatusOK)
	leafOf(t, m, "issue/web")
}

// Whoever may not sign CRLs promises none.
func TestPromise1_WithoutACRLSignerNoCRLIsPromised(t *testing.T) {
	m := pathstest.InProcess(t)
	issuingFrom(t, m, newOutside(t, "Outside"), "issuing")
	leaf := leafOf(t, m, "issue/web")
	m.Patch(t, "issuer/issuing", body{"usage": "read-only,issuing-certificates,ocsp-signing"}).Expect(http.StatusOK)
	said := m.Write(t, "revoke", body{"serial_number": serialOf(leaf), "reason": "keyCompromise"}).Expect(http.StatusOK)
	require.Equal(t, "none", said.Text("crl_status"))
	require.NotContains(t, said.Data, "crl_number")
	require.NotContains(t, said.Data, "crl_due")
	require.NotEmpty(t, said.Warnings)
}

// Another CA may give any certificate any serial number.
func TestId1_ASerialNumberAloneNamesNothing(t *testing.T) {
	m := pathstest.InProcess(t)
	o := newOutside(t, "Outside")
	_, ca := issuingFrom(t, m, o, "issuing")
	leaf, other := leafOf(t, m, "issue/web"), leafOf(t, m, "issue/web")

	twin := o.signCA(t, pkix.Name{CommonName: "Twin"}, newKey(t).Public(), func(c *x509.Certificate) { c.SerialNumber = leaf.SerialNumber })
	id := m.Write(t, "issuers/import/cert", body{"pem_bundle": pemOf(twin)}).Expect(http.StatusOK).Texts("imported_issuers")[0]
	m.Write(t, "issuer/"+id+"/revoke", nil)
	require.Equal(t, ocsp.Good, answered(t, m, leaf, ca).Status, "revoking the imported CA revokes no certificate of another CA")
	m.Write(t, "revoke", body{"serial_number": serialOf(leaf), "reason": "keyCompromise"}).Expect(http.StatusOK)
	stillRevoked(t, m, []string{"issuing"}, []*x509.Certificate{ca}, leaf)
	require.Equal(t, pemOf(leaf), m.Read(t, "cert/"+serialOf(leaf), nil).Text("certificate")+"\n")
	require.Equal(t, ocsp.Good, answered(t, m, other, ca).Status)
}

// A subordinate CA that is signed here and whose key is elsewhere has no revocation of its
// own.
func TestId1_ASubordinateCAWithoutItsKeyIsRevokedAsACertificate(t *testing.T) {
	m := pathstest.InProcess(t)
	root := withRoot(t, m)
	answer := m.Write(t, "root/sign-intermediate", body{
		"csr": csrOf(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "Sub"}}, newKey(t)), "common_name": "Sub", "ttl": "100h",
	}).Expect(http.StatusOK)
	sub := certificate(t, answer.Text("certificate"))
	m.Write(t, "issuers/import/cert", body{"pem_bundle": pemOf(sub)}).Expect(http.StatusOK)
	m.Write(t, "revoke", body{"serial_number": serialOf(sub), "reason": "keyCompromise"}).Expect(http.StatusOK)
	stillRevoked(t, m, []string{"root"}, []*x509.Certificate{root}, sub)
}
