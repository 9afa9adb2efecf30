package attack_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

var caTrue = []byte{0x30, 3, 1, 1, 0xff}

func TestCA1_NoEncodingOfCATrueGetsThrough(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		m.Write(t, "profiles/drops", body{"preset": "tls-server", "csr_extra": "drop"}).Expect(http.StatusOK)
		m.Write(t, "roles/drops", body{"profile": "drops", "allowed_domains": "example.com", "allow_subdomains": true}).Expect(http.StatusOK)
		in := func(values ...[]byte) building {
			return attribute(oidExtensionRequest, extensionList(oidBasicConstraints, values...))
		}
		caFalse := []byte{0x30, 0}
		for name, attributes := range map[string]building{
			"plain":                in(caTrue),
			"with path length":     in([]byte{0x30, 6, 1, 1, 0xff, 2, 1, 0}),
			"BER true":             in([]byte{0x30, 3, 1, 1, 1}),
			"trailing bytes":       in(append(bytes.Clone(caTrue), 5, 0)),
			"trailing inside":      in([]byte{0x30, 5, 1, 1, 0xff, 5, 0}),
			"twice":                in(caFalse, caTrue),
			"twice, CA first":      in(caTrue, caFalse),
			"long length":          in([]byte{0x30, 0x81, 3, 1, 1, 0xff}),
			"indefinite length":    in([]byte{0x30, 0x80, 1, 1, 0xff, 0, 0}),
			"empty":                in([]byte{}),
			"no CA, path length":   in([]byte{0x30, 3, 2, 1, 0}),
			"set for sequence":     in([]byte{0x31, 3, 1, 1, 0xff}),
			"two values":           attribute(oidExtensionRequest, extensionList(oidBasicConstraints, caFalse), extensionList(oidBasicConstraints, caTrue)),
			"two attributes":       all(in(caFalse), in(caTrue)),
			"Microsoft's":          attribute(oidMSExtensions, extensionList(oidBasicConstraints, caTrue)),
			"Microsoft's and ours": all(in(caFalse), attribute(oidMSExtensions, extensionList(oidBasicConstraints, caTrue))),
			"keyCertSign":          attribute(oidExtensionRequest, extensionList([]int{2, 5, 29, 15}, []byte{3, 2, 2, 4})),
		} {
			t.Run(name, func(t *testing.T) {
				for _, role := range []string{"web", "drops"} {
					shut(t, m, role, body{"csr": rawRequest(t, newKey(t), nil, attributes), "alt_names": "a.example.com"}, "csr")
				}
			})
		}
		require.False(t, open(t, m, "web", body{"csr": rawRequest(t, newKey(t), nil, in(caFalse))}).IsCA)
	})
}

// A role never makes a CA, whatever its profile or its fields say.
func TestCA1_NoRoleMakesACA(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	for _, profile := range []string{"issuing-ca", "root-ca"} {
		m.Write(t, "roles/ca", body{"profile": profile, "allow_any_name": true}).Expect(http.StatusBadRequest)
	}
	for _, usage := range []string{"CertSign", "keyCertSign", "CRLSign"} {
		answer := m.Write(t, "roles/ca", body{"allow_any_name": true, "key_usage": usage, "key_type": "ec"})
		require.Equal(t, http.StatusBadRequest, answer.Status, "%s: %v", usage, answer.Errors)
	}
	answer := m.Write(t, "profiles/ca", body{"preset": "tls-server", "custom_extensions": []string{"2.5.29.19=critical:MAMBAf8="}})
	require.Equal(t, http.StatusBadRequest, answer.Status, answer.Errors)
}

// subordinate makes a CA below the signer in the mount, with fields of its own.
func subordinate(t *testing.T, m *pathstest.Mount, signer, name string, fields body) *x509.Certificate {
	t.Helper()
	pending := m.Write(t, "intermediate/generate/internal", body{"common_name": name, "key_type": "ec", "issuer_name": name}).Expect(http.StatusOK)
	signed := m.Write(t, "issuer/"+signer+"/sign-intermediate", body{"ttl": "720h"}.with(fields).with(body{
		"csr": pending.Text("csr"), "common_name": name,
	})).Expect(http.StatusOK)
	m.Write(t, "intermediate/set-signed", body{"certificate": signed.Text("certificate")}).Expect(http.StatusOK)
	return certificate(t, signed.Text("certificate"))
}

