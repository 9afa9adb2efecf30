package kv_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
)

type thing struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func TestTableRoundTrip(t *testing.T) {
	ctx := context.Background()
	table := kv.NewTable[thing](kvtest.New(), "thing/", 1)
	missing, err := table.Get(ctx, "a")
	require.NoError(t, err)
	require.Nil(t, missing)

	require.NoError(t, table.Put(ctx, "b", &thing{"b", 2}))
	require.NoError(t, table.Put(ctx, "a", &thing{"a", 1}))
	names, err := table.Names(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, names)
	all, err := table.All(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]*thing{"a": {"a", 1}, "b": {"b", 2}}, all)

	require.NoError(t, table.Delete(ctx, "a"))
	require.NoError(t, table.Delete(ctx, "a"), "deleting twice is no error")
	missing, err = table.Get(ctx, "a")
	require.NoError(t, err)
	require.Nil(t, missing)
}

func TestTableRefusesRecordsOfANewerRelease(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	require.NoError(t, kv.NewTable[thing](store, "thing/", 2).Put(ctx, "a", &thing{"a", 1}))
	_, err := kv.NewTable[thing](store, "thing/", 1).Get(ctx, "a")
	require.ErrorContains(t, err, "storage of thing/a has version 2, this release reads up to 1: install the newer release")
}

func TestTableRefusesWhatStorageWouldNotTake(t *testing.T) {
	table := kv.NewTable[thing](kvtest.New(), "thing/", 1)
	err := table.Put(context.Background(), "a", &thing{Name: strings.Repeat("x", kv.MaxValue)})
	require.True(t, fault.Is(err, fault.TooLarge), "%v", err)
}

func TestTableReportsCorruption(t *testing.T) {
	ctx := context.Background()
	store := kvtest.New()
	require.NoError(t, store.Put(ctx, "thing/a", []byte("{")))
	_, err := kv.NewTable[thing](store, "thing/", 1).Get(ctx, "a")
	require.ErrorContains(t, err, "decoding thing/a")
}
