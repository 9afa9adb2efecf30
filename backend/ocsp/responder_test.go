package ocsp_test

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	oracle "golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
)

// state asks about one certificate and returns what the verified answer says.
func (m *mount) state(t testing.TB, serial *big.Int) wireAnswer {
	t.Helper()
	der, _ := m.Answer(about(t, m.ca, serial))
	return decode(t, der, m.ca.certificate).Data.Singles[0]
}

func TestAnswer_SaysWhatTheLedgerKnows(t *testing.T) {
	m := newMount(t, noon)
	leaves := m.add(t, "root", 2)
	m.revoke(t, leaves[1], cert.CertificateHold)
	m.clock.move(10 * time.Second)
	good := m.state(t, leaves[0].SerialNumber)
	require.Equal(t, ocsp.Good, good.state())
	require.Equal(t, m.clock.Now(), good.ThisUpdate)
	require.Equal(t, m.clock.Now().Add(12*time.Hour), good.NextUpdate)
	revoked := m.state(t, leaves[1].SerialNumber)
	require.Equal(t, ocsp.Revoked, revoked.state(), "suspended is revoked for the time being")
	require.Equal(t, noon, revoked.Revoked.At)
	require.Equal(t, int(cert.CertificateHold), int(revoked.Revoked.Reason))

	m.clock.move(40 * 24 * time.Hour)
	require.NoError(t, m.Prepare(t.Context()))
	require.Equal(t, ocsp.Good, m.state(t, leaves[0].SerialNumber).state(), "expired certificates keep their answer")
}

func TestAnswer_ReasonsThatMakeNoSenseAreLeftOut(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	m.revoke(t, leaf, cert.RemoveFromCRL)
	answer := m.state(t, leaf.SerialNumber)
	require.Equal(t, ocsp.Revoked, answer.state())
	require.Zero(t, answer.Revoked.Reason)
}

func TestOCSP1_NeverIssuedIsNeverGood(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	m.source.add("other", newCA(t, algorithms[0], "other", noon))
	require.NoError(t, m.Prepare(t.Context()))
	foreign := m.add(t, "other", 1)[0]
	for name, serial := range map[string]*big.Int{
		"one off":      new(big.Int).Add(leaf.SerialNumber, big.NewInt(1)),
		"small":        big.NewInt(1),
		"zero":         big.NewInt(0),
		"negative":     new(big.Int).Neg(leaf.SerialNumber),
		"too long":     new(big.Int).Lsh(leaf.SerialNumber, 8),
		"of other CA":  foreign.SerialNumber,
		"huge by far":  new(big.Int).Lsh(big.NewInt(1), 4000),
		"short of one": new(big.Int).Rsh(leaf.SerialNumber, 8),
	} {
		require.Equal(t, ocsp.Unknown, m.state(t, serial).state(), name)
	}
	require.Equal(t, ocsp.Good, m.state(t, leaf.SerialNumber).state())
}

func TestAnswer_UnknownOrMixedIssuersAreUnauthorized(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	other, stranger := newCA(t, algorithms[0], "other", noon), newCA(t, algorithms[0], "root", noon)
	m.source.add("other", other)
	require.NoError(t, m.Prepare(t.Context()))
	ours := ask(t, m.ca.certificate, crypto.SHA1, leaf.SerialNumber)
	strange := ours
	strange.CertID.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 3, 4}
	wrongLength := ours
	wrongLength.CertID.KeyHash = ours.CertID.KeyHash[:19]
	for name, list := range map[string][]wireSingle{
		"same name, other key": {ask(t, stranger.certificate, crypto.SHA1, leaf.SerialNumber)},
		"a hash nobody knows":  {strange},
		"short hash":           {wrongLength},
		"two CAs of ours":      {ours, ask(t, other.certificate, crypto.SHA1, big.NewInt(1))},
		"one CA of ours":       {ours, ask(t, stranger.certificate, crypto.SHA1, big.NewInt(1))},
	} {
		der, maxAge := m.Answer(encode(t, list))
		require.Equal(t, ocsp.Unauthorized, statusOf(t, der), name)
		require.Zero(t, maxAge, name)
	}
}

