package paths_test

import (
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

func TestListsSayWhatTheirEntriesAre(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root, issuing := withIssuing(t, m)
		want, keys := map[string]any{}, map[string]any{}
		for name, ca := range map[string]*x509.Certificate{"root": root, "issuing": issuing} {
			read := m.Read(t, "issuer/"+name, nil).Expect(http.StatusOK)
			want[read.Text("issuer_id")] = map[string]any{
				"issuer_name": name, "is_default": name == "issuing", "serial_number": read.Text("serial_number"),
				"key_id": read.Text("key_id"), "state": "active", "subject": ca.Subject.String(), "not_after": ca.NotAfter.Format(time.RFC3339),
			}
			require.Equal(t, strings.ReplaceAll(read.Text("serial_number"), ":", ""), hex.EncodeToString(ca.SerialNumber.FillBytes(make([]byte, 20))))
			keys[read.Text("key_id")] = map[string]any{"key_name": "", "is_default": name == "root"}
		}
		listed := m.List(t, "issuers/", nil).Expect(http.StatusOK)
		require.Equal(t, want, listed.Data["key_info"])
		require.Len(t, listed.Texts("keys"), 2)
		require.True(t, slices.IsSorted(listed.Texts("keys")))
		require.Equal(t, keys, m.List(t, "keys/", nil).Expect(http.StatusOK).Data["key_info"])
		page := m.List(t, "issuers/", map[string]any{"after": listed.Texts("keys")[0], "limit": "1"}).Expect(http.StatusOK)
		require.Equal(t, listed.Texts("keys")[1:], page.Texts("keys"))
	})
}

func TestCertAnswersAsTheBuiltInEngineDoes(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root, issuing := withIssuing(t, m)
		issuer := m.Read(t, "issuer/issuing", nil).Text("issuer_id")
		issued := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
		serial := issued.Text("serial_number")
		leaf := parsePEM(t, issued.Text("certificate"))
		require.Equal(t, strings.ReplaceAll(issued.Text("authority_key_id"), ":", ""), hex.EncodeToString(leaf.AuthorityKeyId))
		key, err := cert.KeyFingerprint(leaf.PublicKey)
		require.NoError(t, err)
		require.Equal(t, map[string]any{
			"certificate": issued.Text("certificate"), "serial_number": serial, "issuer_id": issuer, "revocation_time": 0.0,
			"revocation_time_rfc3339": "", "authority_key_id": issued.Text("authority_key_id"),
			// What the built-in engine does not say.
			"issuer_name": "issuing", "state": "active", "not_after": leaf.NotAfter.Format(time.RFC3339),
			"key_sha256": key.String(),
		}, m.Read(t, "cert/"+serial, nil).Expect(http.StatusOK).Data)

		revoked := m.Write(t, "revoke", map[string]any{"serial_number": serial}).Expect(http.StatusOK)
		read := m.Read(t, "cert/"+serial, nil).Expect(http.StatusOK)
		require.Equal(t, revoked.Data["revocation_time"], read.Data["revocation_time"])
		at, err := time.Parse(time.RFC3339Nano, read.Text("revocation_time_rfc3339"))
		require.NoError(t, err)
		require.Equal(t, revoked.Number("revocation_time"), at.Unix())
		require.Equal(t, issuer, read.Text("issuer_id"))

		for path, want := range map[string]*x509.Certificate{"cert/ca": issuing, "issuer/default/json": issuing, "issuer/root/json": root} {
			require.True(t, want.Equal(parsePEM(t, m.Read(t, path, nil).Expect(http.StatusOK).Text("certificate"))), path)
		}
		for path, fields := range map[string][]string{
			"cert/ca":       {"authority_key_id", "certificate", "revocation_time", "revocation_time_rfc3339"},
			"cert/ca_chain": {"authority_key_id", "ca_chain", "certificate", "revocation_time", "revocation_time_rfc3339"},
			"cert/crl":      {"certificate", "revocation_time", "revocation_time_rfc3339"},
		} {
			answer := m.Read(t, path, nil).Expect(http.StatusOK)
			for _, name := range fields {
				require.Contains(t, answer.Data, name, path)
			}
			require.Len(t, answer.Data, len(fields), path)
			require.EqualValues(t, 0, answer.Number("revocation_time"), path)
			require.Empty(t, answer.Text("revocation_time_rfc3339"), path)
			require.Contains(t, answer.Text("certificate"), "-----BEGIN ", path)
		}
		require.Equal(t, m.Read(t, "cert/ca_chain", nil).Text("ca_chain"), string(m.Read(t, "ca_chain", nil).Expect(http.StatusOK).Body))
		require.Len(t, parseAll(t, string(m.Read(t, "ca_chain", nil).Body)), 2)
	})
}

func TestRevokingAgainGivesTheSameAnswer(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		issued := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
		first := m.Write(t, "revoke", map[string]any{"serial_number": issued.Text("serial_number"), "reason": "superseded"}).Expect(http.StatusOK)
		require.Equal(t, "revoked", first.Text("state"))
		for _, body := range []map[string]any{
			{"serial_number": issued.Text("serial_number")},
			{"serial_number": strings.ToUpper(strings.ReplaceAll(issued.Text("serial_number"), ":", "-"))},
			{"certificate": issued.Text("certificate")},
			{"serial_number": issued.Text("serial_number"), "reason": "keyCompromise"},
		} {
			again := m.Write(t, "revoke", body).Expect(http.StatusOK)
			require.Equal(t, first.Data, again.Data, "%v", body)
		}
	})
}

func TestCRLIsRotatedByGetAndByPost(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		number := func() int64 {
			list, err := x509.ParseRevocationList(m.Read(t, "crl", nil).Expect(http.StatusOK).Body)
			require.NoError(t, err)
			return list.Number.Int64()
		}
		before := number()
		require.Equal(t, map[string]any{"success": true}, m.Read(t, "crl/rotate", nil).Expect(http.StatusOK).Data)
		between := number()
		require.Greater(t, between, before)
		require.Equal(t, map[string]any{"success": true}, m.Write(t, "crl/rotate", nil).Expect(http.StatusOK).Data)
		require.Greater(t, number(), between)
		require.Contains(t, m.Read(t, "issuer/root/crl", nil).Expect(http.StatusOK).Text("crl"), "-----BEGIN X509 CRL-----")
	})
}

func TestTheNextRootReplacesTheFirst(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		first := withRoot(t, m)
		next := m.Write(t, "root/rotate/internal", map[string]any{"common_name": "Root 2", "key_type": "ec", "ttl": "87600h"}).Expect(http.StatusOK)
		require.Equal(t, "next", next.Text("issuer_name"))
		require.True(t, first.Equal(parsePEM(t, string(m.Read(t, "ca/pem", nil).Body))), "it waits until it is chosen")
		require.Equal(t, next.Text("issuer_id"), m.Write(t, "root/replace", nil).Expect(http.StatusOK).Text("default"))
		require.Equal(t, next.Text("certificate"), string(m.Read(t, "ca/pem", nil).Body))
	})
}

func TestKeysOfCAsAreNeverExported(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		for _, path := range []string{"root/generate/", "root/rotate/", "issuers/generate/root/", "intermediate/generate/", "issuers/generate/intermediate/"} {
			answer := m.Write(t, path+"exported", map[string]any{"common_name": "CA", "key_type": "ec"}).Expect(http.StatusBadRequest)
			require.Contains(t, answer.Errors[0], "exported", path)
		}
		m.List(t, "keys/", nil).Expect(http.StatusNotFound)
	})
}
