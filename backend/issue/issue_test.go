package issue_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/catalog"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/keypool"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/places"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

var now = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

// mount is the rooms that issuing needs, on storage in memory.
type mount struct {
	store   *kvtest.Store
	catalog *catalog.Catalog
	issuers *issuer.Set
	ledger  *ledger.Ledger
	issue   *issue.Service
}

func open(t *testing.T, store *kvtest.Store) *mount {
	t.Helper()
	log, clock := hclog.NewNullLogger(), func() time.Time { return now }
	m := &mount{store: store, catalog: catalog.New(store)}
	m.issuers = issuer.New(issuer.Config{Store: store, Ring: keyring.New(keyring.Config{Store: store, Log: log, Mount: "test"}), Log: log, Now: clock})
	m.ledger = ledger.New(ledger.Config{Store: store, Log: log, Now: clock})
	require.NoError(t, m.ledger.Load(context.Background()))
	keys := keypool.New(keypool.Config{Store: store, Log: log, Now: clock})
	t.Cleanup(keys.Close)
	m.issue = issue.New(issue.Config{Catalog: m.catalog, Issuers: m.issuers, Ledger: m.ledger, Keys: keys, Places: places.New(store, clock), Log: log, Now: clock})
	return m
}

// start returns a mount with a root and the role web for names below example.com;
// change alters the role.
func start(t *testing.T, change func(*role.Config)) *mount {
	t.Helper()
	m := open(t, kvtest.New())
	_, _, err := m.issue.Root(context.Background(), issue.CARequest{
		Key: issuer.KeyChoice{Spec: cert.P256}, Subject: pkix.Name{CommonName: "Test Root"}, Profile: profile.ForCA(profile.KindRoot), TTL: 10 * 365 * 24 * time.Hour,
	}, role.Identity{})
	require.NoError(t, err)
	config := role.DefaultConfig()
	config.AllowedDomains, config.AllowSubdomains, config.KeyType, config.TTL = []string{"example.com"}, true, "any", 3600
	if change != nil {
		change(&config)
	}
	require.NoError(t, m.catalog.PutRole(context.Background(), "web", config))
	return m
}

func csr(t *testing.T, key crypto.Signer, name string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}, key)
	require.NoError(t, err)
	return der
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	return key
}

func request(t *testing.T, name string) issue.Request {
	t.Helper()
	return issue.Request{Role: "web", CSR: csr(t, newKey(t), name)}
}

func TestSignedCertificateIsRecorded(t *testing.T) {
	ctx := context.Background()
	m := start(t, nil)
	asked := request(t, "www.example.com")
	asked.Note = issue.Annotation{Owner: "shop team", Metadata: map[string]string{"cost": "42"}, Contacts: []string{"shop@example.com"}}
	result, err := m.issue.Sign(ctx, asked, role.Identity{EntityID: "entity"})
	require.NoError(t, err)
	require.NoError(t, result.Certificate.CheckSignatureFrom(result.Issuer.Certificate()))
	require.Equal(t, []string{"www.example.com"}, result.Certificate.DNSNames)

	record, err := open(t, m.store).ledger.Get(ctx, result.Serial)
	require.NoError(t, err)
	require.Equal(t, result.Certificate.Raw, record.DER)
	require.Equal(t, "role:web", record.Profile)
	require.Equal(t, "entity", record.Requester)
	require.Equal(t, "shop team", record.Owner)
	require.Equal(t, map[string]string{"cost": "42"}, record.Metadata)
	require.Equal(t, result.Issuer.ID(), record.Issuer)
}

func TestIssueReturnsTheKeyAndKeepsNone(t *testing.T) {
	m := start(t, nil)
	result, err := m.issue.Issue(context.Background(), issue.Request{Role: "web", KeyType: "ec", KeyBits: 384, Names: role.Ask{CommonName: "a.example.com"}}, role.Identity{})
	require.NoError(t, err)
	require.True(t, cert.Equal(result.Key.Public(), result.Certificate.PublicKey))
	spec, err := cert.KeySpecOf(result.Certificate.PublicKey)
	require.NoError(t, err)
	require.Equal(t, cert.P384, spec)
}

