package ocsp_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
)

const day = 24 * time.Hour

// answers reports whether the responder gives a verified answer for its CA.
func (m *mount) answers(t testing.TB) bool {
	t.Helper()
	der, _ := m.Answer(about(t, m.ca, m.ca.certificate.SerialNumber))
	if statusOf(t, der) == ocsp.TryLater {
		return false
	}
	decode(t, der, m.ca.certificate)
	return true
}

func TestPrepare_Budget(t *testing.T) {
	m := newMount(t, noon)
	require.Equal(t, kvtest.Counts{Gets: 2, Puts: 1}, m.store.Counts(), "config/ocsp and the responder")
	require.Equal(t, []string{"responder/root"}, m.store.Written())
	require.Contains(t, layout.Secret(), layout.Responder, "the record holds a key")
	require.Equal(t, 1, m.source.count())

	m.store.Reset()
	require.NoError(t, m.Prepare(t.Context()))
	require.Zero(t, m.store.Counts().Total(), "warm")

	first := m.Responder.Responder("root")
	m.Responder = m.restart()
	require.False(t, m.answers(t), "nothing is read before Prepare")
	require.NoError(t, m.Prepare(t.Context()))
	require.Equal(t, kvtest.Counts{Gets: 2}, m.store.Counts(), "a restart reads both")
	require.Equal(t, first.Raw, m.Responder.Responder("root").Raw)
	require.Equal(t, 1, m.source.count())
	require.True(t, m.answers(t))
}

func TestPrepare_RekeysAtTwoThirdsOfTheLife(t *testing.T) {
	m := newMount(t, noon)
	first := m.Responder.Responder("root")
	kept, _ := m.Answer(about(t, m.ca, m.ca.certificate.SerialNumber, nonce(8)))
	m.clock.move(first.NotBefore.Add(first.NotAfter.Sub(first.NotBefore)/3*2).Sub(noon) - time.Second)
	require.NoError(t, m.Prepare(t.Context()))
	require.Equal(t, first.Raw, m.Responder.Responder("root").Raw)
	m.clock.move(time.Second)
	require.NoError(t, m.Prepare(t.Context()))
	second := m.Responder.Responder("root")
	require.NotEqual(t, first.Raw, second.Raw)
	require.False(t, cert.Equal(first.PublicKey, second.PublicKey), "a new key, not only a new certificate")
	require.True(t, m.clock.Now().Before(first.NotAfter), "overlap: what the old key has signed stays valid")
	decode(t, kept, m.ca.certificate)
	require.True(t, m.answers(t))
}

func TestPrepare_FailureKeepsTheOldResponderWhileItLasts(t *testing.T) {
	m := newMount(t, noon)
	gone := fault.New(fault.Unavailable, "token is gone")
	m.source.refuse = func(string) error { return gone }
	m.clock.move(13 * day)
	require.ErrorIs(t, m.Prepare(t.Context()), gone)
	require.ErrorIs(t, m.LastError("root"), gone)
	require.True(t, m.answers(t))
	m.clock.move(2 * day)
	require.Error(t, m.Prepare(t.Context()))
	require.False(t, m.answers(t), "an expired responder does not answer")
	m.source.refuse = nil
	require.NoError(t, m.Prepare(t.Context()))
	require.NoError(t, m.LastError("root"))
	require.True(t, m.answers(t))
}

func TestPrepare_OneIssuerDoesNotHinderAnother(t *testing.T) {
	m := newMount(t, noon)
	broken := errors.New("token is gone")
	m.source.refuse = func(issuer string) error {
		if issuer == "broken" {
			return broken
		}
		return nil
	}
	m.source.add("broken", newCA(t, algorithms[0], "broken", noon))
	m.source.add("panics", newCA(t, algorithms[0], "panics", noon))
	m.source.add("good", newCA(t, algorithms[0], "good", noon))
	delete(m.source.byID, "panics")
	m.source.issuers = append(m.source.issuers, ocsp.Issuer{ID: "malformed", DER: []byte("x")})
	require.ErrorIs(t, m.Prepare(t.Context()), broken)
	require.ErrorIs(t, m.LastError("broken"), broken)
	require.True(t, fault.Is(m.LastError("panics"), fault.Internal))
	require.Error(t, m.LastError("malformed"))
	require.NoError(t, m.LastError("good"))
	require.NotNil(t, m.Responder.Responder("good"))
	require.True(t, m.answers(t), "a malformed issuer does not keep the others from being asked about")
}

