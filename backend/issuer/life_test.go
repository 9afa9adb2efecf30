package issuer_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// living is a set whose issuers have signed a number of certificates that live, and
// whose clock can be moved.
type living struct {
	*issuer.Set
	count int
	clock time.Time
}

func openLiving(store *kvtest.Store) *living {
	l := &living{clock: now}
	l.Set = issuer.New(issuer.Config{
		Store: store, Ring: keyring.New(keyring.Config{Store: store, Log: hclog.NewNullLogger(), Mount: "test"}), Log: hclog.NewNullLogger(),
		Now: func() time.Time { return l.clock },
		Live: func(context.Context, []string) (issuer.Live, error) {
			return issuer.Live{Count: l.count, Until: now}, nil
		},
	})
	return l
}

// pair returns two issuers of one CA with a key in the mount.
func (l *living) pair(t *testing.T) (root outside, first, second string) {
	t.Helper()
	root = newOutside(t, "Root")
	waiting, pub := pending(t, l.Set, "issuing")
	for range 2 {
		_, err := l.Import(t.Context(), issuer.ImportRequest{PEM: bundle(root.sign(t, "issuing", pub, nil)), NeedPending: true})
		require.NoError(t, err)
	}
	members, err := l.Members(t.Context(), must(l.CAOf(t.Context(), waiting.ID())))
	require.NoError(t, err)
	require.Len(t, members, 2)
	second = members[0].ID()
	if second == waiting.ID() {
		second = members[1].ID()
	}
	return root, waiting.ID(), second
}

func must(text string, err error) string {
	if err != nil {
		panic(err)
	}
	return text
}

func TestCa6_TheLastIssuerOfACAStaysWhileCertificatesLive(t *testing.T) {
	set := openLiving(kvtest.New())
	_, first, second := set.pair(t)
	set.count = 3
	done, err := set.Delete(t.Context(), second, issuer.DeleteOptions{})
	require.NoError(t, err, "the first goes on signing for the CA")
	require.True(t, done.Kept)
	require.False(t, done.Gone)
	_, err = set.Delete(t.Context(), first, issuer.DeleteOptions{})
	require.True(t, fault.Is(err, fault.Conflict), "a deleted issuer is no other one: %v", err)
	require.ErrorContains(t, err, "3 certificates")
	done, err = set.Delete(t.Context(), first, issuer.DeleteOptions{Force: true})
	require.NoError(t, err)
	require.True(t, done.Kept)

	waiting, _ := pending(t, set.Set, "next")
	done, err = set.Delete(t.Context(), waiting.ID(), issuer.DeleteOptions{})
	require.NoError(t, err, "a pending issuer has signed nothing")
	require.False(t, done.Kept || done.Gone)

	set = openLiving(kvtest.New())
	set.count = 3
	_, third, fourth := set.pair(t)
	set.clock = now.AddDate(6, 0, 0)
	for at, id := range []string{third, fourth} {
		done, err = set.Delete(t.Context(), id, issuer.DeleteOptions{})
		require.NoError(t, err, "an expired certificate is needed by nobody")
		require.Equal(t, at == 1, done.Gone)
	}
}

func TestPurgeKeepsWhatIsNeeded(t *testing.T) {
	set := openLiving(kvtest.New())
	_, first, second := set.pair(t)
	ca := must(set.CAOf(t.Context(), first))
	purge := func(needed bool) []string {
		gone, err := set.Purge(t.Context(), func(ids []string) (bool, error) {
			require.ElementsMatch(t, []string{first, second}, ids)
			return needed, nil
		})
		require.NoError(t, err)
		return gone
	}
	require.Empty(t, purge(false), "nothing is deleted")
	for _, id := range []string{first, second} {
		_, err := set.Delete(t.Context(), id, issuer.DeleteOptions{})
		require.NoError(t, err)
		set.clock = set.clock.Add(time.Hour - time.Second)
		require.Empty(t, purge(false), "one is not deleted, or not long enough ago")
	}
	set.clock = set.clock.Add(time.Second)
	require.Empty(t, purge(true))
	require.Equal(t, []string{ca}, purge(false))
	_, err := set.Published(t.Context(), first)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func TestFormerNamesAnswerWhileCertificatesLive(t *testing.T) {
	set := openLiving(kvtest.New())
	_, id, _ := set.pair(t)
	rename := func(name string) {
		i, err := set.Get(t.Context(), id)
		require.NoError(t, err)
		settings := i.Settings()
		settings.Name = name
		_, err = set.Update(t.Context(), id, settings)
		require.NoError(t, err)
	}
	set.count = 1
	rename("second")
	set.count = 0
	rename("third")
	i, err := set.Published(t.Context(), "issuing")
	require.NoError(t, err, "URLs in live certificates carry it")
	require.Equal(t, id, i.ID())
	for _, unknown := range []string{"second", "nobody"} {
		_, err = set.Published(t.Context(), unknown)
		require.True(t, fault.Is(err, fault.NotFound), "%s: %v", unknown, err)
	}
}

// TestLostOperationsAreReported: whatever operation of storage fails, a change that was
// called done has happened.
func TestLostOperationsAreReported(t *testing.T) {
	ctx := t.Context()
	root := newOutside(t, "Root")
	der, err := x509.MarshalPKCS8PrivateKey(root.key)
	require.NoError(t, err)
	whole := append(bundle(root.cert), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	changes := map[string]func(set *living, id string) error{
		"import": func(set *living, _ string) error {
			_, err := set.Import(ctx, issuer.ImportRequest{PEM: whole, AllowKeys: true})
			return err
		},
		"revoke": func(set *living, id string) error { _, err := set.Revoke(ctx, id); return err },
		"delete": func(set *living, id string) error {
			_, err := set.Delete(ctx, id, issuer.DeleteOptions{})
			return err
		},
		"retire": func(set *living, id string) error { _, err := set.Retire(ctx, id, issuer.Retired); return err },
	}
	for name, change := range changes {
		for n := 1; ; n++ {
			store := kvtest.New()
			set := openLiving(store)
			_, id, _ := set.pair(t)
			store.Break(n, kvtest.LoseWrite)
			err := change(set, id)
			if !store.Broken() {
				require.NoError(t, err)
				require.Greater(t, n, 2, name)
				break
			}
			require.Error(t, err, "%s, operation %d", name, n)
		}
	}
}

func TestImportTellsWhichKeysAreNew(t *testing.T) {
	set := open(kvtest.New())
	root := newOutside(t, "Root")
	der, err := x509.MarshalPKCS8PrivateKey(root.key)
	require.NoError(t, err)
	request := issuer.ImportRequest{AllowKeys: true, PEM: append(bundle(root.cert), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)}
	first, err := set.Import(t.Context(), request)
	require.NoError(t, err)
	require.Len(t, first.ImportedKeys, 1)
	require.Empty(t, first.ExistingKeys)
	again, err := set.Import(t.Context(), request)
	require.NoError(t, err)
	require.Empty(t, again.ImportedKeys)
	require.Equal(t, first.ImportedKeys, again.ExistingKeys)
}

func TestRequestsAskForBasicConstraintsOnDemand(t *testing.T) {
	set := open(kvtest.New())
	for _, asked := range []bool{true, false} {
		waiting, _, err := set.Generate(t.Context(), issuer.PendingRequest{
			Key: issuer.KeyChoice{Spec: cert.P256}, Subject: pkix.Name{CommonName: "x"}, AddBasicConstraints: asked,
		})
		require.NoError(t, err)
		csr, err := x509.ParseCertificateRequest(waiting.CSR())
		require.NoError(t, err)
		found := false
		for _, extension := range csr.Extensions {
			found = found || extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 19})
		}
		require.Equal(t, asked, found)
	}
}

