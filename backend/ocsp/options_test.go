package ocsp_test

import (
	"crypto"
	"encoding/asn1"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	oracle "golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
)

var (
	oidExtendedRevoked = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 9}
	oidArchiveCutoff   = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 6}
)

// choose writes config/ocsp with an edit, and has the responder follow it.
func (m *mount) choose(t testing.TB, edit func(*ocsp.Options)) {
	t.Helper()
	options, err := m.Options(t.Context())
	require.NoError(t, err)
	edit(&options)
	require.NoError(t, m.PutOptions(t.Context(), options))
	settings, err := m.Settings(t.Context(), ocsp.Settings{Expiry: 12 * time.Hour})
	require.NoError(t, err)
	m.Configure(settings)
}

func TestOCSP1_NeverIssuedIsAnsweredAsChosen(t *testing.T) {
	m := newMount(t, noon)
	issued := m.add(t, "root", 1)[0]
	request := about(t, m.ca, big.NewInt(77), nonce(16))
	both := encode(t, []wireSingle{ask(t, m.ca.certificate, crypto.SHA1, issued.SerialNumber), ask(t, m.ca.certificate, crypto.SHA1, big.NewInt(77))})

	m.choose(t, func(o *ocsp.Options) { o.NeverIssued = "unauthorized" })
	for _, asked := range [][]byte{request, both} {
		der, maxAge := m.Answer(asked)
		require.Equal(t, ocsp.Unauthorized, statusOf(t, der))
		require.Zero(t, maxAge)
	}
	m.choose(t, func(o *ocsp.Options) { o.NeverIssued = "revoked" })
	der, maxAge := m.Answer(request)
	require.Zero(t, maxAge, "it may be issued the next moment")
	read, err := oracle.ParseResponse(der, m.ca.certificate)
	require.NoError(t, err)
	require.Equal(t, oracle.Revoked, read.Status)
	require.Equal(t, time.Unix(0, 0).UTC(), read.RevokedAt)
	require.Equal(t, oracle.CertificateHold, read.RevocationReason)
	basic := decode(t, der, m.ca.certificate)
	require.Len(t, basic.Data.Extensions, 2)
	require.Equal(t, oidNonce, basic.Data.Extensions[0].Id)
	require.Equal(t, oidExtendedRevoked, basic.Data.Extensions[1].Id)
	require.Equal(t, []byte{5, 0}, basic.Data.Extensions[1].Value)
	require.False(t, basic.Data.Extensions[1].Critical)

	der, _ = m.Answer(both)
	basic = decode(t, der, m.ca.certificate)
	require.Equal(t, ocsp.Good, basic.Data.Singles[0].state())
	require.Equal(t, ocsp.Revoked, basic.Data.Singles[1].state())
	require.Len(t, basic.Data.Extensions, 1)

	m.revoke(t, issued, cert.KeyCompromise)
	der, _ = m.Answer(about(t, m.ca, issued.SerialNumber))
	require.Empty(t, decode(t, der, m.ca.certificate).Data.Extensions, "truly revoked")
	m.choose(t, func(o *ocsp.Options) { o.NeverIssued = "unknown" })
	require.Equal(t, ocsp.Unknown, m.state(t, big.NewInt(77)).state())
}

func TestAnswer_EveryHashOfAnIssuer(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		der, maxAge := m.Answer(encode(t, []wireSingle{ask(t, m.ca.certificate, h, leaf.SerialNumber)}))
		require.Equal(t, ocsp.Good, decode(t, der, m.ca.certificate).Data.Singles[0].state(), h)
		require.NotZero(t, maxAge)
	}
	m.choose(t, func(o *ocsp.Options) { o.SHA1 = false })
	der, _ := m.Answer(about(t, m.ca, leaf.SerialNumber))
	require.Equal(t, ocsp.Unauthorized, statusOf(t, der))
	der, _ = m.Answer(encode(t, []wireSingle{ask(t, m.ca.certificate, crypto.SHA256, leaf.SerialNumber)}))
	require.Equal(t, ocsp.Successful, statusOf(t, der))
}

func TestOptions_WithoutNonceRequestsShareAnAnswer(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	m.choose(t, func(o *ocsp.Options) { o.Nonce = false })
	first, maxAge := m.Answer(about(t, m.ca, leaf.SerialNumber, nonce(16)))
	require.NotZero(t, maxAge)
	require.Empty(t, decode(t, first, m.ca.certificate).Data.Extensions)
	second, _ := m.Answer(about(t, m.ca, leaf.SerialNumber, nonce(32)))
	third, _ := m.Answer(about(t, m.ca, leaf.SerialNumber))
	require.Equal(t, first, second)
	require.Equal(t, first, third)
}

