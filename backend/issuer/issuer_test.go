package issuer_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
)

var now = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

// open returns a set on the store with a ring of its own, as after a restart.
func open(store *kvtest.Store) *issuer.Set {
	ring := keyring.New(keyring.Config{Store: store, Log: hclog.NewNullLogger(), Mount: "test"})
	return issuer.New(issuer.Config{Store: store, Ring: ring, Log: hclog.NewNullLogger(), Now: func() time.Time { return now }})
}

// outside is a CA whose key this mount never sees.
type outside struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newOutside(t *testing.T, name string) outside {
	t.Helper()
	key, err := cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	root := outside{key: key}
	root.cert = root.sign(t, name, key.Public(), nil)
	return root
}

// sign makes a CA certificate; change alters the template before it is signed.
func (o outside) sign(t *testing.T, name string, pub crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if change != nil {
		change(template)
	}
	parent := o.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, o.key)
	require.NoError(t, err)
	signed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return signed
}

func bundle(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// pending makes a pending issuer and returns it with its public key.
func pending(t *testing.T, set *issuer.Set, name string) (*issuer.Issuer, crypto.PublicKey) {
	t.Helper()
	waiting, _, err := set.Generate(context.Background(), issuer.PendingRequest{
		Key: issuer.KeyChoice{Spec: cert.P256}, Name: name, Subject: pkix.Name{CommonName: name},
	})
	require.NoError(t, err)
	csr, err := x509.ParseCertificateRequest(waiting.CSR())
	require.NoError(t, err)
	require.NoError(t, csr.CheckSignature())
	return waiting, csr.PublicKey
}

func TestPendingBecomesActive(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	set := open(store)
	root := newOutside(t, "Root")
	waiting, pub := pending(t, set, "issuing")
	require.Equal(t, issuer.Pending, waiting.State())
	require.False(t, waiting.May(issuer.Issuing))
	listed, err := set.List(ctx)
	require.NoError(t, err)
	require.Empty(t, listed, "clients of the built-in engine expect a certificate behind every listed issuer")

	result, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(root.sign(t, "issuing", pub, nil), root.cert), NeedPending: true})
	require.NoError(t, err)
	require.Len(t, result.ImportedIssuers, 2)
	require.Equal(t, waiting.KeyID(), result.Mapping[waiting.ID()])

	for _, set := range []*issuer.Set{set, open(store)} {
		active, err := set.Get(ctx, issuer.DefaultRef)
		require.NoError(t, err)
		require.Equal(t, waiting.ID(), active.ID())
		require.Equal(t, issuer.Active, active.State())
		require.True(t, active.May(issuer.Issuing))
		require.Len(t, active.Chain(), 2)
		require.True(t, active.Chain()[1].Equal(root.cert))
		require.Equal(t, issuer.External, active.Parent().State())
		require.False(t, active.Parent().May(issuer.CRLSigning))
		_, err = set.Authority(ctx, active, issuer.Issuing, 0)
		require.NoError(t, err)
	}

	again, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(root.cert)})
	require.NoError(t, err)
	require.Empty(t, again.ImportedIssuers)
	require.Len(t, again.ExistingIssuers, 1)
}