func TestAnswer_SeveralCertificatesAndHashes(t *testing.T) {
	m := newMount(t, noon)
	leaves := m.add(t, "root", 3)
	m.revoke(t, leaves[2], cert.KeyCompromise)
	list := []wireSingle{
		ask(t, m.ca.certificate, crypto.SHA1, leaves[0].SerialNumber),
		ask(t, m.ca.certificate, crypto.SHA256, leaves[1].SerialNumber),
		ask(t, m.ca.certificate, crypto.SHA1, big.NewInt(4)),
		ask(t, m.ca.certificate, crypto.SHA256, leaves[2].SerialNumber),
	}
	der, maxAge := m.Answer(encode(t, list, nonce(32)))
	require.Zero(t, maxAge, "an answer with a nonce is for one request")
	basic := decode(t, der, m.ca.certificate)
	want := []ocsp.State{ocsp.Good, ocsp.Good, ocsp.Unknown, ocsp.Revoked}
	require.Len(t, basic.Data.Singles, len(want))
	for i, single := range basic.Data.Singles {
		require.Equal(t, want[i], single.state(), i)
		require.Equal(t, list[i].CertID.Serial, single.CertID.Serial, "in the order of the request")
		require.Equal(t, list[i].CertID.NameHash, single.CertID.NameHash)
	}
	require.Len(t, basic.Data.Extensions, 1)
	require.Equal(t, oidNonce, basic.Data.Extensions[0].Id)
	var echoed []byte
	_, err := asn1.Unmarshal(basic.Data.Extensions[0].Value, &echoed)
	require.NoError(t, err)
	require.Len(t, echoed, 32)
}

// TestAnswer_RenewedCAIsOneAuthority: two issuers with the same name and key share
// their CertIDs, and either may have issued the serial.
func TestAnswer_RenewedCAIsOneAuthority(t *testing.T) {
	m := newMount(t, noon)
	m.source.add("renewed", selfSigned(t, m.ca.key, algorithms[0], "root", noon))
	require.NoError(t, m.Prepare(t.Context()))
	for _, leaf := range append(m.add(t, "root", 1), m.add(t, "renewed", 1)...) {
		require.Equal(t, ocsp.Good, m.state(t, leaf.SerialNumber).state())
	}
}

func TestRev3_TryLaterUntilTheLedgerIsLoaded(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	m.ledger = ledger.New(ledger.Config{Store: m.pages, Now: m.clock.Now})
	m.Responder = m.restart()
	require.NoError(t, m.Prepare(t.Context()))
	for _, serial := range []*big.Int{leaf.SerialNumber, big.NewInt(1), big.NewInt(0)} {
		der, maxAge := m.Answer(about(t, m.ca, serial))
		require.Equal(t, ocsp.TryLater, statusOf(t, der))
		require.Zero(t, maxAge)
	}
	require.NoError(t, m.ledger.Load(t.Context()))
	require.Equal(t, ocsp.Good, m.state(t, leaf.SerialNumber).state())
}

func TestDos2_AnsweringDoesBoundedWork(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	m.store.Reset()
	m.pages.Reset()
	delegations := m.source.count()
	for i := range 1000 {
		m.Answer(about(t, m.ca, leaf.SerialNumber))
		m.Answer(about(t, m.ca, big.NewInt(int64(i))))
		m.Answer(make([]byte, i))
	}
	require.Zero(t, m.store.Counts().Total()+m.pages.Counts().Total(), "no storage operation")
	require.Equal(t, delegations, m.source.count(), "no CA key")
}

func TestAnswer_IsKeptForHalfOfItsLifeWhileItIsTrue(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	request := about(t, m.ca, leaf.SerialNumber)
	first, maxAge := m.Answer(request)
	require.Equal(t, 6*time.Hour, maxAge)
	m.clock.move(6*time.Hour - time.Second)
	again, maxAge := m.Answer(request)
	require.Equal(t, first, again)
	require.Equal(t, time.Second, maxAge)
	m.clock.move(time.Second)
	fresh, maxAge := m.Answer(request)
	require.NotEqual(t, first, fresh)
	require.Equal(t, 6*time.Hour, maxAge)

	m.revoke(t, leaf, cert.KeyCompromise)
	revoked, _ := m.Answer(request)
	require.Equal(t, ocsp.Revoked, decode(t, revoked, m.ca.certificate).Data.Singles[0].state(), "at once, told by nobody")
	again, _ = m.Answer(request)
	require.Equal(t, revoked, again)

	m.Configure(ocsp.Settings{Expiry: time.Hour})
	changed, maxAge := m.Answer(request)
	require.NotEqual(t, revoked, changed)
	require.Equal(t, 30*time.Minute, maxAge)

	one, _ := m.Answer(about(t, m.ca, leaf.SerialNumber, nonce(16)))
	two, _ := m.Answer(about(t, m.ca, leaf.SerialNumber, nonce(16)))
	require.NotEqual(t, one, two, "answers with a nonce are never kept")
	_, maxAge = m.Answer(about(t, m.ca, big.NewInt(77)))
	require.Zero(t, maxAge, "nor is what is unknown: it may be issued the next moment")
}

func TestAnswer_CacheForgetsWhatWasNotUsedForLongest(t *testing.T) {
	m := newMount(t, noon)
	leaves := m.add(t, "root", 4097)
	answers := make([][]byte, len(leaves))
	for i, leaf := range leaves {
		answers[i], _ = m.Answer(about(t, m.ca, leaf.SerialNumber))
		m.Answer(about(t, m.ca, leaves[0].SerialNumber)) // stays in use
	}
	kept := func(i int) bool {
		der, _ := m.Answer(about(t, m.ca, leaves[i].SerialNumber))
		return bytes.Equal(der, answers[i])
	}
	require.True(t, kept(0))
	require.True(t, kept(4096))
	require.False(t, kept(1))
}

