package attack_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// keyDoors are all ways to a certificate, or to become a CA, for a key that a client
// has. Each returns the status of its answer.
var keyDoors = map[string]func(t *testing.T, m *pathstest.Mount, key *ecdsa.PrivateKey) pathstest.Answer{
	"sign": func(t *testing.T, m *pathstest.Mount, key *ecdsa.PrivateKey) pathstest.Answer {
		return m.Write(t, "sign/web", body{"csr": csrForKey(t, key)})
	},
	"sign at an issuer": func(t *testing.T, m *pathstest.Mount, key *ecdsa.PrivateKey) pathstest.Answer {
		return m.Write(t, "issuer/root/sign/web", body{"csr": csrForKey(t, key)})
	},
	"simulate": func(t *testing.T, m *pathstest.Mount, key *ecdsa.PrivateKey) pathstest.Answer {
		return m.Write(t, "roles/web/simulate", body{"csr": csrForKey(t, key)})
	},
	"root/sign-intermediate": func(t *testing.T, m *pathstest.Mount, key *ecdsa.PrivateKey) pathstest.Answer {
		return m.Write(t, "root/sign-intermediate", body{"csr": csrForKey(t, key), "common_name": "Sub", "ttl": "1h"})
	},
	"issuer/sign-intermediate": func(t *testing.T, m *pathstest.Mount, key *ecdsa.PrivateKey) pathstest.Answer {
		return m.Write(t, "issuer/root/sign-intermediate", body{"csr": csrForKey(t, key), "common_name": "Sub", "ttl": "1h"})
	},
	"edge/ocsp-signer": func(t *testing.T, m *pathstest.Mount, key *ecdsa.PrivateKey) pathstest.Answer {
		return m.Write(t, "edge/ocsp-signer/root", body{"csr": csrForKey(t, key)})
	},
	"keys/import": func(t *testing.T, m *pathstest.Mount, key *ecdsa.PrivateKey) pathstest.Answer {
		return m.Write(t, "keys/import", body{"pem_bundle": privatePEM(t, key)})
	},
	"issuers/import/bundle": func(t *testing.T, m *pathstest.Mount, key *ecdsa.PrivateKey) pathstest.Answer {
		return m.Write(t, "issuers/import/bundle", body{"pem_bundle": privatePEM(t, key)})
	},
	"issuers/import/cert": func(t *testing.T, m *pathstest.Mount, key *ecdsa.PrivateKey) pathstest.Answer {
		ca := anotherCertificate(t, newKey(t), pkix.Name{CommonName: "Sub"}, key.Public())
		return m.Write(t, "issuers/import/cert", body{"pem_bundle": encode("CERTIFICATE", ca.Raw)})
	},
}

func privatePEM(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return encode("PRIVATE KEY", pkcs8)
}

// barredAt has a key refused at every door but those that are named.
func barredAt(t *testing.T, m *pathstest.Mount, key *ecdsa.PrivateKey, why string, but ...string) {
	t.Helper()
	open := map[string]bool{}
	for _, name := range but {
		open[name] = true
	}
	issuers, keys := m.List(t, "issuers/", nil).Texts("keys"), m.List(t, "keys/", nil).Texts("keys")
	for name, try := range keyDoors {
		if open[name] {
			continue
		}
		answer := try(t, m, key)
		require.Equal(t, http.StatusBadRequest, answer.Status, "%s: %v", name, answer.Data)
		require.Contains(t, answer.Errors[0], why, name)
	}
	require.Equal(t, issuers, m.List(t, "issuers/", nil).Texts("keys"))
	require.Equal(t, keys, m.List(t, "keys/", nil).Texts("keys"))
	if open["sign"] {
		return
	}
	require.Contains(t, inBatch(t, m, "web", body{"csr": csrForKey(t, key)})["error"], why, "batch")
}

