package backend_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// completeAt returns where an edge is told that the complete CRL of an issuer is.
func completeAt(t *testing.T, b *backend.Backend, id string) []string {
	t.Helper()
	manifest, err := b.Manifest(t.Context())
	require.NoError(t, err)
	for _, told := range manifest.Issuers {
		if told.ID == id {
			return told.Lists[0].URLs
		}
	}
	t.Fatalf("issuer %s is not in the manifest", id)
	return nil
}

// A mount that an earlier release has written knows no URLs of its certificates: those of
// the settings at the upgrade count until the last certificate expires.
func TestURLsOfCertificatesThatAnEarlierReleaseIssuedAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kvtest.New()
		b, root, issuing := start(t, store)
		require.NoError(t, b.Issuers.PutURLs(t.Context(), issuer.URLs{CRLDistribution: []string{"http://e/old.crl"}}))
		sign(t, b)
		synctest.Wait()
		b.Close()
		for key := range store.Dump() {
			if strings.HasPrefix(key, layout.Place) {
				require.NoError(t, store.Delete(t.Context(), key))
			}
		}
		b = open(store)
		defer func() { b.Close() }()
		b.Start()
		synctest.Wait()
		require.NoError(t, b.Issuers.PutURLs(t.Context(), issuer.URLs{CRLDistribution: []string{"http://e/new.crl"}}))
		require.Equal(t, []string{"http://e/new.crl", "http://e/old.crl"}, completeAt(t, b, issuing.ID()))
		pass(b, 29*24*time.Hour) // as far as two lives of the OCSP responder
		require.Equal(t, []string{"http://e/new.crl"}, completeAt(t, b, issuing.ID()))
		require.Equal(t, []string{"http://e/new.crl", "http://e/old.crl"}, completeAt(t, b, root.ID()), "the issuing CA's certificate lives")
		whole(t, store)
	})
}