func TestCA3_ImportsAreRefusedAsAWhole(t *testing.T) {
	ctx := context.Background()
	root, other := newOutside(t, "Root"), newOutside(t, "Other")
	store := kvtest.New()
	set := open(store)
	_, pub := pending(t, set, "issuing")
	good := root.sign(t, "issuing", pub, nil)
	key, err := x509.MarshalPKCS8PrivateKey(other.key)
	require.NoError(t, err)
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	cases := map[string]struct {
		pem  []byte
		text string
	}{
		"not a CA": {bundle(good, root.sign(t, "leaf", other.key.Public(), func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature
		})), "CA:TRUE"},
		"expired":          {bundle(good, root.sign(t, "old", other.key.Public(), func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })), "expired"},
		"no keyCertSign":   {bundle(good, root.sign(t, "odd", other.key.Public(), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })), "keyCertSign"},
		"private key":      {append(bundle(good), private...), "private key"},
		"bad private key":  {append(bundle(good), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})...), "private key"},
		"another PEM type": {append(bundle(good), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte{1}})...), "X509 CRL"},
		"no certificate":   {[]byte("hello"), "must be in PEM"},
		"other key":        {bundle(root.cert), "expected a public key with SHA-256"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := store.Dump()
			_, err := set.Import(ctx, issuer.ImportRequest{PEM: c.pem, NeedPending: true})
			require.True(t, fault.Is(err, fault.Invalid), "%v", err)
			require.ErrorContains(t, err, c.text)
			require.Equal(t, before, store.Dump(), "nothing may be imported")
		})
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	before := store.Dump()
	_, err = set.Import(ctx, issuer.ImportRequest{AllowKeys: true, PEM: append(append(bundle(good), private...),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(weak)})...)})
	require.Error(t, err)
	require.Equal(t, before, store.Dump(), "one bad key keeps the good ones out")
	require.ErrorContains(t, func() error {
		_, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(root.cert), NeedPending: true})
		return err
	}(), cert.FingerprintOf(root.cert.RawSubjectPublicKeyInfo).Hex(), "the refusal names the key it got")
	tooLarge := make([]byte, cert.MaxBundle+1)
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: tooLarge})
	require.True(t, fault.Is(err, fault.TooLarge), "%v", err)
}

func TestRequestedProfileIsChecked(t *testing.T) {
	ctx := context.Background()
	set := open(kvtest.New())
	root := newOutside(t, "Root")
	waiting, _, err := set.Generate(ctx, issuer.PendingRequest{Key: issuer.KeyChoice{Spec: cert.P256}, Subject: pkix.Name{CommonName: "ca"}, Profile: "issuing-ca"})
	require.NoError(t, err)
	csr, err := x509.ParseCertificateRequest(waiting.CSR())
	require.NoError(t, err)
	asked := ""
	_, err = set.Import(ctx, issuer.ImportRequest{PEM: bundle(root.sign(t, "ca", csr.PublicKey, nil)), Conforms: func(profile string, _ *x509.Certificate) error {
		asked = profile
		return fault.Field("certificate", "does not fit")
	}})
	require.ErrorContains(t, err, "does not fit")
	require.Equal(t, "issuing-ca", asked)
	still, err := set.Get(ctx, waiting.ID())
	require.NoError(t, err)
	require.Equal(t, issuer.Pending, still.State())
}

func TestKeyThatComesLaterIsAdopted(t *testing.T) {
	ctx := context.Background()
	set := open(kvtest.New())
	root := newOutside(t, "Root")
	first, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(root.cert)})
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(root.key)
	require.NoError(t, err)
	result, err := set.Import(ctx, issuer.ImportRequest{PEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), AllowKeys: true})
	require.NoError(t, err)
	require.Len(t, result.ImportedKeys, 1)
	adopted, err := set.Get(ctx, first.ImportedIssuers[0])
	require.NoError(t, err)
	require.Equal(t, issuer.Active, adopted.State())
	require.Equal(t, result.ImportedKeys[0], adopted.KeyID())
}

// active returns a set with one active issuer.
func active(t *testing.T) (*issuer.Set, *issuer.Issuer) {
	t.Helper()
	set := open(kvtest.New())
	waiting, pub := pending(t, set, "issuing")
	_, err := set.Import(context.Background(), issuer.ImportRequest{PEM: bundle(newOutside(t, "Root").sign(t, "issuing", pub, nil))})
	require.NoError(t, err)
	found, err := set.Get(context.Background(), waiting.ID())
	require.NoError(t, err)
	return set, found
}