func TestCA2_NothingIsSignedThatTheChainForbids(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		constrained := body{
			"ttl":                   "1440h",
			"permitted_dns_domains": "e.corp", "excluded_dns_domains": "secret.e.corp", "permitted_ip_ranges": "10.0.0.0/8",
			"permitted_email_addresses": ".e.corp", "permitted_uri_domains": ".e.corp",
		}
		subordinate(t, m, "root", "limited", constrained)
		subordinate(t, m, "limited", "below", body{"max_path_length": 0})
		m.Write(t, "roles/any", body{
			"allow_any_name": true, "key_type": "ec", "allowed_uri_sans": "*", "allowed_other_sans": "*", "require_cn": false, "ttl": "1h",
		}).Expect(http.StatusOK)
		before := issued(t, m)
		for _, chain := range []body{{}, {"manual_chain": "self"}} {
			m.Patch(t, "issuer/below", chain).Expect(http.StatusOK)
			for _, signer := range []string{"limited", "below"} {
				path := "issuer/" + signer
				m.Write(t, path+"/issue/any", body{"common_name": "a.e.corp", "ip_sans": "10.1.1.1", "uri_sans": "https://a.e.corp/"}).Expect(http.StatusOK)
				before++
				for _, names := range []body{
					{"common_name": "a.com"},
					{"common_name": "ae.corp"},
					{"common_name": "a.secret.e.corp"},
					{"common_name": "*.e.corp", "alt_names": "secret.e.corp"},
					{"alt_names": "a.com"},
					{"ip_sans": "192.0.2.1"},
					{"ip_sans": "2001:db8::1"},
					{"alt_names": "x@evil.com"},
					{"uri_sans": "https://evil.com/"},
					{"uri_sans": "https://10.1.1.1/"},
					{"uri_sans": "urn:x:y"},
					{"common_name": "a.com", "exclude_cn_from_sans": true},
				} {
					answer := m.Write(t, path+"/issue/any", names)
					require.Equal(t, http.StatusBadRequest, answer.Status, "%s %v: %v", signer, names, answer.Data["certificate"])
				}
			}
			refused := m.Write(t, "issuer/below/sign-intermediate", body{"csr": csrFor(t), "common_name": "Too Deep", "ttl": "1h"})
			require.Equal(t, http.StatusBadRequest, refused.Status, refused.Errors)
			require.Contains(t, refused.Errors[0], "path length")
		}
		require.Equal(t, before, issued(t, m), "nothing refused is on record")
	})
}

// An issuer that may serve some profiles only cannot be used to make CAs beside them.
func TestCA2_PermittedProfilesHoldForCAsToo(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Patch(t, "issuer/root", body{"permitted_profiles": "role:web"}).Expect(http.StatusOK)
	open(t, m, "web", body{"common_name": "a.example.com"})
	m.Write(t, "roles/other", webRole).Expect(http.StatusOK)
	shut(t, m, "other", body{"common_name": "a.example.com"}, "permitted_profiles")
	ask := body{"csr": csrFor(t), "common_name": "Sub", "ttl": "1h"}
	require.Equal(t, http.StatusForbidden, m.Write(t, "root/sign-intermediate", ask).Status)
	require.Equal(t, http.StatusForbidden, m.Write(t, "root/sign-intermediate", ask.with(body{"profile": "issuing-ca"})).Status)
	m.Patch(t, "issuer/root", body{"permitted_profiles": "role:web,issuing-ca"}).Expect(http.StatusOK)
	require.Equal(t, http.StatusForbidden, m.Write(t, "root/sign-intermediate", ask).Status)
	signed := m.Write(t, "root/sign-intermediate", body{"csr": rsaCSR(t, 4096), "common_name": "Sub", "profile": "issuing-ca", "ttl": "1h"})
	require.NotEqual(t, http.StatusForbidden, signed.Status, signed.Errors)
}

// foreignCA makes a CA certificate as another CA would.
func foreignCA(t *testing.T, change func(*x509.Certificate)) (text, key string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "Foreign CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1, 2, 3},
	}
	if change != nil {
		change(template)
	}
	signer := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(signer)
	require.NoError(t, err)
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", pkcs8)
}