// What a request may cost in storage operations.
func TestBudgets(t *testing.T) {
	ctx := context.Background()
	m := start(t, nil)
	warm := func(work func() error) kvtest.Counts {
		require.NoError(t, work())
		m.store.Reset()
		require.NoError(t, work())
		return m.store.Counts()
	}
	require.Equal(t, kvtest.Counts{Puts: 1}, warm(func() error {
		_, err := m.issue.Sign(ctx, request(t, "a.example.com"), role.Identity{})
		return err
	}))
	batch := make([]issue.Request, ledger.MaxPage)
	for at := range batch {
		batch[at] = request(t, fmt.Sprintf("h%d.example.com", at))
	}
	require.Equal(t, kvtest.Counts{Puts: 1}, warm(func() error {
		outcomes, err := m.issue.Batch(ctx, batch, role.Identity{})
		for _, o := range outcomes {
			require.NoError(t, o.Err)
			require.NotNil(t, o.Result)
		}
		return err
	}))
	require.Zero(t, warm(func() error {
		_, err := m.issue.Simulate(ctx, request(t, "a.example.com"), role.Identity{})
		return err
	}))
	m = start(t, func(c *role.Config) { c.NoStore = true })
	require.Zero(t, warm(func() error {
		_, err := m.issue.Sign(ctx, request(t, "a.example.com"), role.Identity{})
		return err
	}), "no_store certificates cost no storage operation")
}

func TestBatchAnswersEachRequestByItself(t *testing.T) {
	m := start(t, nil)
	outcomes, err := m.issue.Batch(context.Background(), []issue.Request{
		request(t, "a.example.com"), request(t, "a.example.org"), {Role: "web"}, {Role: "nobody", CSR: []byte("x")}, request(t, "b.example.com"),
	}, role.Identity{})
	require.NoError(t, err)
	var refused []int
	for at, o := range outcomes {
		require.NotEqual(t, o.Err == nil, o.Result == nil, "request %d", at)
		if o.Err != nil {
			refused = append(refused, at)
		}
	}
	require.Equal(t, []int{1, 2, 3}, refused)
	_, err = m.issue.Batch(context.Background(), nil, role.Identity{})
	require.Equal(t, "requests", fault.FieldOfError(err))
	_, err = m.issue.Batch(context.Background(), make([]issue.Request, ledger.MaxPage+1), role.Identity{})
	require.Equal(t, "requests", fault.FieldOfError(err))
}

func TestFields1_AllowBatch(t *testing.T) {
	m := start(t, func(c *role.Config) { c.AllowBatch = false })
	outcomes, err := m.issue.Batch(context.Background(), []issue.Request{request(t, "a.example.com")}, role.Identity{})
	require.NoError(t, err)
	require.Nil(t, outcomes[0].Result)
	require.True(t, fault.Is(outcomes[0].Err, fault.Denied), "%v", outcomes[0].Err)
	_, err = m.issue.Sign(context.Background(), request(t, "a.example.com"), role.Identity{})
	require.NoError(t, err)
}

func TestBatchLargerThanAPageTakesTwo(t *testing.T) {
	ctx := context.Background()
	m := start(t, nil)
	_, err := m.issue.Sign(ctx, request(t, "warm.example.com"), role.Identity{})
	require.NoError(t, err)
	batch := make([]issue.Request, 60)
	for at := range batch {
		batch[at] = request(t, fmt.Sprintf("h%d.example.com", at))
		batch[at].Note.Metadata = map[string]string{}
		for key := range 16 {
			batch[at].Note.Metadata[fmt.Sprintf("key%d", key)] = string(make([]byte, 1000))
		}
	}
	m.store.Reset()
	outcomes, err := m.issue.Batch(ctx, batch, role.Identity{})
	require.NoError(t, err)
	require.Greater(t, m.store.Counts().Puts, 1)
	seen := map[cert.Serial]bool{}
	for at, o := range outcomes {
		require.NoError(t, o.Err)
		require.Equal(t, []string{fmt.Sprintf("h%d.example.com", at)}, o.Result.Certificate.DNSNames)
		require.False(t, seen[o.Result.Serial])
		seen[o.Result.Serial] = true
		_, err := m.ledger.Get(ctx, o.Result.Serial)
		require.NoError(t, err)
	}
	clean(t, m.store)
}

func clean(t *testing.T, store *kvtest.Store) {
	t.Helper()
	report, err := fsck.Check(context.Background(), store)
	require.NoError(t, err)
	require.Empty(t, report.Findings)
}

func TestKey1_KeysThatAreNotCertifiedAgain(t *testing.T) {
	ctx := context.Background()
	m := start(t, nil)
	key := newKey(t)
	first, err := m.issue.Sign(ctx, issue.Request{Role: "web", CSR: csr(t, key, "a.example.com")}, role.Identity{})
	require.NoError(t, err)
	_, err = m.issue.Sign(ctx, issue.Request{Role: "web", CSR: csr(t, key, "b.example.com")}, role.Identity{})
	require.NoError(t, err, "another certificate for the same key is fine")
	_, _, err = m.ledger.Revoke(ctx, first.Serial, ledger.Revocation{At: now, Reason: cert.KeyCompromise})
	require.NoError(t, err)
	_, err = m.issue.Sign(ctx, issue.Request{Role: "web", CSR: csr(t, key, "c.example.com")}, role.Identity{})
	require.ErrorContains(t, err, "compromised")
}