// Clients of before RFC 9654 send nonces that are in no OCTET STRING: malformed where
// nonces are answered, nothing to look at where they are not.
func TestOptions_WithoutNonceOddOnesAreNotLookedAt(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	odd := map[string]func(*wireRequest){"bare": extended(oidNonce, false, []byte("12345678")), "empty": nonce(0), "long": nonce(129), "none": func(*wireRequest) {}}
	for name, add := range odd {
		if name != "none" {
			der, _ := m.Answer(about(t, m.ca, leaf.SerialNumber, add))
			require.Equal(t, ocsp.MalformedRequest, statusOf(t, der), name)
		}
	}
	m.choose(t, func(o *ocsp.Options) { o.Nonce = false })
	plain, _ := m.Answer(about(t, m.ca, leaf.SerialNumber))
	for name, add := range odd {
		der, maxAge := m.Answer(about(t, m.ca, leaf.SerialNumber, add))
		require.Equal(t, plain, der, name)
		require.NotZero(t, maxAge)
	}
}

func TestOptions_ArchiveCutoffIsSaidOfWhatIsKnown(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	m.choose(t, func(o *ocsp.Options) { o.ArchiveCutoff = 10 * 365 * 24 * 3600 })
	m.clock.move(time.Second)
	single := m.state(t, leaf.SerialNumber)
	require.Len(t, single.Extensions, 1)
	require.Equal(t, oidArchiveCutoff, single.Extensions[0].Id)
	var cutoff time.Time
	_, err := asn1.UnmarshalWithParams(single.Extensions[0].Value, &cutoff, "generalized")
	require.NoError(t, err)
	require.Equal(t, m.clock.Now().Add(-10*365*24*time.Hour), cutoff)
	require.Empty(t, m.state(t, big.NewInt(77)).Extensions)
	der, _ := m.Answer(about(t, m.ca, leaf.SerialNumber))
	require.Contains(t, openssl(t, "ocsp", "-respin", file(t, "", der), "-resp_text", "-noverify"), "OCSP Archive Cutoff")
}

func TestOptions_ResponderValidityAndRekeyAtTwoThirds(t *testing.T) {
	m := newMount(t, noon)
	m.choose(t, func(o *ocsp.Options) { o.ResponderValidity = 3 * 3600 })
	first := m.Responder.Responder("root")
	require.Equal(t, noon.Add(14*day), first.NotAfter, "what there is stays")
	m.clock.move(10 * day)
	require.NoError(t, m.Prepare(t.Context()))
	second := m.Responder.Responder("root")
	require.Equal(t, m.clock.Now().Add(3*time.Hour), second.NotAfter)
	m.clock.move(2 * time.Hour)
	require.NoError(t, m.Prepare(t.Context()))
	require.NotEqual(t, second.Raw, m.Responder.Responder("root").Raw)
}

func TestOptions_CAAnswersForItselfOnlyWhereItMay(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	gone := errors.New("no certificate for you")
	m.source.refuse = func(string) error { return gone }
	m.clock.move(15 * day)
	require.ErrorIs(t, m.Prepare(t.Context()), gone)
	require.False(t, m.answers(t))

	m.choose(t, func(o *ocsp.Options) { o.AllowCADirect = true })
	m.source.noDirect = errors.New("no key either")
	err := m.Prepare(t.Context())
	require.ErrorIs(t, err, gone)
	require.ErrorIs(t, err, m.source.noDirect)
	require.False(t, m.answers(t))
	m.source.noDirect = nil
	require.ErrorIs(t, m.Prepare(t.Context()), gone, "it still says why")
	der, maxAge := m.Answer(about(t, m.ca, leaf.SerialNumber))
	require.Empty(t, decode(t, der, m.ca.certificate).Certificates, "signed by the CA itself")
	require.NotZero(t, maxAge)
	require.Error(t, m.Prepare(t.Context()))
	again, _ := m.Answer(about(t, m.ca, leaf.SerialNumber))
	require.Equal(t, der, again, "the same signer, so the answer is kept")

	m.source.refuse = nil
	require.NoError(t, m.Prepare(t.Context()))
	der, _ = m.Answer(about(t, m.ca, leaf.SerialNumber))
	require.Len(t, decode(t, der, m.ca.certificate).Certificates, 1, "delegated again")

	m.source.refuse = func(string) error { return gone }
	m.clock.move(15 * day)
	require.Error(t, m.Prepare(t.Context()))
	require.True(t, m.answers(t))
	m.choose(t, func(o *ocsp.Options) { o.AllowCADirect = false })
	require.Error(t, m.Prepare(t.Context()))
	require.False(t, m.answers(t))
}

