package paths_test

import (
	"crypto/x509"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// withBadge adds a role whose profile allows suspension.
func withBadge(t *testing.T, m *pathstest.Mount) {
	t.Helper()
	m.Write(t, "profiles/badge", map[string]any{
		"preset": "tls-server", "allowed_revocation_reasons": "certificateHold,keyCompromise,cessationOfOperation",
	}).Expect(http.StatusOK)
	m.Write(t, "roles/badge", map[string]any{"profile": "badge", "allowed_domains": "example.com", "allow_subdomains": true}).Expect(http.StatusOK)
}

func TestRev6_SuspensionShowsInEveryAnswerAndEnds(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		root := withRoot(t, m)
		withBadge(t, m)
		loaded(t, m)
		issued := m.Write(t, "issue/badge", map[string]any{"common_name": "a.example.com", "ttl": "1h"}).Expect(http.StatusOK)
		leaf, one := parsePEM(t, issued.Text("certificate")), map[string]any{"serial_number": issued.Text("serial_number")}
		require.Equal(t, ocsp.Good, ask(t, m, leaf, root).Status)
		m.Write(t, "resume", one).Expect(http.StatusConflict)

		suspended := m.Write(t, "suspend", map[string]any{"serial_number": issued.Text("serial_number"), "comment": "on leave"}).Expect(http.StatusOK)
		require.Equal(t, "suspended", suspended.Text("state"))
		require.Equal(t, "certificateHold", suspended.Text("reason"))
		require.Equal(t, "pending", suspended.Text("crl_status"))
		answer := ask(t, m, leaf, root)
		require.Equal(t, ocsp.Revoked, answer.Status, "an answer that was cached is not used again")
		require.Equal(t, ocsp.CertificateHold, answer.RevocationReason)
		require.Len(t, entries(t, m), 1)
		require.Equal(t, 6, entries(t, m)[0].ReasonCode)
		require.Equal(t, "certificateHold", m.Read(t, "cert/"+issued.Text("serial_number"), nil).Expect(http.StatusOK).Text("revocation_reason"))

		resumed := m.Write(t, "resume", one).Expect(http.StatusOK)
		require.Equal(t, "active", resumed.Text("state"))
		require.EqualValues(t, 0, resumed.Number("revocation_time"))
		require.Equal(t, ocsp.Good, ask(t, m, leaf, root).Status)
		require.Empty(t, entries(t, m))
		require.EqualValues(t, 0, m.Read(t, "cert/"+issued.Text("serial_number"), nil).Expect(http.StatusOK).Number("revocation_time"))

		again := m.Write(t, "suspend", one).Expect(http.StatusOK)
		revoked := m.Write(t, "revoke", map[string]any{"serial_number": issued.Text("serial_number"), "reason": "cessationOfOperation"}).Expect(http.StatusOK)
		require.Equal(t, "revoked", revoked.Text("state"))
		require.Equal(t, again.Number("revocation_time"), revoked.Number("revocation_time"))
		m.Write(t, "resume", one).Expect(http.StatusConflict)
		require.Equal(t, ocsp.CessationOfOperation, ask(t, m, leaf, root).RevocationReason)
		m.Restart(t)
		loaded(t, m)
		after := m.Read(t, "cert/"+issued.Text("serial_number"), nil).Expect(http.StatusOK)
		require.Equal(t, "cessationOfOperation", after.Text("revocation_reason"))
		require.Equal(t, again.Number("revocation_time"), after.Number("revocation_time"))

		plain := m.Write(t, "issue/web", map[string]any{"common_name": "b.example.com"}).Expect(http.StatusOK)
		m.Write(t, "suspend", map[string]any{"serial_number": plain.Text("serial_number")}).Expect(http.StatusForbidden)
		m.Write(t, "suspend", nil).Expect(http.StatusBadRequest)
		m.Write(t, "resume", map[string]any{"serial_number": "01:02:03"}).Expect(http.StatusNotFound)
		m.Write(t, "revoke", map[string]any{"serial_number": plain.Text("serial_number"), "reason": "certificateHold"}).Expect(http.StatusBadRequest)
	})
}

// entries makes the CRL anew and returns what it lists.
func entries(t *testing.T, m *pathstest.Mount) []x509.RevocationListEntry {
	t.Helper()
	m.Read(t, "crl/rotate", nil).Expect(http.StatusOK)
	list, err := x509.ParseRevocationList(m.Read(t, "crl", nil).Expect(http.StatusOK).Body)
	require.NoError(t, err)
	return list.RevokedCertificateEntries
}

