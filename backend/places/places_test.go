package places_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/places"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a time that tests move.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func crl(urls ...string) places.URLs { return places.URLs{places.CRL: urls} }

func TestAURLIsKnownUntilTheLastCertificateThatNamesItHasExpired(t *testing.T) {
	store, at := kvtest.New(), &clock{noon}
	s := places.New(store, at.now)
	every := places.URLs{places.CRL: {"http://e/a.crl"}, places.Delta: {"http://e/d.crl"}, places.OCSP: {"http://e"}, places.CAIssuers: {"http://e/a.cer"}}
	require.NoError(t, s.Note(t.Context(), "a", every, noon.Add(time.Hour)))
	require.NoError(t, s.Note(t.Context(), "a", crl("http://e/b.crl"), noon.Add(100*time.Hour)))
	for _, again := range []*places.Service{s, places.New(store, at.now)} {
		at.at = noon
		known, err := again.Of(t.Context(), "a")
		require.NoError(t, err)
		every[places.CRL] = []string{"http://e/a.crl", "http://e/b.crl"}
		require.Equal(t, every, known)
		at.at = noon.Add(time.Hour - 1)
		known, err = again.Of(t.Context(), "a")
		require.NoError(t, err)
		require.Equal(t, every, known)
		at.at = noon.Add(99 * time.Hour)
		known, err = again.Of(t.Context(), "a")
		require.NoError(t, err)
		require.Equal(t, crl("http://e/b.crl"), known)
	}
	require.NoError(t, s.Sweep(t.Context()))
	require.Contains(t, store.Dump(), layout.Place+"a")
	at.at = noon.Add(1000 * time.Hour)
	require.NoError(t, s.Sweep(t.Context()))
	require.Empty(t, store.Dump())
}

func TestURLsThatAreNotedCostNoStorageOperation(t *testing.T) {
	store, at := kvtest.New(), &clock{noon}
	s := places.New(store, at.now)
	require.NoError(t, s.Note(t.Context(), "a", places.URLs{places.CRL: nil}, noon.Add(time.Hour)))
	require.Zero(t, store.Counts(), "a certificate that names nothing costs nothing")
	require.NoError(t, s.Note(t.Context(), "a", crl("http://e/a.crl"), noon.Add(time.Hour)))
	before := store.Counts()
	for range 60 { // an hour of certificates that live an hour
		at.at = at.at.Add(time.Minute - time.Second)
		require.NoError(t, s.Note(t.Context(), "a", crl("http://e/a.crl"), at.at.Add(time.Hour)))
	}
	require.Equal(t, before, store.Counts())
	known, err := places.New(store, at.now).Of(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, crl("http://e/a.crl"), known)
}

// A certificate without an end is dated 9999 (RFC 5280 section 4.1.2.5).
func TestAURLOfACertificateWithoutAnEndStays(t *testing.T) {
	store, at := kvtest.New(), &clock{noon}
	s := places.New(store, at.now)
	for range 2 {
		require.NoError(t, s.Note(t.Context(), "a", crl("http://e/a.crl"), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)))
	}
	require.Equal(t, 1, store.Counts().Puts)
	at.at = noon.AddDate(500, 0, 0)
	known, err := s.Of(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, crl("http://e/a.crl"), known)
}

func TestDos2_URLsOfACAHaveABound(t *testing.T) {
	at := &clock{noon}
	s := places.New(kvtest.New(), at.now)
	var urls []string
	for i := range places.MaxPlaces {
		urls = append(urls, fmt.Sprintf("http://e/%d.crl", i))
	}
	require.NoError(t, s.Note(t.Context(), "a", crl(urls...), noon.Add(time.Hour)))
	require.True(t, fault.Is(s.Note(t.Context(), "a", crl("http://e/more"), noon.Add(time.Hour)), fault.Conflict))
	require.NoError(t, s.Note(t.Context(), "a", crl(urls[0]), noon.Add(3*time.Hour)))
	at.at = noon.Add(2 * time.Hour)
	require.NoError(t, s.Note(t.Context(), "a", crl("http://e/more"), at.at.Add(time.Hour)), "expired ones have made room")
}

func TestCrash1_NotingAURLSurvivesEveryLostWrite(t *testing.T) {
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		store, at := kvtest.New(), &clock{noon}
		s := places.New(store, at.now)
		require.NoError(t, s.Note(t.Context(), "a", crl("http://e/a.crl"), noon.Add(time.Hour)))
		store.Break(1, loss)
		require.Error(t, s.Note(t.Context(), "a", crl("http://e/b.crl"), noon.Add(time.Hour)), "the certificate is not signed")
		require.NoError(t, s.Note(t.Context(), "a", crl("http://e/b.crl"), noon.Add(time.Hour)))
		for _, reader := range []*places.Service{s, places.New(store, at.now)} {
			known, err := reader.Of(t.Context(), "a")
			require.NoError(t, err)
			require.Equal(t, crl("http://e/a.crl", "http://e/b.crl"), known)
		}
	}
}

func TestAnotherNodesWriteIsSeen(t *testing.T) {
	store, at := kvtest.New(), &clock{noon}
	active, standby := places.New(store, at.now), places.New(store, at.now)
	known, err := standby.Known(t.Context(), "a")
	require.NoError(t, err)
	require.False(t, known)
	require.NoError(t, active.Note(t.Context(), "a", crl("http://e/a.crl"), noon.Add(time.Hour)))
	standby.Invalidate(layout.Place + "a")
	known, err = standby.Known(t.Context(), "a")
	require.NoError(t, err)
	require.True(t, known)
}

func TestCheckRefusesRecordsThatNobodyWrites(t *testing.T) {
	good := map[string]any{"kind": "crl", "url": "http://e", "until": noon}
	edit := func(field string, value any) map[string]any {
		changed := map[string]any{"kind": "crl", "url": "http://e", "until": noon}
		changed[field] = value
		return changed
	}
	for name, list := range map[string][]map[string]any{
		"none": {}, "twice": {good, good}, "kind": {edit("kind", "shard")}, "url": {edit("url", "")}, "end": {edit("until", time.Time{})},
	} {
		store := kvtest.New()
		raw, err := json.Marshal(map[string]any{"v": 1, "r": map[string]any{"places": list}})
		require.NoError(t, err)
		require.NoError(t, store.Put(t.Context(), layout.Place+"a", raw))
		require.True(t, fault.Is(places.Check(t.Context(), store, "a"), fault.Invalid), name)
	}
}