func TestPrepare_RefusesACertificateThatCannotAnswer(t *testing.T) {
	stranger := newCA(t, algorithms[0], "stranger", noon)
	twin := newCA(t, algorithms[0], "root", noon)
	cases := map[string]func(m *mount){
		"without OCSPSigning": func(m *mount) {
			m.source.edit = func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
		},
		"of another CA":                func(m *mount) { m.source.byID["root"] = stranger },
		"of a CA with the same name":   func(m *mount) { m.source.byID["root"] = twin },
		"not valid yet, while one was": func(m *mount) { m.source.edit = func(c *x509.Certificate) { c.NotBefore = noon.Add(13 * day) } },
	}
	for name, edit := range cases {
		m := newMount(t, noon)
		before := m.Responder.Responder("root")
		edit(m)
		m.clock.move(12 * day)
		require.Error(t, m.Prepare(t.Context()), name)
		require.Equal(t, before.Raw, m.Responder.Responder("root").Raw, name)
		require.True(t, m.answers(t), name)
	}
}

func TestPrepare_RevokedResponderIsReplaced(t *testing.T) {
	m := newMount(t, noon)
	m.clock.move(12 * day)
	page, err := m.ledger.NewPage(1)
	require.NoError(t, err)
	serial := page.Serial()
	m.source.edit = func(c *x509.Certificate) { c.SerialNumber = serial.Big() }
	require.NoError(t, m.Prepare(t.Context()))
	responder := m.Responder.Responder("root")
	require.NoError(t, page.Add(ledger.Record{Serial: serial, DER: responder.Raw, Issuer: "root", IssuedAt: m.clock.Now()}))
	require.NoError(t, m.ledger.Commit(t.Context(), page))
	require.NoError(t, m.Prepare(t.Context()))
	require.Equal(t, responder.Raw, m.Responder.Responder("root").Raw)

	m.source.edit = nil
	m.revoke(t, responder, cert.KeyCompromise)
	require.NoError(t, m.Prepare(t.Context()))
	require.NotEqual(t, responder.Raw, m.Responder.Responder("root").Raw)
}

func TestPrepare_DoesNotRekeyForAShorterLife(t *testing.T) {
	m := newMount(t, noon)
	m.clock.move(m.ca.certificate.NotAfter.Sub(noon) - 3*day)
	require.NoError(t, m.Prepare(t.Context()))
	delegations := m.source.count()
	require.Equal(t, m.ca.certificate.NotAfter, m.Responder.Responder("root").NotAfter)
	for range 5 {
		m.clock.move(12 * time.Hour)
		require.NoError(t, m.Prepare(t.Context()))
		require.True(t, m.answers(t))
	}
	m.clock.move(12 * time.Hour)
	require.NoError(t, m.Prepare(t.Context()), "an expired CA delegates to nobody")
	require.False(t, m.answers(t))
	require.Equal(t, delegations, m.source.count())
}

func TestPrepare_DisabledDelegatesNothing(t *testing.T) {
	m := newMount(t, noon)
	m.Configure(ocsp.Settings{Disabled: true})
	m.clock.move(13 * day)
	require.NoError(t, m.Prepare(t.Context()))
	require.Equal(t, 1, m.source.count())
}