func TestCA4_RevokedIssuerNeverIssuesAgain(t *testing.T) {
	ctx := context.Background()
	set, i := active(t)
	ended, err := set.Revoke(ctx, i.ID())
	require.NoError(t, err)
	require.Len(t, ended, 1)
	revoked := ended[0]
	require.Equal(t, now, revoked.RevokedAt())
	require.False(t, revoked.May(issuer.Issuing))
	require.True(t, revoked.May(issuer.CRLSigning), "relying parties still ask about what it signed")

	_, err = set.Get(ctx, issuer.DefaultRef)
	require.True(t, fault.Is(err, fault.NotFound), "a revoked issuer is never the default")
	_, err = set.PutDefaults(ctx, issuer.Defaults{Default: i.ID()})
	require.Equal(t, "default", fault.FieldOfError(err))
	_, err = set.Update(ctx, i.ID(), issuer.DefaultSettings())
	require.Equal(t, "usage", fault.FieldOfError(err))
	_, err = set.Activate(ctx, i.ID())
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	_, err = set.Authority(ctx, revoked, issuer.Issuing, 0)
	require.True(t, fault.Is(err, fault.Denied), "%v", err)
}

func TestStatesFollowEachOther(t *testing.T) {
	ctx := context.Background()
	set, i := active(t)
	for range 2 { // a repeated request changes nothing
		retiring, err := set.Retire(ctx, i.ID(), issuer.Retiring)
		require.NoError(t, err)
		require.Equal(t, issuer.Retiring, retiring.State())
		require.False(t, retiring.May(issuer.Issuing))
		require.True(t, retiring.May(issuer.OCSPSigning))
	}
	back, err := set.Activate(ctx, i.ID())
	require.NoError(t, err)
	require.True(t, back.May(issuer.Issuing))
	for _, to := range []issuer.State{issuer.Retired, issuer.Retired, issuer.Retiring} {
		retired, err := set.Retire(ctx, i.ID(), to)
		require.NoError(t, err)
		require.Equal(t, issuer.Retired, retired.State())
		require.False(t, retired.May(issuer.Issuing))
		require.True(t, retired.May(issuer.CRLSigning), "an earlier release let issuers retire whose certificates live")
	}
	back, err = set.Activate(ctx, i.ID())
	require.NoError(t, err, "there is a way back")
	require.Equal(t, issuer.Active, back.State())
}

func TestSettingsAreChecked(t *testing.T) {
	ctx := context.Background()
	set, i := active(t)
	for field, change := range map[string]func(*issuer.Settings){
		"issuer_name":                    func(s *issuer.Settings) { s.Name = "default" },
		"leaf_not_after_behavior":        func(s *issuer.Settings) { s.LeafNotAfter = "permit" },
		"usage":                          func(s *issuer.Settings) { s.Usage = []string{"everything"} },
		"revocation_signature_algorithm": func(s *issuer.Settings) { s.RevocationAlgorithm = "SHA1WithRSA" },
		"manual_chain":                   func(s *issuer.Settings) { s.ManualChain = []string{"self", "nobody"} },
		"ocsp_servers":                   func(s *issuer.Settings) { s.OCSPServers = []string{"gopher://x"} },
	} {
		settings := i.Settings()
		change(&settings)
		_, err := set.Update(ctx, i.ID(), settings)
		require.Equal(t, field, fault.FieldOfError(err), "%v", err)
	}
	settings := i.Settings()
	settings.Name, settings.Usage = "renamed", []string{"read-only"}
	updated, err := set.Update(ctx, i.ID(), settings)
	require.NoError(t, err)
	require.Equal(t, "renamed", updated.Name())
	require.False(t, updated.May(issuer.Issuing))
	_, err = set.Get(ctx, "issuing")
	require.True(t, fault.Is(err, fault.NotFound), "the old name is free")
}