func TestSharedURLsAreThoseOfSeveralCAs(t *testing.T) {
	set := openLiving(kvtest.New())
	require.NoError(t, set.PutURLs(t.Context(), issuer.URLs{CRLDistribution: []string{"http://pki.example.com/crl"}}))
	root, _, _ := set.pair(t)
	_, err := set.Import(t.Context(), issuer.ImportRequest{PEM: bundle(root.cert)})
	require.NoError(t, err)
	shared := func() []string {
		fields, err := set.SharedURLs(t.Context())
		require.NoError(t, err)
		return fields
	}
	require.Empty(t, shared(), "the root outside signs no CRL here")
	_, pub := pending(t, set.Set, "next")
	_, err = set.Import(t.Context(), issuer.ImportRequest{PEM: bundle(root.sign(t, "next", pub, nil))})
	require.NoError(t, err)
	require.Equal(t, []string{"crl_distribution_points"}, shared())
	next, err := set.Get(t.Context(), "next")
	require.NoError(t, err)
	settings := next.Settings()
	settings.CRLDistribution = []string{"http://pki.example.com/next.crl"}
	_, err = set.Update(t.Context(), "next", settings)
	require.NoError(t, err)
	require.Empty(t, shared(), "one of the two has a URL of its own")
}

func TestARefusedUseSaysWhy(t *testing.T) {
	set := openLiving(kvtest.New())
	root, first, _ := set.pair(t)
	i, err := set.Get(t.Context(), first)
	require.NoError(t, err)
	require.True(t, i.RevokedAt().IsZero())
	_, pub := pending(t, set.Set, "mute")
	_, err = set.Import(t.Context(), issuer.ImportRequest{PEM: bundle(root.sign(t, "mute", pub, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }))})
	require.NoError(t, err)
	mute, err := set.Get(t.Context(), "mute")
	require.NoError(t, err)
	require.ErrorContains(t, mute.CheckUse(issuer.CRLSigning), "lacks the key usage cRLSign")
	settings := mute.Settings()
	settings.Usage = []string{string(issuer.ReadOnly)}
	mute, err = set.Update(t.Context(), "mute", settings)
	require.NoError(t, err)
	require.ErrorContains(t, mute.CheckUse(issuer.Issuing), "its usage is read-only")
}

// TestDoS1_DecoysOfAnEarlierRelease: storage may hold more keys of one name than an import
// takes. The issuer below them issues nothing, because its parent is not known.
func TestDoS1_DecoysOfAnEarlierRelease(t *testing.T) {
	store := kvtest.New()
	set := open(store)
	root := newOutside(t, "Root")
	waiting, pub := pending(t, set, "issuing")
	_, err := set.Import(t.Context(), issuer.ImportRequest{PEM: bundle(root.sign(t, "issuing", pub, nil))})
	require.NoError(t, err)
	require.NoError(t, issues(t, set, waiting.ID(), "www.example.com"))
	for range 9 {
		other := kvtest.New()
		decoy := newOutside(t, "Root").again(t, func(c *x509.Certificate) { c.SubjectKeyId = root.cert.SubjectKeyId })
		result, err := open(other).Import(t.Context(), issuer.ImportRequest{PEM: bundle(decoy.cert)})
		require.NoError(t, err)
		key := layout.Issuer + result.ImportedIssuers[0]
		require.NoError(t, store.Put(t.Context(), key, other.Dump()[key]))
	}
	err = issues(t, open(store), waiting.ID(), "www.example.com")
	require.True(t, err != nil && strings.Contains(err.Error(), "more than 8 keys"), "%v", err)
}
