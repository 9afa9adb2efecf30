package tidy_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/tidy"
)

func service(t *testing.T, store *kvtest.Store) *tidy.Service {
	t.Helper()
	now := func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
	s := tidy.New(tidy.Config{Store: store, Ledger: ledger.New(ledger.Config{Store: store, Now: now}), Now: now})
	t.Cleanup(s.Close)
	return s
}

func TestSettingsAreKept(t *testing.T) {
	store := kvtest.New()
	s := service(t, store)
	got, err := s.Settings(t.Context())
	require.NoError(t, err)
	require.Equal(t, tidy.DefaultSettings(), got)
	want := tidy.DefaultSettings()
	want.Enabled, want.CertStore, want.Interval, want.PauseDuration, want.MaintainCounts = true, true, 3600, "250ms", true
	require.NoError(t, s.PutSettings(t.Context(), want))
	for _, again := range []*tidy.Service{s, service(t, store)} {
		got, err = again.Settings(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	store.Break(1, kvtest.LoseAnswer)
	want.Interval = 7200
	require.ErrorIs(t, s.PutSettings(t.Context(), want), kvtest.ErrLost)
	got, err = s.Settings(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got, "what happened is what is read")
	store.Reset()
	_, err = s.Settings(t.Context())
	require.NoError(t, err)
	require.Zero(t, store.Counts())
	s.Invalidate("config/auto-tidy")
	_, err = s.Settings(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, store.Counts().Gets)
}

// The defaults are those that the fields' tags show to clients.
func TestDefaultsAreThoseOfTheSchema(t *testing.T) {
	check := func(value reflect.Value) {
		for i := range value.NumField() {
			field := value.Type().Field(i)
			shown := field.Tag.Get("default")
			switch {
			case field.Anonymous:
				continue
			case field.Tag.Get("kind") == "duration":
				d, err := time.ParseDuration(shown)
				require.NoError(t, err, field.Name)
				require.Equal(t, int64(d/time.Second), value.Field(i).Int(), field.Name)
			case field.Type.Kind() == reflect.Bool:
				require.Equal(t, "false", shown, field.Name)
				require.False(t, value.Field(i).Bool(), field.Name)
			default:
				require.Equal(t, shown, value.Field(i).String(), field.Name)
			}
		}
	}
	check(reflect.ValueOf(tidy.DefaultSettings()))
	check(reflect.ValueOf(tidy.DefaultTask()))
}

// Rev2: buffers that are none are refused, and so is what nothing here would do.
func TestRev2_TasksThatMeanNothingAreRefused(t *testing.T) {
	s := service(t, kvtest.New())
	for field, edit := range map[string]func(*tidy.Task){
		"safety_buffer":                         func(t *tidy.Task) { t.SafetyBuffer = -1 },
		"safety_buffer ":                        func(t *tidy.Task) { t.SafetyBuffer = 0 },
		"safety_buffer  ":                       func(t *tidy.Task) { t.SafetyBuffer = 1 << 40 },
		"issuer_safety_buffer":                  func(t *tidy.Task) { t.IssuerSafetyBuffer = -1 },
		"issuer_safety_buffer ":                 func(t *tidy.Task) { t.IssuerSafetyBuffer = 1 << 62 },
		"pause_duration":                        func(t *tidy.Task) { t.PauseDuration = "-1s" },
		"pause_duration ":                       func(t *tidy.Task) { t.PauseDuration = "soon" },
		"pause_duration  ":                      func(t *tidy.Task) { t.PauseDuration = "3601" },
		"acme_account_safety_buffer":            func(t *tidy.Task) { t.ACMEAccountSafetyBuffer++ },
		"revocation_queue_safety_buffer":        func(t *tidy.Task) { t.RevocationQueueBuffer = 0 },
		"tidy_revoked_cert_issuer_associations": func(t *tidy.Task) { t.IssuerAssociations = true },
		"tidy_move_legacy_ca_bundle":            func(t *tidy.Task) { t.MoveLegacyCABundle = true },
		"tidy_acme":                             func(t *tidy.Task) { t.ACME = true },
		"tidy_revocation_queue":                 func(t *tidy.Task) { t.RevocationQueue = true },
		"tidy_cross_cluster_revoked_certs":      func(t *tidy.Task) { t.CrossClusterRevokedCerts = true },
		"tidy_cert_metadata":                    func(t *tidy.Task) { t.CertMetadata = true },
		"tidy_cmpv2_nonce_store":                func(t *tidy.Task) { t.CMPv2NonceStore = true },
	} {
		task := tidy.DefaultTask()
		edit(&task)
		_, err := s.Start(t.Context(), task)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", field, err)
		require.ErrorContains(t, err, strings.TrimSpace(field))
		settings := tidy.DefaultSettings()
		settings.Task = task
		require.True(t, fault.Is(s.PutSettings(t.Context(), settings), fault.Invalid), field)
	}
	for field, edit := range map[string]func(*tidy.Settings){
		"enabled":                                  func(s *tidy.Settings) { s.Enabled = true },
		"interval_duration":                        func(s *tidy.Settings) { s.Interval = 59 },
		"interval_duration ":                       func(s *tidy.Settings) { s.Interval = 1 << 40 },
		"min_startup_backoff_duration":             func(s *tidy.Settings) { s.MinBackoff = s.MaxBackoff + 1 },
		"max_startup_backoff_duration":             func(s *tidy.Settings) { s.MaxBackoff = 1 << 40 },
		"publish_stored_certificate_count_metrics": func(s *tidy.Settings) { s.PublishMetrics = true },
	} {
		settings := tidy.DefaultSettings()
		edit(&settings)
		err := s.PutSettings(t.Context(), settings)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", field, err)
		require.ErrorContains(t, err, strings.TrimSpace(field))
	}
	_, err := s.Start(t.Context(), tidy.DefaultTask())
	require.True(t, fault.Is(err, fault.Unavailable), "the ledger is not loaded")
}