func TestCA3_ImportsAreWholeOrNothing(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		good, key := foreignCA(t, nil)
		leaf, _ := foreignCA(t, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
		noConstraints, _ := foreignCA(t, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = false, false })
		expired, _ := foreignCA(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		noSign, _ := foreignCA(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
		critical, _ := foreignCA(t, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		})
		damaged := strings.Replace(good, "M", "!", 1)
		csr := csrFor(t, "a.example.com")
		for name, bad := range map[string]string{
			"leaf": leaf, "no constraints": noConstraints, "expired": expired, "may not sign": noSign, "critical": critical, "damaged": damaged,
			"request": csr, "key of nobody": encode("PRIVATE KEY", []byte{0x30, 0}), "cut": good[:200], "unknown": encode("SECRET", []byte("x")),
		} {
			for _, bundle := range []string{good + bad, bad + good, good + key + bad, bad} {
				for _, path := range []string{"issuers/import/bundle", "config/ca", "issuers/import/cert", "intermediate/set-signed"} {
					answer := m.Write(t, path, body{field(path): bundle})
					require.Equal(t, http.StatusBadRequest, answer.Status, "%s to %s: %v", name, path, answer.Data)
				}
			}
		}
		withKey := m.Write(t, "issuers/import/cert", body{"pem_bundle": good + key}).Expect(http.StatusBadRequest)
		require.Contains(t, withKey.Errors[0], "private key")
		m.List(t, "issuers/", nil).Expect(http.StatusNotFound)
		m.List(t, "keys/", nil).Expect(http.StatusNotFound)
		m.Read(t, "ca", nil).Expect(http.StatusNoContent)
		m.Write(t, "issuers/import/bundle", body{"pem_bundle": good + key}).Expect(http.StatusOK)
	})
}

func field(path string) string {
	if path == "intermediate/set-signed" {
		return "certificate"
	}
	return "pem_bundle"
}

func TestCA3_ACertificateForAnotherKeyIsRefusedWithTheExpectedHash(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		pending := m.Write(t, "intermediate/generate/internal", body{"common_name": "Issuing", "key_type": "ec"}).Expect(http.StatusOK)
		other := m.Write(t, "root/sign-intermediate", body{"csr": csrFor(t), "common_name": "Issuing", "ttl": "1h"}).Expect(http.StatusOK)
		refused := m.Write(t, "intermediate/set-signed", body{"certificate": other.Text("certificate")}).Expect(http.StatusBadRequest)
		require.Contains(t, refused.Errors[0], strings.ReplaceAll(pending.Text("key_sha256"), ":", ""))
		require.Len(t, m.List(t, "issuers/", nil).Texts("keys"), 1)
		require.Equal(t, "pending", m.Read(t, "issuer/"+pending.Text("issuer_id"), nil).Expect(http.StatusOK).Text("state"))
	})
}

// A certificate that is not what was asked for does not become the pending issuer.
func TestCA3_ACertificateOutsideItsProfileIsRefused(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	pending := m.Write(t, "intermediate/generate/internal", body{
		"common_name": "Issuing", "key_type": "ec", "key_bits": 384, "profile": "issuing-ca",
	}).Expect(http.StatusOK)
	wide := m.Write(t, "root/sign-intermediate", body{"csr": pending.Text("csr"), "common_name": "Issuing", "ttl": "86400h"}).Expect(http.StatusOK)
	for _, path := range []string{"intermediate/set-signed", "issuers/import/cert", "issuers/import/bundle", "config/ca"} {
		answer := m.Write(t, path, body{field(path): wide.Text("certificate")})
		require.Equal(t, http.StatusBadRequest, answer.Status, "%s: %v", path, answer.Data)
	}
	require.Equal(t, "pending", m.Read(t, "issuer/"+pending.Text("issuer_id"), nil).Expect(http.StatusOK).Text("state"))
}

