package attack_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// ask returns what the responder says of a certificate, nil for an answer without a
// signature, with its status.
func ask(t *testing.T, m *pathstest.Mount, subject, issuer *x509.Certificate) (*ocsp.Response, error) {
	t.Helper()
	request, err := ocsp.CreateRequest(subject, issuer, &ocsp.RequestOptions{Hash: crypto.SHA256})
	require.NoError(t, err)
	return ocsp.ParseResponse(askRaw(t, m, request), nil)
}

func askRaw(t *testing.T, m *pathstest.Mount, request []byte) []byte {
	t.Helper()
	return m.Read(t, "ocsp/"+base64.StdEncoding.EncodeToString(request), nil).Expect(http.StatusOK).Body
}

// forged returns a certificate with the serial number and names of another, signed by
// a key that is nobody's.
func forged(t *testing.T, of *x509.Certificate) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: of.SerialNumber, Subject: of.Subject, NotBefore: of.NotBefore, NotAfter: of.NotAfter, DNSNames: of.DNSNames,
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{Subject: of.Issuer}, key.Public(), key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return parsed
}

func TestRev1_ForgedCertificatesRevokeNothing(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		m.Write(t, "roles/unstored", webRole.with(body{"no_store": true})).Expect(http.StatusOK)
		for _, role := range []string{"web", "unstored"} {
			key := newKey(t)
			leaf := open(t, m, role, body{"csr": csrForKey(t, key)})
			serial := serialOf(leaf)
			text := encode("CERTIFICATE", leaf.Raw)
			changed := bytes.Clone(leaf.Raw)
			changed[len(changed)-1] ^= 1
			for name, bad := range map[string]string{
				"forged":          encode("CERTIFICATE", forged(t, leaf).Raw),
				"changed":         encode("CERTIFICATE", changed),
				"trailing":        encode("CERTIFICATE", append(bytes.Clone(leaf.Raw), 0)),
				"two":             text + text,
				"with a key":      text + encode("PRIVATE KEY", []byte{0x30, 0}),
				"the root":        encode("CERTIFICATE", root.Raw),
				"a request":       csrForKey(t, key),
				"nothing":         "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
				"damaged":         strings.Replace(text, "M", "!", 1),
				"good, a damaged": text + strings.Replace(text, "M", "!", 1),
			} {
				answer := m.Write(t, "revoke", body{"certificate": bad})
				require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, answer.Status, "%s %s: %v", role, name, answer.Data)
			}
			other, _ := newPrivateKey(t)
			m.Write(t, "revoke-with-key", body{"certificate": encode("CERTIFICATE", forged(t, leaf).Raw), "private_key": other})
			m.Write(t, "revoke-with-key", body{"serial_number": serial, "private_key": other})
			for _, odd := range []string{"", ":", "-", "0x" + serial + "00", "0x0x" + serial, serial + "00", "-" + serial + "zz", " ", strings.Repeat("00", 40) + serial, "٣٤"} {
				require.NotEqual(t, http.StatusOK, m.Write(t, "revoke", body{"serial_number": odd}).Status, "%q", odd)
			}
			require.NotContains(t, revokedSerials(t, m), serial)
			response, err := ask(t, m, leaf, root)
			require.NoError(t, err)
			require.NotEqual(t, ocsp.Revoked, response.Status, role)
			m.Write(t, "revoke", body{"certificate": text}).Expect(http.StatusOK)
			require.Contains(t, revokedSerials(t, m), serial)
			m.Write(t, "revoke", body{"certificate": encode("CERTIFICATE", forged(t, leaf).Raw)}).Expect(http.StatusBadRequest)
		}
	})
}

// serialOf returns a serial number as the engine writes it.
func serialOf(c *x509.Certificate) string {
	octets := make([]string, 0, 20)
	for _, octet := range c.SerialNumber.Bytes() {
		octets = append(octets, fmt.Sprintf("%02x", octet))
	}
	return strings.Join(octets, ":")
}

func revokedSerials(t *testing.T, m *pathstest.Mount) []string {
	t.Helper()
	answer := m.List(t, "certs/revoked/", nil)
	if answer.Status == http.StatusNotFound {
		return nil
	}
	return answer.Texts("keys")
}

// An issuer is revoked as an issuer, also in the moment after a start.
func TestRev1_AnIssuerIsNotRevokedAsACertificate(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	sub := subordinate(t, m, "root", "issuing", body{})
	for range 20 {
		m.Restart(t)
		answer := m.Write(t, "revoke", body{"serial_number": serialOf(sub)})
		require.Contains(t, []int{http.StatusBadRequest, http.StatusServiceUnavailable}, answer.Status, "%v", answer.Data)
	}
	require.Empty(t, revokedSerialsAfter(t, m))
}

// revokedSerialsAfter waits until the ledger is read.
func revokedSerialsAfter(t *testing.T, m *pathstest.Mount) []string {
	t.Helper()
	restart(t, m)
	return revokedSerials(t, m)
}

