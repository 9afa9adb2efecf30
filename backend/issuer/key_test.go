package issuer_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// shifted signs a certificate again whose key stands in a BIT STRING with three unused
// bits: the same key to a parser, other octets to whoever hashes them.
func (o outside) shifted(t *testing.T, of *x509.Certificate) *x509.Certificate {
	t.Helper()
	var tbs struct {
		Version  int `asn1:"optional,explicit,default:0,tag:0"`
		Serial   *big.Int
		Alg      pkix.AlgorithmIdentifier
		Issuer   asn1.RawValue
		Validity asn1.RawValue
		Subject  asn1.RawValue
		SPKI     struct {
			Alg pkix.AlgorithmIdentifier
			Key asn1.BitString
		}
		Extensions []pkix.Extension `asn1:"omitempty,optional,explicit,tag:3"`
	}
	_, err := asn1.Unmarshal(of.RawTBSCertificate, &tbs)
	require.NoError(t, err)
	number := new(big.Int).SetBytes(tbs.SPKI.Key.Bytes)
	tbs.SPKI.Key = asn1.BitString{Bytes: new(big.Int).Lsh(number, 3).Bytes(), BitLength: 8*len(tbs.SPKI.Key.Bytes) - 3}
	der, err := asn1.Marshal(tbs)
	require.NoError(t, err)
	digest := sha256.Sum256(der)
	signature, err := o.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	require.NoError(t, err)
	whole, err := asn1.Marshal(struct {
		TBS asn1.RawValue
		Alg pkix.AlgorithmIdentifier
		Sig asn1.BitString
	}{asn1.RawValue{FullBytes: der}, tbs.Alg, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	require.NoError(t, err)
	made, err := x509.ParseCertificate(whole)
	require.NoError(t, err)
	require.NoError(t, made.CheckSignatureFrom(o.cert))
	return made
}

// twins returns a store with two active issuers of one key, and their ids.
func twins(t *testing.T) (store *kvtest.Store, root outside, first, second string) {
	t.Helper()
	ctx := context.Background()
	store, root = kvtest.New(), newOutside(t, "Root")
	set := open(store)
	waiting, pub := pending(t, set, "issuing")
	_, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(root.sign(t, "issuing", pub, nil), root.cert)})
	require.NoError(t, err)
	result, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(root.sign(t, "twin", pub, nil))})
	require.NoError(t, err)
	return store, root, waiting.ID(), result.ImportedIssuers[0]
}

// TestId1_StoredCertificateInAnotherEncoding: an earlier release took certificates
// whose key is not canonically encoded. The key is the same all the same.
func TestId1_StoredCertificateInAnotherEncoding(t *testing.T) {
	ctx := context.Background()
	store, root, first, second := twins(t)
	stored := func(id string) (record map[string]any) {
		require.NoError(t, json.Unmarshal(store.Dump()[layout.Issuer+id], &record))
		return record
	}
	twin, err := open(store).Get(ctx, second)
	require.NoError(t, err)
	record := stored(second)
	replaced := false
	var walk func(map[string]any)
	walk = func(object map[string]any) {
		for name, value := range object {
			if inner, ok := value.(map[string]any); ok {
				walk(inner)
			} else if name == "certificate" {
				object[name], replaced = root.shifted(t, twin.Certificate()).Raw, true
			}
		}
	}
	walk(record)
	require.True(t, replaced)
	raw, err := json.Marshal(record)
	require.NoError(t, err)
	require.NoError(t, store.Put(ctx, layout.Issuer+second, raw))

	set := open(store)
	odd, err := set.Get(ctx, second)
	require.NoError(t, err)
	require.True(t, odd.May(issuer.Issuing))
	require.NotEqual(t, twin.Certificate().Raw, odd.Certificate().Raw)
	require.Equal(t, twin.Key(), odd.Key())
	ended, err := set.Revoke(ctx, first)
	require.NoError(t, err)
	require.Len(t, ended, 2)
	for _, set := range []*issuer.Set{set, open(store)} {
		odd, err = set.Get(ctx, second)
		require.NoError(t, err)
		require.False(t, odd.May(issuer.Issuing))
		require.True(t, fault.Is(odd.CheckUse(issuer.Issuing), fault.Denied))
	}
}

// TestId1_RevocationThatWasCutShort: whichever write is lost, no issuer with the key
// of one that is revoked issues, and the same call does the rest.
func TestId1_RevocationThatWasCutShort(t *testing.T) {
	ctx := context.Background()
	whole, _, first, second := twins(t)
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			store := whole.Clone()
			store.Break(n, loss)
			_, err := open(store).Revoke(ctx, first)
			if !store.Broken() {
				require.NoError(t, err)
				break
			}
			set := open(store)
			named, err := set.Get(ctx, first)
			require.NoError(t, err)
			other, err := set.Get(ctx, second)
			require.NoError(t, err)
			if named.State() == issuer.Revoked {
				require.False(t, other.May(issuer.Issuing), "write %d", n)
				_, err = set.PutDefaults(ctx, issuer.Defaults{Default: second})
				require.Equal(t, "default", fault.FieldOfError(err))
			}
			ended, err := set.Revoke(ctx, first)
			require.NoError(t, err)
			require.Len(t, ended, 2)
			for _, i := range ended {
				require.Equal(t, issuer.Revoked, i.State())
			}
		}
	}
}
