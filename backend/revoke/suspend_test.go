package revoke_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
)

func TestRev6_SuspensionsEndAndRevocationsDoNot(t *testing.T) {
	m := start(t)
	held := m.issue(t, 1, ledger.Record{Issuer: "issuer", Profile: "badge@1"})[0]
	_, err := m.revoke.Resume(t.Context(), held)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)

	first, err := m.revoke.Suspend(t.Context(), held, "on leave")
	require.NoError(t, err)
	require.True(t, first.Changed)
	require.Equal(t, cert.CertificateHold, first.Record.Revocation.Reason)
	m.clock = now.Add(time.Minute)
	again, err := m.revoke.Suspend(t.Context(), held, "")
	require.NoError(t, err)
	require.False(t, again.Changed)
	require.Equal(t, first.Record.Revocation, again.Record.Revocation)

	for range 2 {
		resumed, err := m.revoke.Resume(t.Context(), held)
		require.NoError(t, err)
		require.Nil(t, resumed.Record.Revocation)
	}
	require.Equal(t, []cert.Reason{cert.CertificateHold, cert.RemoveFromCRL}, m.changed)

	_, err = m.revoke.Suspend(t.Context(), held, "")
	require.NoError(t, err)
	m.clock = now.Add(time.Hour)
	final, err := m.revoke.BySerial(t.Context(), held, revoke.Request{Reason: cert.KeyCompromise})
	require.NoError(t, err)
	require.True(t, final.Changed)
	require.Equal(t, now.Add(time.Minute), final.Record.Revocation.At, "the date of the hold")
	for name, refused := range map[string]func() (*revoke.Result, error){
		"resume":  func() (*revoke.Result, error) { return m.revoke.Resume(t.Context(), held) },
		"suspend": func() (*revoke.Result, error) { return m.revoke.Suspend(t.Context(), held, "") },
	} {
		_, err := refused()
		require.True(t, fault.Is(err, fault.Conflict), "%s: %v", name, err)
	}
	m.whole(t)
}

func TestRev6_SuspendingNeedsTheProfilesWord(t *testing.T) {
	m := start(t)
	m.refuses[cert.CertificateHold] = true
	_, err := m.revoke.Suspend(t.Context(), m.serial, "")
	require.True(t, fault.Is(err, fault.Denied), "%v", err)
	require.ErrorContains(t, err, "web@1")
	m.refuses[cert.CertificateHold] = false
	_, err = m.revoke.Suspend(t.Context(), m.serial, "")
	require.NoError(t, err)
	m.refuses[cert.Superseded] = true
	_, err = m.revoke.BySerial(t.Context(), m.serial, revoke.Request{Reason: cert.Superseded})
	require.Equal(t, "reason", fault.FieldOfError(err), "a suspended certificate is not revoked for any reason: %v", err)
	m.refuses[cert.CertificateHold] = true
	_, err = m.revoke.Resume(t.Context(), m.serial)
	require.NoError(t, err, "what is suspended can be resumed")

	for _, refused := range []func(cert.Serial) (*revoke.Result, error){
		func(serial cert.Serial) (*revoke.Result, error) { return m.revoke.Suspend(t.Context(), serial, "") },
		func(serial cert.Serial) (*revoke.Result, error) { return m.revoke.Resume(t.Context(), serial) },
	} {
		_, err = refused("ca")
		require.ErrorContains(t, err, "issuer/:ref/revoke")
		_, err = refused(cert.Serial("\x01unknown"))
		require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	}
	_, err = m.revoke.Suspend(t.Context(), m.serial, string(make([]byte, ledger.MaxComment+1)))
	require.Equal(t, "comment", fault.FieldOfError(err))
}

// A bulk revocation does not leave behind what could come back.
func TestRev5_BulkRevokesWhatIsSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t)
		all := m.issue(t, 2, ledger.Record{Issuer: "issuer", Role: "badge", Profile: "badge@1"})
		_, err := m.revoke.Suspend(t.Context(), all[0], "")
		require.NoError(t, err)
		run := m.run(t, order(revoke.Filter{Role: "badge"}, cert.KeyCompromise))
		require.Equal(t, 2, run.Done.Revoked)
		_, err = m.revoke.Resume(t.Context(), all[0])
		require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	})
}
