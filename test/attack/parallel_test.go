package attack_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// together makes requests at one time and returns how many were answered with 200.
func together(requests ...func() pathstest.Answer) (granted int) {
	start, answers := make(chan struct{}), make([]pathstest.Answer, len(requests))
	var group sync.WaitGroup
	for i, request := range requests {
		group.Go(func() {
			<-start
			answers[i] = request()
		})
	}
	close(start)
	group.Wait()
	for i := range answers {
		if answers[i].Status == http.StatusOK {
			granted++
		}
	}
	return granted
}

// Requests at one time give a key certificates of one kind.
func TestKey1_RequestsAtOneTimeGiveAKeyOneKindOfCertificate(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	for range 40 {
		o := newOutside(t, "Sub")
		leaf := func() pathstest.Answer {
			csr := csrOf(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a.example.com"}}, o.key)
			return m.Write(t, "sign/web", body{"csr": csr, "common_name": "a.example.com"})
		}
		csr := csrOf(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "Sub"}}, o.key)
		require.LessOrEqual(t, together(leaf, func() pathstest.Answer {
			return m.Write(t, "root/sign-intermediate", body{"csr": csr, "common_name": "Sub", "ttl": "100h"})
		}), 1)
		o = newOutside(t, "Root")
		require.LessOrEqual(t, together(leaf, func() pathstest.Answer {
			return m.Write(t, "issuers/import/bundle", body{"pem_bundle": pemOf(o.cert) + keyPEM(t, o.key)})
		}), 1)
	}
}

// The key of a subordinate CA comes while its certificate is revoked.
func TestCa4_ACARevokedWhileItsKeyComesNeverIssues(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	for range 40 {
		key := newKey(t)
		csr := csrOf(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "Sub"}}, key)
		sub := certificate(t, m.Write(t, "root/sign-intermediate", body{"csr": csr, "common_name": "Sub", "ttl": "100h"}).Expect(http.StatusOK).Text("certificate"))
		id := imported(t, m, pemOf(sub))
		var revoked pathstest.Answer
		together(func() pathstest.Answer {
			revoked = m.Write(t, "revoke", body{"serial_number": serialOf(sub), "reason": "keyCompromise"})
			return revoked
		}, func() pathstest.Answer {
			return m.Write(t, "issuers/import/bundle", body{"pem_bundle": keyPEM(t, key)})
		})
		issued := m.Write(t, "issuer/"+id+"/issue/web", body{"common_name": "a.example.com"})
		require.False(t, revoked.Status == http.StatusOK && issued.Status == http.StatusOK)
	}
}

// An issuer without certificates is deleted while it issues its first one.
func TestCa6_ACertificateIssuedDuringADeletionKeepsItsURLs(t *testing.T) {
	for range 20 {
		m := pathstest.InProcess(t)
		id, ca := issuingFrom(t, m, newOutside(t, "Outside"), "issuing")
		var issued pathstest.Answer
		together(func() pathstest.Answer {
			issued = m.Write(t, "issuer/"+id+"/issue/web", body{"common_name": "a.example.com"})
			return issued
		}, func() pathstest.Answer { return m.Delete(t, "issuer/"+id) })
		if issued.Status == http.StatusOK {
			leaf := certificate(t, issued.Text("certificate"))
			revoke(t, m, leaf)
			stillRevoked(t, m, []string{id, "issuing"}, []*x509.Certificate{ca}, leaf)
		}
	}
}
