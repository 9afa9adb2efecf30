package signer_test

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/edge/config"
	"vault-plugin-secrets-enterprise-pki/edge/disk"
	"vault-plugin-secrets-enterprise-pki/edge/signer"
	"vault-plugin-secrets-enterprise-pki/edge/state"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

const day = 24 * time.Hour

// bench is keys of one issuer, with a clock that tests move.
type bench struct {
	*signer.Keys
	t        testing.TB
	mount    *edgemount.Mount
	folder   *disk.Folder
	dir      string // of folder
	store    signer.Store
	snapshot *state.Snapshot
	now      time.Time
}

func newBench(t testing.TB, settings config.Signer) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	b.mount = edgemount.New(t, b.Now)
	var err error
	b.dir = t.TempDir()
	b.folder, err = disk.Open(b.dir)
	require.NoError(t, err)
	b.store = signer.NewStore(settings, "edge-1", b.Now)
	t.Cleanup(b.store.Close)
	b.snapshot = &state.Snapshot{
		Issuers: []*state.Issuer{{ID: edgemount.Issuer, Certificate: b.mount.CA, OCSP: true}}, Rows: state.NoRows(),
	}
	b.restart()
	return b
}

func (b *bench) Now() time.Time { return b.now }

// restart begins with what is on disk.
func (b *bench) restart() {
	b.t.Helper()
	b.Keys = signer.New(signer.Config{Certifier: b.mount, Folder: b.folder, Store: b.store, Now: b.Now})
}

func (b *bench) prepare() { b.Prepare(b.t.Context(), b.snapshot) }

// certificate returns what answers now.
func (b *bench) certificate() *x509.Certificate {
	b.t.Helper()
	s := b.Signer(edgemount.Issuer, b.now)
	if s == nil {
		return nil
	}
	return s.Certificate()
}

func TestPrepare_RenewsAtTwoThirdsWithOverlap(t *testing.T) {
	b := newBench(t, config.Signer{Key: config.KeyInMemory})
	require.Nil(t, b.certificate())
	b.prepare()
	first := b.certificate()
	require.NotNil(t, first)
	require.Equal(t, first.NotAfter, b.NotAfter(edgemount.Issuer))
	same := b.Signer(edgemount.Issuer, b.now)
	b.now = first.NotBefore.Add(first.NotAfter.Sub(first.NotBefore)/3*2 - time.Second)
	b.prepare()
	require.Same(t, same, b.Signer(edgemount.Issuer, b.now))
	b.now = b.now.Add(time.Second)
	b.prepare()
	second := b.certificate()
	require.NotEqual(t, first.Raw, second.Raw)
	require.False(t, cert.Equal(first.PublicKey, second.PublicKey), "a new key")
	require.True(t, b.now.Before(first.NotAfter), "what the old key signed stays valid")
	require.Equal(t, 2, b.mount.Requests("signer"))
}

func TestPrepare_FailureKeepsTheOldOneAndBacksOff(t *testing.T) {
	b := newBench(t, config.Signer{Key: config.KeyInMemory})
	b.prepare()
	first := b.certificate()
	b.mount.Refuse(503)
	b.now = b.now.Add(12 * day)
	asked := b.mount.Requests("signer")
	for range 3600 {
		b.now = b.now.Add(time.Second)
		b.prepare()
		require.Equal(t, first.Raw, b.certificate().Raw)
	}
	require.Less(t, b.mount.Requests("signer")-asked, 20)
	b.now = b.now.Add(2 * day)
	require.Nil(t, b.certificate(), "an ended certificate signs nothing")
	b.mount.Refuse(0)
	b.prepare()
	require.NotNil(t, b.certificate())
}

func TestPrepare_RevokedSignerStopsAtOnce(t *testing.T) {
	b := newBench(t, config.Signer{Key: config.KeyInFile})
	b.prepare()
	first := b.certificate()
	row := feed.Row{
		Serial: cert.SerialOf(first.SerialNumber), Issuer: edgemount.Issuer, State: feed.Revoked,
		Reason: cert.KeyCompromise, RevokedAt: b.now, NotAfter: first.NotAfter,
	}
	var err error
	b.snapshot.Rows, err = b.snapshot.Rows.With([]feed.Row{row})
	require.NoError(t, err)
	b.mount.Refuse(503)
	b.prepare()
	require.Nil(t, b.certificate())
	b.restart()
	b.prepare()
	require.Nil(t, b.certificate(), "it does not come back from disk")
	b.mount.Refuse(0)
	b.now = b.now.Add(time.Minute)
	b.prepare()
	require.NotEqual(t, first.Raw, b.certificate().Raw)
}

func TestPrepare_NothingForWhoIsNotAskedAbout(t *testing.T) {
	b := newBench(t, config.Signer{Key: config.KeyInMemory})
	b.snapshot.Issuers[0].OCSP = false
	b.prepare()
	b.snapshot.Issuers[0].OCSP = true
	b.snapshot.Manifest.OCSP.Disabled = true
	b.prepare()
	b.snapshot.Manifest.OCSP.Disabled = false
	b.now = b.mount.CA.NotAfter
	b.prepare()
	require.Zero(t, b.mount.Requests("signer"))
}