func TestKey1_KeyOfACAIsRefused(t *testing.T) {
	ctx := context.Background()
	m := start(t, nil)
	root, err := m.issuers.Get(ctx, issuer.DefaultRef)
	require.NoError(t, err)
	signer, err := m.issuers.Ring.Signer(ctx, root.KeyID())
	require.NoError(t, err)
	_, err = m.issue.Sign(ctx, issue.Request{Role: "web", CSR: csr(t, signer, "a.example.com")}, role.Identity{})
	require.Equal(t, "csr", fault.FieldOfError(err), "%v", err)
}

func TestIssuerMustBeAbleAndWilling(t *testing.T) {
	ctx := context.Background()
	m := start(t, nil)
	root, err := m.issuers.Get(ctx, issuer.DefaultRef)
	require.NoError(t, err)
	settings := root.Settings()
	settings.PermittedProfiles = []string{"other"}
	_, err = m.issuers.Update(ctx, root.ID(), settings)
	require.NoError(t, err)
	_, err = m.issue.Sign(ctx, request(t, "a.example.com"), role.Identity{})
	require.ErrorContains(t, err, "permitted_profiles")
	settings.PermittedProfiles = []string{"role:web"}
	_, err = m.issuers.Update(ctx, root.ID(), settings)
	require.NoError(t, err)
	_, err = m.issue.Sign(ctx, request(t, "a.example.com"), role.Identity{})
	require.NoError(t, err)
	_, err = m.issuers.Retire(ctx, root.ID(), issuer.Retiring)
	require.NoError(t, err)
	asked := request(t, "a.example.com")
	asked.Issuer = root.ID()
	_, err = m.issue.Sign(ctx, asked, role.Identity{})
	require.True(t, fault.Is(err, fault.Denied), "%v", err)
}

func TestDos1_AnnotationsAreCapped(t *testing.T) {
	m := start(t, nil)
	long := string(make([]byte, issue.MaxMetadataValue+1))
	many := map[string]string{}
	for i := range issue.MaxMetadata + 1 {
		many[fmt.Sprint(i)] = "x"
	}
	for field, note := range map[string]issue.Annotation{
		"owner": {Owner: long}, "metadata": {Metadata: many}, "contacts": {Contacts: make([]string, issue.MaxContacts+1)},
	} {
		asked := request(t, "a.example.com")
		asked.Note = note
		_, err := m.issue.Sign(context.Background(), asked, role.Identity{})
		require.Equal(t, field, fault.FieldOfError(err), "%v", err)
	}
}

// Crash1: whatever operation is lost, a certificate that was answered is found, one
// that was not is never handed out, and storage stays whole.
func TestCrash1_SignAndBatch(t *testing.T) {
	ctx := context.Background()
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			m := start(t, nil)
			_, err := m.issue.Sign(ctx, request(t, "warm.example.com"), role.Identity{})
			require.NoError(t, err)
			m.store.Break(n, loss)
			single, singleErr := m.issue.Sign(ctx, request(t, "a.example.com"), role.Identity{})
			outcomes, batchErr := m.issue.Batch(ctx, []issue.Request{request(t, "b.example.com"), request(t, "c.example.com")}, role.Identity{})
			var answered []cert.Serial
			if singleErr == nil {
				answered = append(answered, single.Serial)
			}
			for _, o := range outcomes {
				answered = append(answered, o.Result.Serial)
			}
			stored := m.store.Dump() // at once: a moment later a late write may be there
			for _, serial := range answered {
				page, _ := ledger.PageKey(serial)
				require.NotEmpty(t, stored[page], "answered, and its page is not in storage")
			}
			broken := m.store.Broken()
			fresh := open(t, m.store)
			if singleErr == nil {
				_, err := fresh.ledger.Get(ctx, single.Serial)
				require.NoError(t, err)
			} else {
				require.Nil(t, single)
			}
			if batchErr == nil {
				for _, o := range outcomes {
					_, err := fresh.ledger.Get(ctx, o.Result.Serial)
					require.NoError(t, err)
				}
			} else {
				require.Empty(t, outcomes)
			}
			clean(t, m.store)
			if !broken {
				require.NoError(t, singleErr)
				require.NoError(t, batchErr)
				require.Greater(t, n, 2, "the walk must have broken both")
				break
			}
		}
	}
}
