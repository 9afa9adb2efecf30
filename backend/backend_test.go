package backend_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

func open(store *kvtest.Store) *backend.Backend {
	return backend.New(backend.Config{Store: store, Log: hclog.NewNullLogger(), Mount: "test", Now: time.Now})
}

// start makes a mount with a root, an issuing CA below it that is the default, and
// the role web.
func start(t *testing.T, store *kvtest.Store) (b *backend.Backend, root, issuing *issuer.Issuer) {
	t.Helper()
	ctx := t.Context()
	b = open(store)
	root, _, err := b.Issue.Root(ctx, issue.CARequest{
		Key: issuer.KeyChoice{Spec: cert.P256}, Name: "root", Subject: pkix.Name{CommonName: "Root"},
		Profile: profile.ForCA(profile.KindRoot), TTL: 20 * 365 * 24 * time.Hour,
	}, role.Identity{})
	require.NoError(t, err)
	waiting, _, err := b.Issuers.Generate(ctx, issuer.PendingRequest{
		Key: issuer.KeyChoice{Spec: cert.P256}, Name: "issuing", Subject: pkix.Name{CommonName: "Issuing"},
	})
	require.NoError(t, err)
	signed, err := b.Issue.SignIntermediate(ctx, issue.CARequest{
		Subordinate: issue.Subordinate{Issuer: "root", CSR: waiting.CSR()},
		Subject:     pkix.Name{CommonName: "Issuing"}, Profile: profile.ForCA(profile.KindSubCA), TTL: 5 * 365 * 24 * time.Hour,
	}, role.Identity{})
	require.NoError(t, err)
	_, err = b.Issuers.Import(ctx, issuer.ImportRequest{PEM: []byte(cert.CertificatePEM(signed.Certificate.Raw)), NeedPending: true})
	require.NoError(t, err)
	_, err = b.Issuers.PutDefaults(ctx, issuer.Defaults{Default: "issuing"})
	require.NoError(t, err)
	require.NoError(t, b.Published(ctx, []string{root.ID(), waiting.ID()}))
	config := role.DefaultConfig()
	config.AllowAnyName, config.KeyType, config.TTL = true, "any", 3600
	require.NoError(t, b.Catalog.PutRole(ctx, "web", config))
	issuing, err = b.Issuers.Get(ctx, "issuing")
	require.NoError(t, err)
	return b, root, issuing
}

func sign(t *testing.T, b *backend.Backend) *issue.Result {
	t.Helper()
	key, err := cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.example.com"}, Subject: pkix.Name{CommonName: "a.example.com"}}, key)
	require.NoError(t, err)
	result, err := b.Issue.Sign(t.Context(), issue.Request{Role: "web", CSR: csr}, role.Identity{})
	require.NoError(t, err)
	return result
}

func listed(t *testing.T, b *backend.Backend, i *issuer.Issuer) map[string]int {
	t.Helper()
	der, _, err := b.CRL.Get(t.Context(), i.ID())
	require.NoError(t, err)
	list, err := x509.ParseRevocationList(der)
	require.NoError(t, err)
	require.NoError(t, list.CheckSignatureFrom(i.Certificate()))
	entries := map[string]int{}
	for _, e := range list.RevokedCertificateEntries {
		entries[cert.SerialOf(e.SerialNumber).String()] = e.ReasonCode
	}
	return entries
}

func status(t *testing.T, b *backend.Backend, leaf *x509.Certificate, i *issuer.Issuer) *ocsp.Response {
	t.Helper()
	request, err := ocsp.CreateRequest(leaf, i.Certificate(), nil)
	require.NoError(t, err)
	der, _ := b.OCSP.Answer(request)
	answer, err := ocsp.ParseResponseForCert(der, leaf, i.Certificate())
	require.NoError(t, err)
	return answer
}

func TestRevocationReachesCRLAndOCSP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, issuing := start(t, kvtest.New())
		defer b.Close()
		leaf := sign(t, b)
		require.Equal(t, ocsp.Good, status(t, b, leaf.Certificate, issuing).Status)
		_, err := b.Revoke.BySerial(t.Context(), leaf.Serial, revoke.Request{Reason: cert.KeyCompromise})
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, map[string]int{leaf.Serial.String(): int(cert.KeyCompromise)}, listed(t, b, issuing))
		require.Equal(t, ocsp.KeyCompromise, status(t, b, leaf.Certificate, issuing).RevocationReason)
	})
}

func TestRestartKnowsEverythingInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		b, _, issuing := start(t, store)
		leaf := sign(t, b)
		_, err := b.Revoke.BySerial(t.Context(), leaf.Serial, revoke.Request{Reason: cert.Superseded})
		require.NoError(t, err)
		synctest.Wait()
		b.Close()
		again := open(store)
		defer again.Close()
		require.False(t, again.Ledger.Loaded())
		again.Start()
		synctest.Wait()
		require.True(t, again.Ledger.Loaded())
		require.Contains(t, listed(t, again, issuing), leaf.Serial.String())
		require.Equal(t, ocsp.Revoked, status(t, again, leaf.Certificate, issuing).Status)
		sign(t, again)
	})
}

// Rev3: a mount that cannot load its ledger says tryLater, never good, and gets over
// it at the next tick.
func TestRev3_NothingIsGoodBeforeTheLedgerIsLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		b, _, issuing := start(t, store)
		leaf := sign(t, b)
		_, err := b.Revoke.BySerial(t.Context(), leaf.Serial, revoke.Request{})
		require.NoError(t, err)
		b.Close()

		again := open(store)
		defer again.Close()
		request, err := ocsp.CreateRequest(leaf.Certificate, issuing.Certificate(), nil)
		require.NoError(t, err)
		der, _ := again.OCSP.Answer(request)
		_, err = ocsp.ParseResponse(der, nil)
		require.Equal(t, ocsp.ResponseError{Status: ocsp.TryLater}, err)
		again.Tick()
		synctest.Wait()
		require.Equal(t, ocsp.Revoked, status(t, again, leaf.Certificate, issuing).Status)
	})
}

func TestTickRenewsBeforeListsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, issuing := start(t, kvtest.New())
		defer b.Close()
		_, before, err := b.CRL.Get(t.Context(), issuing.ID())
		require.NoError(t, err)
		for time.Now().Before(before.NextUpdate.Add(-time.Minute)) {
			time.Sleep(time.Hour) // the bubble's clock
			b.Tick()
			synctest.Wait()
		}
		_, after, err := b.CRL.Get(t.Context(), issuing.ID())
		require.NoError(t, err)
		require.Greater(t, after.Number, before.Number)
		require.True(t, after.NextUpdate.After(before.NextUpdate))
	})
}

// Ca4: a revoked issuer is on the list of the CA above, not on its own, and issues no
// more, while its own list goes on.
func TestCA4_RevokedIssuerIsOnTheListAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		b, root, issuing := start(t, kvtest.New())
		defer b.Close()
		revoked, warning, err := b.RevokeIssuer(ctx, "issuing")
		require.NoError(t, err)
		require.Empty(t, warning)
		synctest.Wait()
		require.Contains(t, listed(t, b, root), revoked.Serial().String())
		_, err = b.CRL.Rebuild(ctx, issuing.ID())
		require.NoError(t, err)
		require.Empty(t, listed(t, b, issuing))
		_, warning, err = b.RevokeIssuer(ctx, "root")
		require.NoError(t, err)
		require.Empty(t, warning)
		synctest.Wait()
		require.NotContains(t, listed(t, b, root), root.Serial().String(), "a root does not list itself")
	})
}

// Key2: nothing of an issued key is in storage.
func TestKey2_IssuedKeysAreNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		b, _, _ := start(t, store)
		defer b.Close()
		before := store.Dump()
		result, err := b.Issue.Issue(t.Context(), issue.Request{Role: "web", KeyType: "ec", Names: role.Ask{CommonName: "a.example.com"}}, role.Identity{})
		require.NoError(t, err)
		der, err := x509.MarshalPKCS8PrivateKey(result.Key)
		require.NoError(t, err)
		secret := der[len(der)-100 : len(der)-70]
		written := 0
		for key, value := range store.Dump() {
			if _, old := before[key]; old {
				continue
			}
			written++
			require.NotContains(t, string(value), string(secret), key)
			require.NotContains(t, string(value), "PRIVATE KEY", key)
		}
		require.NotZero(t, written)
	})
}