// The answer says which CRL shows the revocation: that one does, and not the one before.
func TestRevocationSaysWhichCRLShowsIt(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		loaded(t, m)
		number := func() int64 {
			list, err := x509.ParseRevocationList(m.Read(t, "crl", nil).Expect(http.StatusOK).Body)
			require.NoError(t, err)
			return list.Number.Int64()
		}
		issue := func() map[string]any {
			issued := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
			return map[string]any{"serial_number": issued.Text("serial_number"), "reason": "superseded"}
		}
		m.Write(t, "config/crl", map[string]any{"rebuild_delay": "1h"}).Expect(http.StatusOK)
		m.Read(t, "crl/rotate", nil).Expect(http.StatusOK)
		before, one := number(), issue()
		first := m.Write(t, "revoke", one).Expect(http.StatusOK)
		require.Equal(t, "pending", first.Text("crl_status"))
		require.Greater(t, crlNumber(t, first), before)
		due, err := time.Parse(time.RFC3339, first.Text("crl_due"))
		require.NoError(t, err)
		require.WithinRange(t, due, time.Now().Add(30*time.Minute), time.Now().Add(time.Hour))

		require.Len(t, entries(t, m), 1)
		require.GreaterOrEqual(t, number(), crlNumber(t, first))
		again := m.Write(t, "revoke", one).Expect(http.StatusOK)
		require.Equal(t, "published", again.Text("crl_status"))
		require.Equal(t, number(), crlNumber(t, again))
		require.NotContains(t, again.Data, "crl_due")

		two := issue()
		two["reason"] = "keyCompromise"
		urgent := m.Write(t, "revoke", two).Expect(http.StatusOK)
		if urgent.Text("crl_status") == "pending" { // the list may be there already
			due, err = time.Parse(time.RFC3339, urgent.Text("crl_due"))
			require.NoError(t, err)
			require.WithinRange(t, due, time.Now().Add(-time.Minute), time.Now().Add(time.Minute))
		}

		m.Write(t, "config/crl", map[string]any{"disable": true}).Expect(http.StatusOK)
		require.Equal(t, "disabled", m.Write(t, "revoke", issue()).Expect(http.StatusOK).Text("crl_status"))
	})
}

func TestRevokingAnIssuerSaysWhichCRLShowsIt(t *testing.T) {
	m := pathstest.InProcess(t)
	withIssuing(t, m)
	loaded(t, m)
	issuing := m.Write(t, "issuer/issuing/revoke", nil).Expect(http.StatusOK)
	require.Contains(t, []string{"pending", "published"}, issuing.Text("crl_status"))
	require.Positive(t, crlNumber(t, issuing))
	root := m.Write(t, "issuer/root/revoke", nil).Expect(http.StatusOK)
	require.NotContains(t, root.Data, "crl_status", "a root is on no list of its own")
}

// A list that cannot be made is said to whoever revokes next: his will not be on one.
func TestRevocationWarnsOfAListThatCannotBeMade(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		loaded(t, m)
		m.Write(t, "config/crl", map[string]any{"max_crl_entries": 1, "rebuild_delay": "1h"}).Expect(http.StatusOK)
		revoke := func() pathstest.Answer {
			issued := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
			return m.Write(t, "revoke", map[string]any{"serial_number": issued.Text("serial_number"), "reason": "superseded"}).Expect(http.StatusOK)
		}
		require.Empty(t, revoke().Warnings)
		revoke()
		require.Contains(t, m.Read(t, "crl/rotate", nil).Expect(http.StatusConflict).Errors[0], "max_crl_entries: ")
		third := revoke()
		require.Equal(t, "pending", third.Text("crl_status"))
		require.Len(t, third.Warnings, 1)
		require.Regexp(t, `could not be built\. .*: max_crl_entries: .* more than 1`, third.Warnings[0])
		m.Write(t, "config/crl", map[string]any{"max_crl_entries": -1}).Expect(http.StatusOK)
		m.Read(t, "crl/rotate", nil).Expect(http.StatusOK)
		require.Empty(t, revoke().Warnings)
	})
}

// crlNumber returns crl_number, which is decimal text.
func crlNumber(t *testing.T, answer pathstest.Answer) int64 {
	t.Helper()
	number, err := strconv.ParseInt(answer.Text("crl_number"), 10, 64)
	require.NoError(t, err)
	return number
}