func TestKey1_ACompromisedKeyPassesNoDoor(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		leafKey, caKey := newKey(t), newKey(t)
		leaf := open(t, m, "web", body{"csr": csrForKey(t, leafKey)})
		m.Write(t, "revoke", body{"certificate": encode("CERTIFICATE", leaf.Raw), "reason": "keyCompromise"}).Expect(http.StatusOK)
		ca := keyDoors["root/sign-intermediate"](t, m, caKey).Expect(http.StatusOK)
		m.Write(t, "revoke", body{"serial_number": ca.Text("serial_number"), "reason": "cACompromise"}).Expect(http.StatusOK)
		for _, key := range []*ecdsa.PrivateKey{leafKey, caKey} {
			barredAt(t, m, key, "compromised")
		}
		// It came before it was compromised.
		early := newKey(t)
		imported := m.Write(t, "keys/import", body{"pem_bundle": privatePEM(t, early), "key_name": "early"}).Expect(http.StatusOK).Text("key_id")
		late := open(t, m, "web", body{"csr": csrForKey(t, early)})
		m.Write(t, "revoke", body{"certificate": encode("CERTIFICATE", late.Raw), "reason": "keyCompromise"}).Expect(http.StatusOK)
		for _, path := range []string{"root/generate/existing", "intermediate/generate/existing", "intermediate/cross-sign", "root/rotate/existing"} {
			answer := m.Write(t, path, body{"common_name": "Bad", "key_ref": imported}).Expect(http.StatusBadRequest)
			require.Contains(t, answer.Errors[0], "compromised", path)
		}
		restart(t, m)
		barredAt(t, m, leafKey, "compromised")
	})
}

// Right after a restart nothing is known yet of what was compromised: no door opens
// for that.
func TestKey1_ACompromisedKeyPassesNoDoorWhileTheLedgerLoads(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	key := newKey(t)
	leaf := open(t, m, "web", body{"csr": csrForKey(t, key)})
	m.Write(t, "revoke", body{"certificate": encode("CERTIFICATE", leaf.Raw), "reason": "keyCompromise"}).Expect(http.StatusOK)
	for name, try := range keyDoors {
		m.Restart(t)
		answer := try(t, m, key)
		require.NotEqual(t, http.StatusOK, answer.Status, name)
	}
}

func TestKey1_AKeyOfTheMountGetsNoCertificateOfAnotherKind(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		caDoors := []string{"root/sign-intermediate", "issuer/sign-intermediate", "keys/import", "issuers/import/bundle", "issuers/import/cert"}
		leafDoors := []string{"sign", "sign at an issuer", "simulate"}

		// Of a pending issuer.
		pending := newKey(t)
		m.Write(t, "keys/import", body{"pem_bundle": privatePEM(t, pending), "key_name": "pending"}).Expect(http.StatusOK)
		csr := m.Write(t, "intermediate/generate/existing", body{"common_name": "Pending", "key_ref": "pending"}).Expect(http.StatusOK).Text("csr")
		barredAt(t, m, pending, "CA key", caDoors...)
		m.Write(t, "roles/any", body{"allow_any_name": true, "enforce_hostnames": false, "key_type": "any"}).Expect(http.StatusOK)
		shut(t, m, "any", body{"csr": csr}, "CA key")

		// Of an issuer, and it may be certified again as a CA.
		signed := m.Write(t, "root/sign-intermediate", body{"csr": csr, "common_name": "Pending", "ttl": "1h"}).Expect(http.StatusOK)
		m.Write(t, "intermediate/set-signed", body{"certificate": signed.Text("certificate")}).Expect(http.StatusOK)
		barredAt(t, m, pending, "CA key", caDoors...)
		m.Write(t, "intermediate/cross-sign", body{"common_name": "Pending", "key_ref": "pending"}).Expect(http.StatusOK)
		m.Write(t, "root/sign-intermediate", body{"csr": csr, "common_name": "Pending", "ttl": "1h"}).Expect(http.StatusOK)
		m.Write(t, "root/generate/existing", body{"common_name": "Root of the same key", "key_ref": "pending"}).Expect(http.StatusOK)

		// Of a CA below this mount whose key is elsewhere.
		below := newKey(t)
		keyDoors["root/sign-intermediate"](t, m, below).Expect(http.StatusOK)
		barredAt(t, m, below, "another kind", caDoors...)
		keyDoors["root/sign-intermediate"](t, m, below).Expect(http.StatusOK)

		// Of an edge's responder, which has its key certified again and again.
		edge := newKey(t)
		keyDoors["edge/ocsp-signer"](t, m, edge).Expect(http.StatusOK)
		barredAt(t, m, edge, "another kind", "edge/ocsp-signer")
		keyDoors["edge/ocsp-signer"](t, m, edge).Expect(http.StatusOK)

		// Of a server, which renews with its key.
		server := newKey(t)
		open(t, m, "web", body{"csr": csrForKey(t, server)})
		barredAt(t, m, server, "another kind", leafDoors...)
		leaf := open(t, m, "web", body{"csr": csrForKey(t, server)})
		require.False(t, leaf.IsCA)
	})
}
