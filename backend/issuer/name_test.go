package issuer_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

func TestAuthz2_ANameIsNeitherAKeywordNorAnID(t *testing.T) {
	ctx := context.Background()
	set, i := active(t)
	const uuid = "0a1b2c3d-0a1b-4c3d-8a1b-0a1b2c3d4e5f"
	for _, name := range []string{"Default", "DEFAULT", "self", "SELF", uuid, strings.ToUpper(uuid)} {
		settings := i.Settings()
		settings.Name = name
		_, err := set.Update(ctx, i.ID(), settings)
		require.Equal(t, "issuer_name", fault.FieldOfError(err), name)
		_, _, err = set.Generate(ctx, issuer.PendingRequest{Key: issuer.KeyChoice{Spec: cert.P256}, Name: name, Subject: pkix.Name{CommonName: "x"}})
		require.Equal(t, "issuer_name", fault.FieldOfError(err), name)
	}
}

// TestAuthz2_AStoredNameInTheFormOfAnID: an earlier release took such names. They do not
// take the place of a deleted issuer.
func TestAuthz2_AStoredNameInTheFormOfAnID(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	set := open(store)
	waiting, _ := pending(t, set, "good")
	const deleted = "0a1b2c3d-0a1b-4c3d-8a1b-0a1b2c3d4e5f"
	raw := store.Dump()[layout.Issuer+waiting.ID()]
	var check map[string]any
	require.NoError(t, json.Unmarshal(raw, &check))
	require.NoError(t, store.Put(ctx, layout.Issuer+waiting.ID(), []byte(strings.Replace(string(raw), `"issuer_name":"good"`, `"issuer_name":"`+deleted+`"`, 1))))
	set = open(store)
	found, err := set.Get(ctx, waiting.ID())
	require.NoError(t, err)
	require.Equal(t, deleted, found.Name())
	_, err = set.Get(ctx, deleted)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

// TestCA3_EachCertificateIsHeldToTheRequest: a second certificate for the key, in the
// same bundle or later, is checked like the first.
func TestCA3_EachCertificateIsHeldToTheRequest(t *testing.T) {
	ctx := context.Background()
	root := newOutside(t, "Root")
	limited := func(c *x509.Certificate) { c.MaxPathLenZero = true }
	conforms := func(_ string, c *x509.Certificate) error {
		if !c.MaxPathLenZero {
			return fault.Field("certificate", "must have a path length")
		}
		return nil
	}
	prepare := func() (*issuer.Set, crypto.PublicKey) {
		set := open(kvtest.New())
		waiting, _, err := set.Generate(ctx, issuer.PendingRequest{Key: issuer.KeyChoice{Spec: cert.P256}, Subject: pkix.Name{CommonName: "ca"}, Profile: "issuing-ca"})
		require.NoError(t, err)
		csr, err := x509.ParseCertificateRequest(waiting.CSR())
		require.NoError(t, err)
		return set, csr.PublicKey
	}
	set, pub := prepare()
	good, bad := root.sign(t, "ca", pub, limited), root.sign(t, "ca", pub, nil)
	bring := func(set *issuer.Set, certs ...*x509.Certificate) error {
		_, err := set.Import(ctx, issuer.ImportRequest{PEM: bundle(certs...), NeedPending: true, Conforms: conforms})
		return err
	}
	require.ErrorContains(t, bring(set, good, bad), "path length")
	require.NoError(t, bring(set, good))
	require.ErrorContains(t, bring(set, bad), "path length", "the second set-signed")
	require.NoError(t, bring(set, root.sign(t, "ca", pub, limited)))
}