// Reasons that a profile forbids stay forbidden when the profile is gone.
func TestRev1_ReasonsFollowTheVersionOfTheCertificate(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "profiles/strict", body{"preset": "tls-server", "allowed_revocation_reasons": "keyCompromise"}).Expect(http.StatusOK)
	m.Write(t, "roles/strict", body{"profile": "strict", "allowed_domains": "example.com", "allow_subdomains": true, "key_type": "ec"}).Expect(http.StatusOK)
	leaf := open(t, m, "strict", body{"alt_names": "a.example.com"})
	ask := body{"serial_number": serialOf(leaf), "reason": "superseded"}
	m.Write(t, "revoke", ask).Expect(http.StatusBadRequest)
	m.Patch(t, "profiles/strict", body{"allowed_revocation_reasons": ""}).Expect(http.StatusOK)
	m.Write(t, "revoke", ask).Expect(http.StatusBadRequest)
	m.Delete(t, "roles/strict").OK()
	m.Delete(t, "profiles/strict").OK()
	m.Write(t, "revoke", ask).Expect(http.StatusBadRequest)
	m.Write(t, "revoke", ask.with(body{"reason": "keyCompromise"})).Expect(http.StatusOK)
}

// A certificate without a record is known by its signature; another encoding of that
// signature names the same serial number and nothing else.
func TestRev1_UnstoredCertificatesAreProvenBySignature(t *testing.T) {
	m := pathstest.InProcess(t)
	root := withRoot(t, m)
	m.Write(t, "roles/unstored", webRole.with(body{"no_store": true})).Expect(http.StatusOK)
	leaf := open(t, m, "unstored", body{"common_name": "a.example.com"})
	m.Write(t, "revoke", body{"certificate": encode("CERTIFICATE", forged(t, leaf).Raw)}).Expect(http.StatusNotFound)
	foreign, _ := foreignCA(t, nil)
	m.Write(t, "issuers/import/cert", body{"pem_bundle": foreign}).Expect(http.StatusOK) // no key: it signs nothing here
	m.Write(t, "revoke", body{"certificate": foreign})
	twin := malleated(t, leaf, elliptic.P256().Params().N)
	m.Write(t, "revoke", body{"certificate": encode("CERTIFICATE", twin)}).Expect(http.StatusOK)
	response, err := ask(t, m, leaf, root)
	require.NoError(t, err)
	require.Equal(t, ocsp.Revoked, response.Status)
}

func TestRev3_NothingIsGoodBeforeTheLedgerIsRead(t *testing.T) {
	m := pathstest.InProcess(t)
	root := withRoot(t, m)
	leaf := open(t, m, "web", body{"common_name": "a.example.com"})
	m.Write(t, "revoke", body{"certificate": encode("CERTIFICATE", leaf.Raw)}).Expect(http.StatusOK)
	for range 20 {
		gate := &held{Storage: m.Storage, open: make(chan struct{})}
		m.Storage = gate
		m.Restart(t)
		for range 10 {
			_, err := ask(t, m, leaf, root)
			require.ErrorContains(t, err, "try later")
			require.Equal(t, http.StatusServiceUnavailable, m.List(t, "certs/revoked/", nil).Status)
		}
		close(gate.open)
		m.Storage = gate.Storage
		wait.Until(t, "OCSP answers again", func() bool {
			response, err := ask(t, m, leaf, root)
			require.True(t, err != nil || response.Status == ocsp.Revoked, "a revoked certificate was called %v", response)
			return err == nil
		})
	}
}

func TestOCSP1_NeverIssuedIsNeverGood(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		leaf := open(t, m, "web", body{"common_name": "a.example.com"})
		response, err := ask(t, m, leaf, root)
		require.NoError(t, err)
		require.Equal(t, ocsp.Good, response.Status)
		for range 100 {
			guess, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 150))
			require.NoError(t, err)
			unknown := &x509.Certificate{SerialNumber: guess, RawIssuer: root.RawSubject}
			response, err := ask(t, m, unknown, root)
			require.NoError(t, err)
			require.Equal(t, ocsp.Unknown, response.Status)
		}
		near := &x509.Certificate{SerialNumber: new(big.Int).Add(leaf.SerialNumber, big.NewInt(1)), RawIssuer: root.RawSubject}
		response, err = ask(t, m, near, root)
		require.NoError(t, err)
		require.Equal(t, ocsp.Unknown, response.Status)
		// The serial of another issuer's certificate is not this issuer's.
		subordinate(t, m, "root", "other", body{})
		other := certificate(t, m.Read(t, "issuer/other", nil).Text("certificate"))
		response, err = ask(t, m, leaf, other)
		require.True(t, err != nil || response.Status == ocsp.Unknown)
		foreign, _ := foreignCA(t, nil)
		_, err = ask(t, m, leaf, certificate(t, foreign))
		require.Error(t, err, "an unknown issuer is not ours to answer for")
	})
}