func TestCA4_NoWayBackForARevokedIssuer(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		ca := subordinate(t, m, "root", "issuing", nil)
		id := m.Read(t, "issuer/issuing", nil).Text("issuer_id")
		key := m.Read(t, "issuer/issuing", nil).Text("key_id")
		// Another request of the same key, and a certificate for it that waits outside.
		twin := m.Write(t, "intermediate/generate/existing", body{"common_name": "Twin", "key_ref": key}).Expect(http.StatusOK).Text("csr")
		waiting := m.Write(t, "issuer/root/sign-intermediate", body{"csr": twin, "common_name": "Twin", "ttl": "1h"}).Expect(http.StatusOK).Text("certificate")
		m.Write(t, "config/issuers", body{"default": "issuing", "default_follows_latest_issuer": true}).Expect(http.StatusOK)
		m.Write(t, "issuer/issuing/revoke", nil).Expect(http.StatusOK)
		barred := func(what string) {
			t.Helper()
			for _, ref := range []string{"issuing", id, "default"} {
				answer := m.Write(t, "issuer/"+ref+"/issue/web", body{"common_name": "a.example.com"})
				require.NotEqual(t, http.StatusOK, answer.Status, "%s: issuer %s issues", what, ref)
			}
			for _, other := range m.List(t, "issuers/", nil).Texts("keys") {
				answer := m.Write(t, "issuer/"+other+"/issue/web", body{"common_name": "a.example.com"})
				if answer.Status == http.StatusOK {
					require.Error(t, certificate(t, answer.Text("certificate")).CheckSignatureFrom(ca), "%s: the key issues", what)
				}
			}
			require.NotEqual(t, id, m.Read(t, "config/issuers", nil).Text("default"), what)
		}
		barred("revoked")
		for _, usage := range []any{"issuing-certificates", "read-only,issuing-certificates,crl-signing,ocsp-signing", []string{"issuing-certificates"}} {
			m.Patch(t, "issuer/issuing", body{"usage": usage}).Expect(http.StatusBadRequest)
			m.Write(t, "issuer/issuing", body{"usage": usage}).Expect(http.StatusBadRequest)
		}
		for _, path := range []string{"issuer/issuing/activate", "issuer/issuing/retire"} {
			require.NotEqual(t, http.StatusOK, m.Write(t, path, nil).Status, path)
		}
		for _, path := range []string{"config/issuers", "root/replace"} {
			for _, ref := range []string{"issuing", id} {
				m.Write(t, path, body{"default": ref}).Expect(http.StatusBadRequest)
			}
		}
		barred("asked nicely")
		other := encode("CERTIFICATE", malleated(t, ca, elliptic.P256().Params().N))
		for _, text := range []string{encode("CERTIFICATE", ca.Raw), other, waiting} {
			m.Write(t, "issuers/import/cert", body{"pem_bundle": text})
			m.Write(t, "intermediate/set-signed", body{"certificate": text})
			barred("imported again")
		}
		for _, path := range []string{"root/generate/existing", "intermediate/generate/existing"} {
			m.Write(t, path, body{"common_name": "Again", "key_ref": key}).Expect(http.StatusBadRequest)
		}
		m.Write(t, "issuer/root/sign-intermediate", body{"csr": twin, "common_name": "Twin", "ttl": "1h"}).Expect(http.StatusBadRequest)
		barred("made anew")
		require.Equal(t, http.StatusConflict, m.Delete(t, "issuer/issuing").Status)
		for _, text := range []string{encode("CERTIFICATE", ca.Raw), other, waiting} {
			m.Write(t, "issuers/import/cert", body{"pem_bundle": text})
			barred("deleted and imported again")
		}
		restart(t, m)
		barred("restarted")
	})
}

func TestCA4_ARevokedRootIsNotOnItsOwnList(t *testing.T) {
	m := pathstest.InProcess(t)
	root := withRoot(t, m)
	serial := m.Read(t, "issuer/root", nil).Text("serial_number")
	m.Write(t, "issuer/root/revoke", nil).Expect(http.StatusOK)
	m.Write(t, "revoke", body{"serial_number": serial})
	m.Write(t, "revoke", body{"certificate": encode("CERTIFICATE", root.Raw)})
	m.Write(t, "crl/rotate", nil).Expect(http.StatusOK)
	list, err := x509.ParseRevocationList(m.Read(t, "issuer/root/crl/der", nil).Expect(http.StatusOK).Body)
	require.NoError(t, err)
	require.Empty(t, list.RevokedCertificateEntries)
}