func TestPrepare_IssuerThatIsGoneLosesItsSigner(t *testing.T) {
	b := newBench(t, config.Signer{Key: config.KeyInFile})
	b.prepare()
	require.NotNil(t, b.certificate())
	b.snapshot.Issuers = []*state.Issuer{}
	b.prepare()
	require.Nil(t, b.certificate())
	var record map[string]any
	require.Error(t, b.folder.Read("responder-"+edgemount.Issuer, &record))
}

// certifier answers with certificates that must not be used.
type certifier func(csr string) (*x509.Certificate, error)

func (c certifier) SignResponder(_ context.Context, _, csr string) (*x509.Certificate, error) {
	return c(csr)
}

func TestPrepare_RefusesCertificatesOfOthers(t *testing.T) {
	b := newBench(t, config.Signer{Key: config.KeyInMemory})
	b.prepare()
	others := b.certificate()
	keys := signer.New(signer.Config{
		Certifier: certifier(func(string) (*x509.Certificate, error) { return others, nil }), Folder: b.folder, Store: b.store, Now: b.Now,
	})
	keys.Prepare(t.Context(), b.snapshot)
	require.Nil(t, keys.Signer(edgemount.Issuer, b.now), "it certifies another key")
	keys = signer.New(signer.Config{
		Certifier: certifier(func(string) (*x509.Certificate, error) { return b.mount.CA, nil }), Folder: b.folder, Store: b.store, Now: b.Now,
	})
	keys.Prepare(t.Context(), b.snapshot)
	require.Nil(t, keys.Signer(edgemount.Issuer, b.now))
}

func TestCrash1_RestartFindsTheKeyOfAFileOrAToken(t *testing.T) {
	k := token.New(t, "edge")
	t.Setenv("PKI_PKCS11_MODULES", k.Module)
	pin := filepath.Join(t.TempDir(), "pin")
	require.NoError(t, os.WriteFile(pin, []byte(token.PIN+"\n"), 0o600))
	for place, settings := range map[string]config.Signer{
		config.KeyInMemory: {Key: config.KeyInMemory},
		config.KeyInFile:   {Key: config.KeyInFile},
		config.KeyInToken:  {Key: config.KeyInToken, PKCS11: config.PKCS11{Module: k.Module, TokenLabel: k.Label, PINFile: pin}},
	} {
		t.Run(place, func(t *testing.T) {
			b := newBench(t, settings)
			b.prepare()
			first := b.certificate()
			require.NotNil(t, first)
			b.mount.Refuse(503)
			b.restart()
			b.prepare()
			if place == config.KeyInMemory {
				require.Nil(t, b.certificate())
				return
			}
			require.Equal(t, first.Raw, b.certificate().Raw)
			b.mount.Refuse(0)
			b.now = b.now.Add(11 * day)
			b.prepare()
			require.NotEqual(t, first.Raw, b.certificate().Raw)
			b.prepare()
			if place == config.KeyInToken {
				require.Len(t, pairs(t, k), 1, "the former key is gone")
			}
		})
	}
}

// pairs lists what the edge has in a token.
func pairs(t *testing.T, k *token.Token) []hsm.Pair {
	t.Helper()
	opened, err := hsm.Open(t.Context(), hsm.Config{Module: k.Module, TokenLabel: k.Label, PIN: token.PIN})
	require.NoError(t, err)
	defer opened.Close()
	found, err := opened.List(t.Context(), []byte("pki-edge/edge-1/"))
	require.NoError(t, err)
	return found
}

func TestToken_PINFileThatOthersReadIsRefused(t *testing.T) {
	pin := filepath.Join(t.TempDir(), "pin")
	require.NoError(t, os.WriteFile(pin, []byte("1234"), 0o600))
	require.NoError(t, os.Chmod(pin, 0o644))
	store := signer.NewStore(config.Signer{Key: config.KeyInToken, PKCS11: config.PKCS11{Module: "/m", TokenLabel: "x", PINFile: pin}}, "e", time.Now)
	_, _, err := store.Make(t.Context(), func(string) { t.Error("nothing is made") })
	require.ErrorContains(t, err, "can be read by others")
	require.NotContains(t, err.Error(), "1234")
}

// A signer is asked for at every answer: a renewal that hangs must not be in its way.
func TestSigner_IsThereWhileARenewalHangs(t *testing.T) {
	b := newBench(t, config.Signer{Key: config.KeyInMemory})
	h := &hanging{b.mount}
	b.Keys = signer.New(signer.Config{Certifier: h, Folder: b.folder, Store: b.store, Now: b.Now})
	b.prepare()
	first := b.certificate()
	require.NotNil(t, first)
	b.now, h.certifier = b.now.Add(10*day), nil
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.Prepare(ctx, b.snapshot); close(done) }()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("the renewal did not hang")
		default:
		}
		require.Equal(t, first.Raw, b.certificate().Raw)
		cancel()
		<-done
	})
}

// hanging never answers when it has no certifier.
type hanging struct{ certifier signer.Certifier }

func (h *hanging) SignResponder(ctx context.Context, issuer, csr string) (*x509.Certificate, error) {
	if h.certifier != nil {
		return h.certifier.SignResponder(ctx, issuer, csr)
	}
	<-ctx.Done()
	return nil, ctx.Err()
}