func TestPrepare_UnusableRecordIsReplaced(t *testing.T) {
	m := newMount(t, noon)
	good := m.store.Dump()["responder/root"]
	var stored struct {
		Version int `json:"v"`
		Record  struct {
			Certificate []byte `json:"certificate"`
			Key         []byte `json:"key"`
		} `json:"r"`
	}
	require.NoError(t, json.Unmarshal(good, &stored))
	require.NotEmpty(t, stored.Record.Key)
	for name, damage := range map[string]func(){
		"certificate": func() { stored.Record.Certificate = []byte("x") },
		"key":         func() { stored.Record.Key = stored.Record.Key[1:] },
	} {
		require.NoError(t, json.Unmarshal(good, &stored))
		damage()
		raw, err := json.Marshal(stored)
		require.NoError(t, err)
		require.NoError(t, m.store.Put(t.Context(), "responder/root", raw))
		before := m.source.count()
		m.Responder = m.restart()
		require.NoError(t, m.Prepare(t.Context()), name)
		require.Equal(t, before+1, m.source.count(), name)
		require.True(t, m.answers(t), name)
		require.NotEqual(t, raw, m.store.Dump()["responder/root"], name)
	}
}

func TestInvalidate_ReadsAnotherNodesResponder(t *testing.T) {
	m := newMount(t, noon)
	leader := m.restart()
	m.clock.move(10 * day)
	require.NoError(t, leader.Prepare(t.Context()))
	require.NotEqual(t, leader.Responder("root").Raw, m.Responder.Responder("root").Raw)
	m.Invalidate("responder/root")
	require.NoError(t, m.Prepare(t.Context()))
	require.Equal(t, leader.Responder("root").Raw, m.Responder.Responder("root").Raw)
	require.Equal(t, 2, m.source.count())
}

// TestCrash1_PrepareRecovers loses each storage operation of a first Prepare in
// turn: what answers is always verified, the next Prepare mends what is left, and a
// store that fails never costs one certificate after the other.
func TestCrash1_PrepareRecovers(t *testing.T) {
	lost := 0
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			m := newMount(t, noon)
			m.store = kvtest.New()
			m.Responder = m.restart()
			before := m.source.count()
			m.store.Break(n, loss)
			err := m.Prepare(t.Context())
			if !m.store.Broken() {
				require.NoError(t, err)
				break
			}
			lost++
			require.ErrorIs(t, err, kvtest.ErrLost)
			m.answers(t)
			require.NoError(t, m.Prepare(t.Context()))
			require.Equal(t, before+1, m.source.count())
			require.True(t, m.answers(t))
			used := m.Responder.Responder("root")
			m.Responder = m.restart()
			require.NoError(t, m.Prepare(t.Context()))
			require.Equal(t, used.Raw, m.Responder.Responder("root").Raw, "what answered is what is stored")
			require.Equal(t, before+1, m.source.count())
		}
	}
	require.Equal(t, 6, lost, "the walk has to meet every operation")
}

func TestKey2_ResponderKeyIsOnlyInItsRecord(t *testing.T) {
	m := newMount(t, noon)
	der, _ := m.Answer(about(t, m.ca, m.ca.certificate.SerialNumber))
	var stored struct {
		Record struct {
			Key []byte `json:"key"`
		} `json:"r"`
	}
	require.NoError(t, json.Unmarshal(m.store.Dump()["responder/root"], &stored))
	key, err := x509.ParsePKCS8PrivateKey(stored.Record.Key)
	require.NoError(t, err)
	scalar, err := key.(interface{ Bytes() ([]byte, error) }).Bytes()
	require.NoError(t, err)
	require.False(t, bytes.Contains(der, scalar))
	for name, value := range m.pages.Dump() {
		require.False(t, bytes.Contains(value, scalar), name)
	}
}

func TestForgetRemovesTheResponderWithItsKey(t *testing.T) {
	m := newMount(t, noon)
	stored, err := m.Stored(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"root"}, stored)
	m.source.mu.Lock()
	m.source.issuers = []ocsp.Issuer{}
	m.source.mu.Unlock()
	for range 2 {
		require.NoError(t, m.Forget(t.Context(), "root"))
		require.Nil(t, m.Responder.Responder("root"))
		require.Empty(t, m.store.Dump())
	}
	require.NoError(t, m.Prepare(t.Context()))
	require.Empty(t, m.store.Dump())
}
