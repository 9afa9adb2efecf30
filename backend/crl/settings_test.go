package crl_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

func TestSettings_TagsSayWhatTheDefaultsAre(t *testing.T) {
	defaults := reflect.ValueOf(crl.DefaultSettings())
	for i := range defaults.NumField() {
		field := defaults.Type().Field(i)
		require.NotEmpty(t, field.Tag.Get("doc"), field.Name)
		require.Equal(t, fmt.Sprint(defaults.Field(i)), field.Tag.Get("default"), field.Name)
		require.Equal(t, field.Type.Kind() == reflect.String, field.Tag.Get("kind") == "duration-string", field.Name)
	}
}

func TestSettings_AreTheDefaultsUntilWritten(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	settings, err := m.Settings(t.Context())
	require.NoError(t, err)
	require.Equal(t, crl.DefaultSettings(), settings)

	settings.Expiry, settings.OCSPExpiry, settings.OCSPDisable = "4d", "3600", true
	require.NoError(t, m.PutSettings(t.Context(), settings))
	require.Equal(t, []string{"config/crl"}, m.store.Written())
	for name, s := range map[string]*crl.Service{"same process": m.Service, "next process": m.restart(m.store)} {
		read, err := s.Settings(t.Context())
		require.NoError(t, err, name)
		require.Equal(t, settings, read, "durations come back as they were written")
		said, err := s.OCSP(t.Context())
		require.NoError(t, err)
		require.Equal(t, crl.OCSP{Expiry: time.Hour, Backdate: time.Minute, Disabled: true}, said)
	}
	head := m.rebuild(t)
	require.Equal(t, noon.Add(96*time.Hour), head.NextUpdate)
}

func TestSettings_RefusedByField(t *testing.T) {
	cases := []struct {
		field string
		edit  func(*crl.Settings)
	}{
		{"expiry", func(s *crl.Settings) { s.Expiry = "" }},
		{"expiry", func(s *crl.Settings) { s.Expiry = "soon" }},
		{"expiry", func(s *crl.Settings) { s.Expiry = "0" }},
		{"expiry", func(s *crl.Settings) { s.Expiry = "-1h" }},
		{"expiry", func(s *crl.Settings) { s.Expiry = "4000d" }},
		{"this_update_backdate", func(s *crl.Settings) { s.ThisUpdateBackdate = "61m" }},
		{"this_update_backdate", func(s *crl.Settings) { s.ThisUpdateBackdate = "-1s" }},
		{"ocsp_expiry", func(s *crl.Settings) { s.OCSPExpiry = "-1s" }},
		{"auto_rebuild_grace_period", func(s *crl.Settings) { s.AutoRebuildGracePeriod = "x" }},
		{"auto_rebuild_grace_period", func(s *crl.Settings) { s.AutoRebuild, s.AutoRebuildGracePeriod = true, "72h" }},
		{"shards", func(s *crl.Settings) { s.Shards = 0 }},
		{"shards", func(s *crl.Settings) { s.Shards = 129 }},
		{"keep_after_expiry", func(s *crl.Settings) { s.KeepAfterExpiry = "-1h" }},
		{"delta_rebuild_interval", func(s *crl.Settings) { s.EnableDelta, s.DeltaRebuildInterval = true, "30s" }},
		{"delta_rebuild_interval", func(s *crl.Settings) { s.EnableDelta, s.DeltaRebuildInterval = true, "72h" }},
		{"delta_rebuild_interval", func(s *crl.Settings) { s.DeltaRebuildInterval = "?" }},
		{"cross_cluster_revocation", func(s *crl.Settings) { s.CrossClusterRevocation = true }},
		{"unified_crl", func(s *crl.Settings) { s.UnifiedCRL = true }},
		{"unified_crl_on_existing_paths", func(s *crl.Settings) { s.UnifiedCRLOnExistingPaths = true }},
		{"max_crl_entries", func(s *crl.Settings) { s.MaxCRLEntries = -2 }},
		{"rebuild_delay", func(s *crl.Settings) { s.RebuildDelay = "-1m" }},
	}
	m := newMount(t, (&clock{now: noon}).Now)
	for _, c := range cases {
		settings := crl.DefaultSettings()
		c.edit(&settings)
		err := m.PutSettings(t.Context(), settings)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", c.field, err)
		require.Equal(t, c.field, fault.FieldOfError(err), "%v", err)
	}
	require.Empty(t, m.store.Written())
}

func TestSettings_DisableEmptiesTheListAtOnce(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	m.add(t, 2, &ledger.Revocation{At: noon, Reason: cert.Superseded})
	m.rebuild(t)
	settings := crl.DefaultSettings()
	settings.Disable = true
	require.NoError(t, m.PutSettings(t.Context(), settings))
	list, _ := m.read(t, m.Service)
	require.Empty(t, list.RevokedCertificateEntries, "signed, and without entries")
	require.NoError(t, m.Tick(t.Context()))
	settings.Disable = false
	require.NoError(t, m.PutSettings(t.Context(), settings))
	list, _ = m.read(t, m.Service)
	require.Len(t, list.RevokedCertificateEntries, 2)
}

func TestSettings_MaxCRLEntriesKeepsTheOldList(t *testing.T) {
	m := newMount(t, (&clock{now: noon}).Now)
	settings := crl.DefaultSettings()
	settings.MaxCRLEntries = 2
	require.NoError(t, m.PutSettings(t.Context(), settings))
	m.add(t, 2, &ledger.Revocation{At: noon, Reason: cert.Superseded})
	before := m.rebuild(t)
	m.add(t, 1, &ledger.Revocation{At: noon, Reason: cert.Superseded})
	_, err := m.Rebuild(t.Context(), "root")
	require.Equal(t, "max_crl_entries", fault.FieldOfError(err), "%v", err)
	require.Error(t, m.LastError("root"))
	_, head := m.read(t, m.Service)
	require.Equal(t, before, head)

	settings.MaxCRLEntries = 0
	require.NoError(t, m.PutSettings(t.Context(), settings))
	require.NoError(t, m.Tick(t.Context()))
	_, head = m.read(t, m.Service)
	require.Equal(t, 3, head.Entries, "0 is no limit")
}

func TestThisUpdateIsBackdatedButNotBeforeTheCA(t *testing.T) {
	for text, back := range map[string]time.Duration{"0": 0, "5m": 5 * time.Minute} {
		m := newMount(t, (&clock{now: noon}).Now)
		m.configure(t, func(s *crl.Settings) { s.ThisUpdateBackdate = text })
		require.Equal(t, noon.Add(-back), m.rebuild(t).ThisUpdate)
		require.Equal(t, noon.Add(72*time.Hour), m.rebuild(t).NextUpdate)
	}
	begin := newCA(t, algorithms[0]).Certificate().NotBefore
	m := newMount(t, (&clock{now: begin.Add(time.Second)}).Now)
	require.Equal(t, begin.UTC(), m.rebuild(t).ThisUpdate.UTC())
}
