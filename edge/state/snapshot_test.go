package state_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/state"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
)

func recorded(t *testing.T) feed.Manifest {
	t.Helper()
	var answers struct{ Manifest feed.Manifest }
	require.NoError(t, json.Unmarshal(edgemount.FirstRelease, &answers))
	return answers.Manifest
}

func TestAManifestOfTheFirstReleaseIsUnderstood(t *testing.T) {
	manifest := recorded(t)
	issuers, err := state.ReadIssuers(&manifest)
	require.NoError(t, err)
	require.Len(t, issuers, 1)
	require.Equal(t, []string{"http://e/a.crl"}, issuers[0].Find("complete").URLs)
	require.Equal(t, state.URLs{Earlier: map[string]bool{}}, issuers[0].URLs)
}

func TestDos2_AManifestWithTooManyURLsIsRefused(t *testing.T) {
	var many []string
	for i := range 1025 {
		many = append(many, fmt.Sprintf("http://e/%d", i))
	}
	for _, edit := range []func(*feed.Issuer){
		func(i *feed.Issuer) { i.OCSPURLs = many }, func(i *feed.Issuer) { i.CAIssuersURLs = many }, func(i *feed.Issuer) { i.EarlierURLs = many },
		func(i *feed.Issuer) { i.Lists[0].URLs = many },
	} {
		manifest := recorded(t)
		edit(&manifest.Issuers[0])
		_, err := state.ReadIssuers(&manifest)
		require.True(t, fault.Is(err, fault.TooLarge))
	}
}

func TestAManifestIsRefusedAsAWhole(t *testing.T) {
	for name, edit := range map[string]func(*feed.Issuer){
		"id":               func(i *feed.Issuer) { i.ID = "../x" },
		"certificate":      func(i *feed.Issuer) { i.Certificate = "none" },
		"two certificates": func(i *feed.Issuer) { i.Certificate += i.Certificate },
		"chain":            func(i *feed.Issuer) { i.Chain = []string{"none"} },
		"lists":            func(i *feed.Issuer) { i.Lists = make([]feed.List, 2049) },
		"kind":             func(i *feed.Issuer) { i.Lists[0].Kind = "other" },
		"hash":             func(i *feed.Issuer) { i.Lists[0].SHA256 = "AB" },
		"no bytes":         func(i *feed.Issuer) { i.Lists[0].Size = 0 },
		"this update":      func(i *feed.Issuer) { i.Lists[0].ThisUpdate = "now" },
		"next update":      func(i *feed.Issuer) { i.Lists[0].NextUpdate = "soon" },
	} {
		manifest := recorded(t)
		edit(&manifest.Issuers[0])
		_, err := state.ReadIssuers(&manifest)
		require.Error(t, err, name)
	}
	manifest := recorded(t)
	manifest.Issuers[0].Chain = []string{manifest.Issuers[0].Certificate}
	issuers, err := state.ReadIssuers(&manifest)
	require.NoError(t, err)
	require.Len(t, issuers[0].Chain, 1)
	manifest.Issuers = make([]feed.Issuer, 4097)
	_, err = state.ReadIssuers(&manifest)
	require.True(t, fault.Is(err, fault.TooLarge))
}
