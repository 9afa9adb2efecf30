package tidy

import (
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/span"
)

// Task says what one run removes: the built-in engine's fields, with its defaults.
// Those of what this engine does not have accept only what is true here.
type Task struct {
	CertStore                bool   `json:"tidy_cert_store" default:"false" doc:"Remove certificates that expired more than safety_buffer ago and were not revoked."`
	RevokedCerts             bool   `json:"tidy_revoked_certs" alias:"tidy_revocation_list" default:"false" doc:"Remove revoked certificates that expired more than safety_buffer ago, after a CRL issued after their expiry listed them."`
	ExpiredIssuers           bool   `json:"tidy_expired_issuers" default:"false" doc:"Remove issuers that expired more than issuer_safety_buffer ago, except the default issuer, and remainders of deleted issuers. Keys are not removed."`
	IssuerAssociations       bool   `json:"tidy_revoked_cert_issuer_associations" default:"false" doc:"Must be false: every certificate names its issuer from the start."`
	MoveLegacyCABundle       bool   `json:"tidy_move_legacy_ca_bundle" default:"false" doc:"Must be false: there is no bundle of older releases."`
	ACME                     bool   `json:"tidy_acme" default:"false" doc:"Must be false: there are no ACME accounts yet."`
	RevocationQueue          bool   `json:"tidy_revocation_queue" default:"false" doc:"Must be false: it needs the replication of Vault Enterprise."`
	CrossClusterRevokedCerts bool   `json:"tidy_cross_cluster_revoked_certs" default:"false" doc:"Must be false: it needs the replication of Vault Enterprise."`
	CertMetadata             bool   `json:"tidy_cert_metadata" default:"false" doc:"Must be false: metadata is removed with its certificate."`
	CMPv2NonceStore          bool   `json:"tidy_cmpv2_nonce_store" default:"false" doc:"Must be false: there is no CMP."`
	SafetyBuffer             int64  `json:"safety_buffer" kind:"duration" default:"72h" doc:"How long a certificate is kept after it has expired; at least a second."`
	IssuerSafetyBuffer       int64  `json:"issuer_safety_buffer" kind:"duration" default:"8760h" doc:"How long an issuer is kept after it has expired; at least a second."`
	ACMEAccountSafetyBuffer  int64  `json:"acme_account_safety_buffer" kind:"duration" default:"720h" doc:"Must be the default: there are no ACME accounts yet."`
	RevocationQueueBuffer    int64  `json:"revocation_queue_safety_buffer" kind:"duration" default:"48h" doc:"Must be the default: it needs the replication of Vault Enterprise."`
	PauseDuration            string `json:"pause_duration" kind:"duration-fine" default:"0s" doc:"How long to wait between two records, so that other requests have their turn; at most an hour."`
}

// The defaults in seconds.
const (
	defaultBuffer        = 72 * 60 * 60
	defaultIssuerBuffer  = 8760 * 60 * 60
	defaultAccountBuffer = 720 * 60 * 60
	defaultQueueBuffer   = 48 * 60 * 60
)

const maxPause = time.Hour

// DefaultTask returns a task that removes nothing, with the default buffers.
func DefaultTask() Task {
	return Task{
		SafetyBuffer: defaultBuffer, IssuerSafetyBuffer: defaultIssuerBuffer,
		ACMEAccountSafetyBuffer: defaultAccountBuffer, RevocationQueueBuffer: defaultQueueBuffer, PauseDuration: "0s",
	}
}

// Idle reports whether the task removes nothing.
func (t *Task) Idle() bool { return !t.CertStore && !t.RevokedCerts && !t.ExpiredIssuers }

