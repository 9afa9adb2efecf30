package ocsp_test

import (
	"crypto"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
)

// known is all that an Answerer asks for, held in maps: what others than a mount have.
type known struct {
	mu      sync.RWMutex // guards what follows
	issuers []ocsp.Issuer
	loaded  bool
	failure error
	states  map[string]map[cert.Serial]ocsp.CertStatus
	signers map[string]*ocsp.Signer
}

func (k *known) Issuers() []ocsp.Issuer { return k.issuers }

func (k *known) Loaded() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.loaded
}

func (k *known) State(issuer string, serial cert.Serial) (ocsp.CertStatus, bool, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	status, found := k.states[issuer][serial]
	return status, found, k.failure
}

func (k *known) Signer(issuer string, _ time.Time) *ocsp.Signer { return k.signers[issuer] }

func (k *known) set(issuer string, serial cert.Serial, status ocsp.CertStatus) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.states[issuer] == nil {
		k.states[issuer] = map[cert.Serial]ocsp.CertStatus{}
	}
	k.states[issuer][serial] = status
}

// newAnswerer returns an answerer for one CA that answers for itself.
func newAnswerer(t testing.TB, a algorithm) (*ocsp.Answerer, *known, ca, *clock) {
	t.Helper()
	c := newCA(t, a, "root", noon)
	signer, err := ocsp.NewSigner(c.authority(t))
	require.NoError(t, err)
	k := &known{
		issuers: []ocsp.Issuer{{ID: "root", DER: c.certificate.Raw}}, loaded: true,
		states:  map[string]map[cert.Serial]ocsp.CertStatus{},
		signers: map[string]*ocsp.Signer{"root": signer},
	}
	clock := &clock{now: noon}
	return ocsp.NewAnswerer(ocsp.AnswererConfig{Issuers: k, States: k, Signers: k, Now: clock.Now}), k, c, clock
}

func TestAnswerer_SaysWhatItIsTold(t *testing.T) {
	answerer, k, c, _ := newAnswerer(t, algorithms[0])
	serial := cert.Serial("\x11\x22")
	request := about(t, c, serial.Big())
	ask := func() (ocsp.Answer, ocsp.State) {
		answer := answerer.Answer(request)
		require.Equal(t, ocsp.Successful, answer.Status)
		single := decode(t, answer.DER, c.certificate).Data.Singles[0]
		require.Equal(t, answer.ThisUpdate, single.ThisUpdate)
		require.Equal(t, answer.NextUpdate, single.NextUpdate)
		return answer, single.state()
	}
	answer, state := ask()
	require.Equal(t, ocsp.Unknown, state)
	require.Zero(t, answer.MaxAge)

	k.set("root", serial, ocsp.CertStatus{State: ocsp.Good, Version: 1})
	answer, state = ask()
	require.Equal(t, ocsp.Good, state)
	require.Equal(t, 6*time.Hour, answer.MaxAge)
	require.Equal(t, noon.Add(12*time.Hour), answer.NextUpdate)
	again, _ := ask()
	require.Equal(t, answer, again, "kept")

	k.set("root", serial, ocsp.CertStatus{State: ocsp.Good, Version: 2})
	again, _ = ask()
	require.NotEqual(t, answer, again, "another version of the state")

	k.set("root", serial, ocsp.CertStatus{State: ocsp.Revoked, RevokedAt: noon, Reason: cert.KeyCompromise, Version: 3})
	_, state = ask()
	require.Equal(t, ocsp.Revoked, state)
}

func TestRev3_AnswererKeepsNothingThatItNoLongerKnows(t *testing.T) {
	answerer, k, c, _ := newAnswerer(t, algorithms[0])
	serial := cert.Serial("\x11\x22")
	request := about(t, c, serial.Big())
	k.set("root", serial, ocsp.CertStatus{State: ocsp.Good, Version: 1})
	require.Equal(t, ocsp.Successful, answerer.Answer(request).Status)
	issuers, signers := k.issuers, k.signers
	cases := []struct {
		name string
		away func()
		want ocsp.Status
	}{
		{"not loaded", func() { k.loaded = false }, ocsp.TryLater},
		{"a state cannot be told", func() { k.failure = errors.New("away") }, ocsp.TryLater},
		{"nobody signs", func() { k.signers = nil }, ocsp.TryLater},
		{"issuers are not known", func() { k.issuers = nil }, ocsp.TryLater},
		{"the issuer is gone", func() { k.issuers = []ocsp.Issuer{} }, ocsp.Unauthorized},
	}
	for _, c := range cases {
		c.away()
		require.Equal(t, c.want, answerer.Answer(request).Status, c.name)
		k.loaded, k.failure, k.issuers, k.signers = true, nil, issuers, signers
		require.Equal(t, ocsp.Successful, answerer.Answer(request).Status, c.name)
	}
}

func TestAnswerer_KeptAnswerCostsNoAllocation(t *testing.T) {
	answerer, k, c, _ := newAnswerer(t, algorithms[0])
	serial := cert.Serial("\x11\x22")
	k.set("root", serial, ocsp.CertStatus{State: ocsp.Good, Version: 1})
	request := about(t, c, serial.Big())
	answerer.Answer(request)
	require.Zero(t, testing.AllocsPerRun(100, func() { answerer.Answer(request) }))
}

// BenchmarkAnswerer is the rate of what an edge does, apart from HTTP.
func BenchmarkAnswerer(b *testing.B) {
	for _, a := range algorithms {
		answerer, k, c, _ := newAnswerer(b, a)
		serial := cert.Serial("\x11\x22")
		k.set("root", serial, ocsp.CertStatus{State: ocsp.Good, Version: 1})
		requests := map[string][]byte{
			"cached": about(b, c, serial.Big()),
			"nonce":  about(b, c, serial.Big(), nonce(16)),
			"never issued": encode(b, []wireSingle{
				ask(b, c.certificate, crypto.SHA256, big.NewInt(7)),
			}),
		}
		for name, request := range requests {
			b.Run(a.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						answerer.Answer(request)
					}
				})
			})
		}
	}
}

// BenchmarkResponder is the same over a ledger.
func BenchmarkResponder(b *testing.B) {
	m := newMount(b, noon)
	leaf := m.add(b, "root", 1)[0]
	for name, request := range map[string][]byte{
		"cached": about(b, m.ca, leaf.SerialNumber), "nonce": about(b, m.ca, leaf.SerialNumber, nonce(16)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Answer(request)
			}
		})
	}
}

// Settings that are written again unchanged, as a mount does when anything else of its
// configuration changes, cost no signature; others do.
func TestAnswerer_TheSameSettingsKeepAnswers(t *testing.T) {
	answerer, k, c, _ := newAnswerer(t, algorithms[0])
	serial := cert.Serial("\x11\x22")
	k.set("root", serial, ocsp.CertStatus{State: ocsp.Good})
	request := about(t, c, serial.Big())
	settings := ocsp.DefaultSettings()
	first := answerer.Answer(request)
	require.Equal(t, ocsp.Successful, first.Status)
	answerer.Configure(settings)
	require.Same(t, &first.DER[0], &answerer.Answer(request).DER[0], "the answer that is kept")
	settings.NoNonce = !settings.NoNonce
	answerer.Configure(settings)
	require.NotSame(t, &first.DER[0], &answerer.Answer(request).DER[0], "an answer under other settings")
}