func TestOptions_AreStoredAndChecked(t *testing.T) {
	m := newMount(t, noon)
	options, err := m.Options(t.Context())
	require.NoError(t, err)
	require.Equal(t, ocsp.DefaultOptions(), options)
	for field, edit := range map[string]func(*ocsp.Options){
		"never_issued":       func(o *ocsp.Options) { o.NeverIssued = "good" },
		"responder_validity": func(o *ocsp.Options) { o.ResponderValidity = 3599 },
		"archive_cutoff":     func(o *ocsp.Options) { o.ArchiveCutoff = -1 },
	} {
		bad := options
		edit(&bad)
		require.Equal(t, field, fault.FieldOfError(m.PutOptions(t.Context(), bad)))
	}
	long := options
	long.ResponderValidity, long.ArchiveCutoff = 90*24*3600+1, 0
	require.Error(t, m.PutOptions(t.Context(), long))
	options.SHA1, options.ArchiveCutoff = false, 3600
	require.NoError(t, m.PutOptions(t.Context(), options))
	m.Responder = m.restart()
	stored, err := m.Options(t.Context())
	require.NoError(t, err)
	require.Equal(t, options, stored)

	other := m.restart()
	require.NoError(t, other.PutOptions(t.Context(), ocsp.DefaultOptions()))
	m.Invalidate(layout.ConfigOCSP)
	stored, err = m.Options(t.Context())
	require.NoError(t, err)
	require.Equal(t, ocsp.DefaultOptions(), stored)

	m.store.Break(1, kvtest.LoseAnswer)
	options.ArchiveCutoff = 7200
	require.ErrorIs(t, m.PutOptions(t.Context(), options), kvtest.ErrLost)
	stored, err = m.Options(t.Context())
	require.NoError(t, err)
	require.Equal(t, options, stored, "a lost answer is looked up")
}

func TestConfigure_TheSameAgainKeepsAnswers(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	request := about(t, m.ca, leaf.SerialNumber)
	first, _ := m.Answer(request)
	m.Configure(ocsp.Settings{Expiry: 12 * time.Hour})
	second, _ := m.Answer(request)
	require.Equal(t, first, second)
}

// TestAnswer_GnuTLSAccepts has a third client ask and verify, with every key a CA may
// have. ocsptool always sends SHA-1 CertIDs and a nonce.
func TestAnswer_GnuTLSAccepts(t *testing.T) {
	tool, err := exec.LookPath("ocsptool")
	if err != nil {
		t.Fatal("ocsptool is missing: install the Debian package gnutls-bin")
	}
	run := func(args ...string) string {
		out, err := exec.Command(tool, args...).CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	for _, a := range algorithms {
		answerer, k, c, clock := newAnswerer(t, a)
		clock.now = time.Now()
		c = selfSigned(t, c.key, a, "root", clock.now)
		k.issuers = []ocsp.Issuer{{ID: "root", DER: c.certificate.Raw}}
		signer, err := ocsp.NewSigner(c.authority(t))
		require.NoError(t, err)
		k.signers["root"] = signer
		one := leaf(t, c, big.NewInt(0x1122))
		k.set("root", "\x11\x22", ocsp.CertStatus{State: ocsp.Revoked, RevokedAt: clock.now.Add(-time.Hour), Reason: cert.CertificateHold})
		issuer, subject := file(t, "CERTIFICATE", c.certificate.Raw), file(t, "CERTIFICATE", one.Raw)
		asked := filepath.Join(t.TempDir(), "request")
		run("--generate-request", "--load-issuer", issuer, "--load-cert", subject, "--nonce", "--outder", "--outfile", asked)
		request, err := os.ReadFile(asked)
		require.NoError(t, err)
		answer := answerer.Answer(request)
		require.Equal(t, ocsp.Successful, answer.Status)
		said := run("--verify-response", "--load-signer", issuer, "--load-response", file(t, "", answer.DER), "--inder")
		require.Contains(t, said, "Success", a.name)
		said = run("--response-info", "--load-response", file(t, "", answer.DER), "--inder")
		require.Contains(t, said, "revoked", a.name)
	}
}
