package fsck_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

func TestListsOfEveryKindAreChecked(t *testing.T) {
	m := newMount(t)
	body, err := m.store.Get(t.Context(), layout.CRLBody+"issuer/7/0")
	require.NoError(t, err)
	require.NotNil(t, body)
	for key, broken := range map[string]string{
		layout.CRLHead + "issuer.9-9":    "not named like a list",
		layout.CRLHead + "issuer.shards": "not named like a list",
		layout.CRLPlaces + "issuer":      "no places",
		layout.Place + "ca":              "no URLs",
	} {
		store := m.store.Clone()
		require.NoError(t, store.Put(t.Context(), key, []byte(`{"v":1,"r":{}}`)))
		report, err := fsck.Check(t.Context(), store)
		require.NoError(t, err)
		require.ErrorContains(t, report.Err(), broken, key)
	}
	store := m.store.Clone()
	heads := kv.NewTable[crl.Head](store, layout.CRLHead, 1)
	head, err := heads.Get(t.Context(), "issuer")
	require.NoError(t, err)
	head.Base = 3
	require.NoError(t, heads.Put(t.Context(), "issuer", head))
	report, err := fsck.Check(t.Context(), store)
	require.NoError(t, err)
	require.ErrorContains(t, report.Err(), "is a delta of 0, not of 3")

	places := []byte(`{"v":1,"r":{"places":[{"count":8,"url":"http://e.com/{{crl_shard}}","until":"2026-01-01T00:00:00Z"}]}}`)
	require.NoError(t, m.store.Put(t.Context(), layout.CRLPlaces+"issuer", places))
	report, err = fsck.Check(t.Context(), m.store)
	require.NoError(t, err)
	require.NoError(t, report.Err())
}