// Check refuses values that mean nothing here, and buffers that are none (rev-2).
func (t *Task) Check() error {
	for _, flag := range []struct {
		field string
		set   bool
		why   string
	}{
		{"tidy_revoked_cert_issuer_associations", t.IssuerAssociations, "every certificate names its issuer from the start"},
		{"tidy_move_legacy_ca_bundle", t.MoveLegacyCABundle, "there is no bundle of older releases"},
		{"tidy_acme", t.ACME, "there are no ACME accounts yet"},
		{"tidy_revocation_queue", t.RevocationQueue, "it needs the replication of Vault Enterprise"},
		{"tidy_cross_cluster_revoked_certs", t.CrossClusterRevokedCerts, "it needs the replication of Vault Enterprise"},
		{"tidy_cert_metadata", t.CertMetadata, "metadata goes with its certificate"},
		{"tidy_cmpv2_nonce_store", t.CMPv2NonceStore, "there is no CMP"},
	} {
		if flag.set {
			return fault.Field(flag.field, "must be false: %s", flag.why)
		}
	}
	for _, fixed := range []struct {
		field       string
		value, only int64
	}{
		{"acme_account_safety_buffer", t.ACMEAccountSafetyBuffer, defaultAccountBuffer},
		{"revocation_queue_safety_buffer", t.RevocationQueueBuffer, defaultQueueBuffer},
	} {
		if fixed.value != fixed.only {
			return fault.Field(fixed.field, "must be %ds: nothing here uses it", fixed.only)
		}
	}
	for _, buffer := range []struct {
		field string
		value int64
	}{{"safety_buffer", t.SafetyBuffer}, {"issuer_safety_buffer", t.IssuerSafetyBuffer}} {
		if buffer.value < int64(ledger.MinBuffer/time.Second) || buffer.value > int64(ledger.MaxBuffer/time.Second) {
			return fault.Field(buffer.field, "must be from a second to 100 years")
		}
	}
	_, err := t.pause()
	return err
}

// pause reads pause_duration: "100ms", or a number of seconds.
func (t *Task) pause() (time.Duration, error) {
	d, err := span.Parse(t.PauseDuration)
	if err != nil || d < 0 || d > maxPause {
		return 0, fault.Field("pause_duration", "must be a duration such as 100ms, at most %s, not %q", maxPause, t.PauseDuration)
	}
	return d, nil
}

// Settings are config/auto-tidy.
type Settings struct {
	Enabled bool `json:"enabled" default:"false" doc:"Whether runs are started by themselves."`
	Task
	Interval       int64 `json:"interval_duration" kind:"duration" default:"12h" doc:"Time from the end of a run, also of one that was started by hand, to the start of the next; at least a minute."`
	MinBackoff     int64 `json:"min_startup_backoff_duration" kind:"duration" default:"5m" doc:"How long after the start of the mount a run begins at the earliest; the moment is chosen at random."`
	MaxBackoff     int64 `json:"max_startup_backoff_duration" kind:"duration" default:"15m" doc:"How long after the start of the mount an overdue run begins at the latest."`
	MaintainCounts bool  `json:"maintain_stored_certificate_counts" default:"false" doc:"Whether tidy-status reports the number of certificates."`
	PublishMetrics bool  `json:"publish_stored_certificate_count_metrics" default:"false" doc:"Must be false: a plugin cannot publish to Vault's telemetry."`
}

// DefaultSettings returns the settings of a mount that never wrote config/auto-tidy.
func DefaultSettings() Settings {
	return Settings{Task: DefaultTask(), Interval: 12 * 60 * 60, MinBackoff: 5 * 60, MaxBackoff: 15 * 60}
}

// limitInterval is the longest interval and backoff in seconds, ten years.
const limitInterval = 10 * 365 * 24 * 60 * 60

func (s *Settings) check() error {
	if err := s.Task.Check(); err != nil {
		return err
	}
	switch {
	case s.Enabled && s.Idle():
		return fault.Field("enabled", "at least one of tidy_cert_store, tidy_revoked_certs and tidy_expired_issuers must be true when enabled is")
	case s.Interval < 60 || s.Interval > limitInterval:
		return fault.Field("interval_duration", "must be from a minute to ten years")
	case s.MinBackoff < 0 || s.MinBackoff > s.MaxBackoff:
		return fault.Field("min_startup_backoff_duration", "must not be above max_startup_backoff_duration")
	case s.MaxBackoff > limitInterval:
		return fault.Field("max_startup_backoff_duration", "must be at most ten years")
	case s.PublishMetrics:
		return fault.Field("publish_stored_certificate_count_metrics", "must be false: a plugin cannot publish to Vault's telemetry")
	}
	return nil
}