func TestURLsOfAnIssuerComeFirst(t *testing.T) {
	ctx := context.Background()
	set, i := active(t)
	require.NoError(t, set.PutURLs(ctx, issuer.URLs{
		CRLDistribution: []string{"{{cluster_aia_path}}/issuer/{{issuer_id}}/crl/der"}, OCSPServers: []string{"http://ocsp.example.com"}, EnableTemplating: true,
	}))
	_, err := set.URLsFor(ctx, i)
	require.ErrorContains(t, err, "config/cluster", "a template that leads nowhere is refused")
	require.NoError(t, set.PutCluster(ctx, issuer.Cluster{AIAPath: "http://pki.example.com"}))
	settings := i.Settings()
	settings.OCSPServers = []string{"http://own.example.com"}
	i, err = set.Update(ctx, i.ID(), settings)
	require.NoError(t, err)
	urls, err := set.URLsFor(ctx, i)
	require.NoError(t, err)
	require.Equal(t, []string{"http://pki.example.com/issuer/" + i.ID() + "/crl/der"}, urls.CRLDistributionPoints)
	require.Equal(t, []string{"http://own.example.com"}, urls.OCSPServers)
}

func TestDefaultFollowsLatest(t *testing.T) {
	ctx := context.Background()
	set, first := active(t)
	bring := func(name string) string {
		waiting, pub := pending(t, set, name)
		_, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(newOutside(t, "R "+name).sign(t, name, pub, nil))})
		require.NoError(t, err)
		return waiting.ID()
	}
	bring("second")
	d, err := set.Defaults(ctx)
	require.NoError(t, err)
	require.Equal(t, first.ID(), d.Default)
	_, err = set.PutDefaults(ctx, issuer.Defaults{Default: "second", FollowsLatest: true})
	require.NoError(t, err)
	third := bring("third")
	d, err = set.Defaults(ctx)
	require.NoError(t, err)
	require.Equal(t, third, d.Default)
	deleted, err := set.Delete(ctx, "third", issuer.DeleteOptions{})
	require.NoError(t, err)
	require.True(t, deleted.WasDefault)
	_, err = set.Get(ctx, issuer.DefaultRef)
	require.True(t, fault.Is(err, fault.NotFound))
}

func TestWarmReadsNeedNoStorage(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	set := open(store)
	waiting, pub := pending(t, set, "issuing")
	_, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(newOutside(t, "Root").sign(t, "issuing", pub, nil))})
	require.NoError(t, err)
	i, err := set.Get(ctx, waiting.ID())
	require.NoError(t, err)
	_, err = set.Authority(ctx, i, issuer.Issuing, 0)
	require.NoError(t, err)
	store.Reset()
	_, err = set.Get(ctx, issuer.DefaultRef)
	require.NoError(t, err)
	_, err = set.Authority(ctx, i, issuer.Issuing, 0)
	require.NoError(t, err)
	_, err = set.URLsFor(ctx, i)
	require.NoError(t, err)
	require.Zero(t, store.Counts().Total())
}

// Crash1: whatever operation of set-signed is lost, a fresh process finds the
// issuer pending or active, never half, and the same import completes it.
func TestCrash1_SetSigned(t *testing.T) {
	ctx := context.Background()
	root := newOutside(t, "Root")
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			store := kvtest.New()
			set := open(store)
			waiting, pub := pending(t, set, "issuing")
			request := issuer.ImportRequest{PEM: bundle(root.sign(t, "issuing", pub, nil), root.cert), NeedPending: true}
			store.Break(n, loss)
			_, err := set.Import(ctx, request)
			if !store.Broken() {
				require.NoError(t, err)
				require.Greater(t, n, 3, "the walk must have broken something")
				break
			}
			for _, set := range []*issuer.Set{set, open(store)} {
				found, err := set.Get(ctx, waiting.ID())
				require.NoError(t, err)
				require.Contains(t, []issuer.State{issuer.Pending, issuer.Active}, found.State())
			}
			_, err = open(store).Import(ctx, request)
			require.NoError(t, err)
			found, err := open(store).Get(ctx, waiting.ID())
			require.NoError(t, err)
			require.Equal(t, issuer.Active, found.State())
			require.Len(t, found.Chain(), 2)
		}
	}
}