func TestConfigure_SettingsAreObeyed(t *testing.T) {
	m := newMount(t, noon)
	leaf := m.add(t, "root", 1)[0]
	request := about(t, m.ca, leaf.SerialNumber)
	m.Configure(ocsp.Settings{Expiry: 0})
	der, maxAge := m.Answer(request)
	require.Zero(t, maxAge)
	require.True(t, decode(t, der, m.ca.certificate).Data.Singles[0].NextUpdate.IsZero(), "newer information is always available")

	m.Configure(ocsp.Settings{Expiry: 100 * 24 * time.Hour})
	der, _ = m.Answer(request)
	require.Equal(t, m.Responder.Responder("root").NotAfter, decode(t, der, m.ca.certificate).Data.Singles[0].NextUpdate,
		"not beyond the end of the responder's certificate")

	m.Configure(ocsp.Settings{Disabled: true})
	der, maxAge = m.Answer(request)
	require.Equal(t, ocsp.Unauthorized, statusOf(t, der))
	require.Zero(t, maxAge)
}

func TestAnswer_PanicIsInternalError(t *testing.T) {
	m := newMount(t, noon)
	r := ocsp.New(ocsp.Config{Store: m.store, Ledger: m.ledger, Now: m.clock.Now}) // no Source
	der, maxAge := r.Answer(about(t, m.ca, big.NewInt(1)))
	require.Equal(t, ocsp.InternalError, statusOf(t, der))
	require.Zero(t, maxAge)
}

// TestAnswer_ClientsAccept has OpenSSL ask and verify as a client would, delegation
// included, and the oracle do the same.
func TestAnswer_ClientsAccept(t *testing.T) {
	m := newMount(t, time.Now().UTC().Truncate(time.Second))
	leaves := m.add(t, "root", 2)
	m.revoke(t, leaves[1], cert.KeyCompromise)
	issuer := file(t, "CERTIFICATE", m.ca.certificate.Raw)
	for i, want := range []string{"good", "revoked"} {
		path := file(t, "CERTIFICATE", leaves[i].Raw)
		out := filepath.Join(t.TempDir(), "request")
		openssl(t, "ocsp", "-issuer", issuer, "-cert", path, "-reqout", out)
		request, err := os.ReadFile(out)
		require.NoError(t, err)
		response, _ := m.Answer(request)
		said := openssl(t, "ocsp", "-issuer", issuer, "-cert", path, "-no_nonce", "-respin", file(t, "", response), "-CAfile", issuer)
		require.Contains(t, said, "Response verify OK")
		require.Contains(t, said, ": "+want)

		request, err = oracle.CreateRequest(leaves[i], m.ca.certificate, nil)
		require.NoError(t, err)
		response, _ = m.Answer(request)
		read, err := oracle.ParseResponseForCert(response, leaves[i], m.ca.certificate)
		require.NoError(t, err)
		require.Equal(t, map[string]int{"good": oracle.Good, "revoked": oracle.Revoked}[want], read.Status)
		require.NotNil(t, read.Certificate)
	}
}

// TestAnswer_InStrictFIPSMode runs another test where SHA-1 is refused outside of
// what RFC 6960 fixes.
func TestAnswer_InStrictFIPSMode(t *testing.T) {
	child := exec.Command(os.Args[0], "-test.run=^TestAnswer_SaysWhatTheLedgerKnows$", "-test.v")
	child.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := child.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: TestAnswer_SaysWhatTheLedgerKnows")
}

func FuzzAnswer(f *testing.F) {
	m := newMount(f, noon)
	leaf := m.add(f, "root", 1)[0]
	f.Add(about(f, m.ca, leaf.SerialNumber))
	f.Add(about(f, m.ca, big.NewInt(1), nonce(8)))
	f.Add(encode(f, []wireSingle{
		ask(f, m.ca.certificate, crypto.SHA256, leaf.SerialNumber), ask(f, m.ca.certificate, crypto.SHA1, big.NewInt(-9)),
	}))
	f.Fuzz(func(t *testing.T, request []byte) {
		der, maxAge := m.Answer(request)
		status := statusOf(t, der)
		require.NotEqual(t, ocsp.InternalError, status)
		if status != ocsp.Successful {
			require.Zero(t, maxAge)
			return
		}
		var response wireResponse
		_, err := asn1.Unmarshal(der, &response)
		require.NoError(t, err)
		var basic wireBasic
		if _, err := asn1.Unmarshal(response.Bytes.Response, &basic); err != nil {
			return // the request's CertID is DER that encoding/asn1 does not read; it is repeated as it came
		}
		for _, single := range basic.Data.Singles {
			if single.state() == ocsp.Good {
				require.Equal(t, leaf.SerialNumber, single.CertID.Serial, "only what was issued is good")
			}
		}
	})
}