func TestOCSP1_MalformedRequestsAreAnsweredAsSuch(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		leaf := open(t, m, "web", body{"common_name": "a.example.com"})
		request, err := ocsp.CreateRequest(leaf, root, nil)
		require.NoError(t, err)
		deep := bytes.Repeat([]byte{0x30, 0x80}, 4000)
		nested := []byte{5, 0}
		for len(nested) < 40000 {
			inner := nested
			nested = bytesOf(t, func(b *cryptobyte.Builder) {
				b.AddASN1(0x30, func(b *cryptobyte.Builder) { b.AddBytes(inner) })
			})
			if len(nested)-len(inner) > 3 {
				nested = bytesOf(t, func(b *cryptobyte.Builder) {
					b.AddASN1(0x30, func(b *cryptobyte.Builder) { b.AddBytes(nested); b.AddBytes(nested) })
				})
			}
		}
		for name, bad := range map[string][]byte{
			"empty list": {0x30, 2, 0x30, 0}, "null": {5, 0}, "cut": request[:len(request)-1], "trailing": append(bytes.Clone(request), 0),
			"indefinite": deep, "nested": nested[:min(len(nested), 60000)], "huge": make([]byte, 70000), "zero": {0},
			"huge length": {0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, "many": many(t, request, 500),
		} {
			_, err := ocsp.ParseResponse(askRaw(t, m, bad), nil)
			require.ErrorContains(t, err, "malformed", name)
		}
		for _, text := range []string{"!!!", "%%%", "MAo", strings.Repeat("A", 98304), "é", "MAo=/MAo=", "..", " ", "\x00"} {
			answer := m.Read(t, "ocsp/"+text, nil).Expect(http.StatusOK)
			_, err := ocsp.ParseResponse(answer.Body, nil)
			require.Error(t, err, "%q", text)
		}
		require.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, m.Read(t, "ocsp/"+strings.Repeat("A", 98305), nil).Status)
		// Every octet of a good request turned around: an answer, never an error of ours.
		for at := range request {
			changed := bytes.Clone(request)
			changed[at] ^= 0xff
			response, err := ocsp.ParseResponse(askRaw(t, m, changed), nil)
			require.True(t, err != nil || response.Status == ocsp.Unknown, "octet %d: %v", at, response)
		}
	})
}

// many returns a request that asks for the same certificate many times.
func many(t *testing.T, request []byte, count int) []byte {
	t.Helper()
	input := cryptobyte.String(request)
	var whole, tbs, list cryptobyte.String
	require.True(t, input.ReadASN1(&whole, 0x30) && whole.ReadASN1(&tbs, 0x30) && tbs.ReadASN1(&list, 0x30))
	return bytesOf(t, func(b *cryptobyte.Builder) {
		b.AddASN1(0x30, func(b *cryptobyte.Builder) {
			b.AddASN1(0x30, func(b *cryptobyte.Builder) {
				b.AddASN1(0x30, func(b *cryptobyte.Builder) {
					for range count {
						b.AddBytes(list)
					}
				})
			})
		})
	})
}

// A lease that ends revokes its certificate, and only that; ending it twice is fine.
func TestRev4_ALeaseRevokesItsCertificateAlone(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		m.Patch(t, "roles/web", body{"generate_lease": true}).Expect(http.StatusOK)
		bystander := open(t, m, "web", body{"common_name": "b.example.com"})
		for _, form := range []string{"pem", "der", "pem_bundle"} {
			answer := m.Write(t, "issue/web", body{"common_name": "a.example.com", "format": form}).Expect(http.StatusOK)
			for range 2 {
				_, err := m.Backend().HandleRequest(t.Context(), &logical.Request{
					Operation: logical.RevokeOperation, Secret: answer.Response.Secret, Storage: m.Storage,
				})
				require.NoError(t, err)
			}
			require.Contains(t, revokedSerials(t, m), answer.Text("serial_number"))
		}
		require.Len(t, revokedSerials(t, m), 3)
		require.EqualValues(t, 0, m.Read(t, "cert/"+serialOf(bystander), nil).Expect(http.StatusOK).Number("revocation_time"))
	})
}

// The common name of the responder is made from that of its CA, which may be long and
// not ASCII. X.520 allows 64 characters, and none may be cut in two.
func TestOCSP1_ALongNameOfACAKeepsItsResponder(t *testing.T) {
	for _, name := range []string{"Государственный удостоверяющий центр", "x" + strings.Repeat("ж", 63), strings.Repeat("x", 64)} {
		t.Run(name, func(t *testing.T) {
			m := pathstest.InProcess(t)
			made := m.Write(t, "root/generate/internal", body{"common_name": name, "key_type": "ec", "ttl": "8760h", "issuer_name": "root"}).Expect(http.StatusOK)
			m.Write(t, "roles/web", webRole).Expect(http.StatusOK)
			root := certificate(t, made.Text("certificate"))
			m.Write(t, "edge/ocsp-signer/root", body{"csr": csrFor(t, "edge")}).Expect(http.StatusOK)
			require.Equal(t, ocsp.Good, answered(t, m, leafOf(t, m, "issuer/root/issue/web"), root).Status)
		})
	}
}
