package crl

import (
	"context"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/span"
)

// Settings are config/crl: the built-in engine's fields with its defaults, and
// rebuild_delay, shards and keep_after_expiry. Durations keep the text they were given as; tags as in
// profile.Config, kind "duration-string" marks such text.
//
// Two values differ from the built-in engine: max_crl_entries is unlimited by
// default, because a list that stops growing hides revocations; and with
// auto_rebuild off a list is still renewed at half of its life, because an expired
// list stops every relying party.
type Settings struct {
	Expiry                    string `json:"expiry" doc:"How long a CRL is valid: the distance from thisUpdate to nextUpdate." default:"72h" kind:"duration-string"`
	Disable                   bool   `json:"disable" doc:"Publish a signed CRL without entries instead of the revoked certificates." default:"false"`
	OCSPDisable               bool   `json:"ocsp_disable" doc:"Respond to every OCSP request with unauthorized." default:"false"`
	OCSPExpiry                string `json:"ocsp_expiry" doc:"How long an OCSP response is valid. With 0, responses have no nextUpdate and must not be cached." default:"12h" kind:"duration-string"`
	AutoRebuild               bool   `json:"auto_rebuild" doc:"Renew a CRL when auto_rebuild_grace_period is left of its life, instead of at half of its life." default:"false"`
	AutoRebuildGracePeriod    string `json:"auto_rebuild_grace_period" doc:"How long before nextUpdate a CRL is renewed when auto_rebuild is set; must be shorter than expiry." default:"12h" kind:"duration-string"`
	EnableDelta               bool   `json:"enable_delta" doc:"Publish delta CRLs. The next delta CRL then lists a revocation. The complete CRL is rebuilt only when it is due or a key was compromised." default:"false"`
	DeltaRebuildInterval      string `json:"delta_rebuild_interval" doc:"How often a delta CRL is built when enable_delta is set; at least a minute. It is valid for twice as long." default:"15m" kind:"duration-string"`
	CrossClusterRevocation    bool   `json:"cross_cluster_revocation" doc:"Vault Enterprise replication only, so it must be false." default:"false"`
	UnifiedCRL                bool   `json:"unified_crl" doc:"Vault Enterprise replication only, so it must be false." default:"false"`
	UnifiedCRLOnExistingPaths bool   `json:"unified_crl_on_existing_paths" doc:"Vault Enterprise replication only, so it must be false." default:"false"`
	MaxCRLEntries             int    `json:"max_crl_entries" doc:"Refuse to build a CRL with more entries than this; -1 or 0 means no limit." default:"-1"`
	RebuildDelay              string `json:"rebuild_delay" doc:"How long after the last build a revocation may wait for the next one; revocations for key compromise never wait." default:"1m" kind:"duration-string"`
	Shards                    int    `json:"shards" doc:"Into how many shards an issuer's certificates are divided, 1 to 128, where a URL in crl_distribution_points has {{crl_shard}}. Shards of an earlier number are published for as long as certificates name them." default:"1"`
	ThisUpdateBackdate        string `json:"this_update_backdate" doc:"How far thisUpdate of CRLs and OCSP responses lies in the past, at most an hour: clients whose clocks are behind by less accept them." default:"1m" kind:"duration-string"`
	KeepAfterExpiry           string `json:"keep_after_expiry" doc:"How long, at least, the CRL lists a revoked certificate after it has expired. With 0, one CRL issued after the expiry lists it." default:"0s" kind:"duration-string"`
}

// DefaultSettings returns the settings of a mount that never wrote config/crl.
func DefaultSettings() Settings {
	return Settings{
		Expiry: "72h", OCSPExpiry: "12h", AutoRebuildGracePeriod: "12h",
		DeltaRebuildInterval: "15m", MaxCRLEntries: -1, RebuildDelay: "1m",
		Shards: 1, KeepAfterExpiry: "0s", ThisUpdateBackdate: "1m",
	}
}

// settingsVersion is the version that a stored Settings record carries; 1 had neither
// shards nor keep_after_expiry, 2 had no this_update_backdate.
const settingsVersion = 3

// upgraded fills in what a record of an older version lacks.
func (s Settings) upgraded() Settings {
	if s.Shards == 0 {
		s.Shards = 1
	}
	if s.KeepAfterExpiry == "" {
		s.KeepAfterExpiry = "0s"
	}
	if s.ThisUpdateBackdate == "" {
		s.ThisUpdateBackdate = DefaultSettings().ThisUpdateBackdate
	}
	return s
}

// settingsTable returns the table whose one record, named "", is config/crl.
func settingsTable(store kv.Store) kv.Table[Settings] {
	return kv.NewTable[Settings](store, layout.ConfigCRL, settingsVersion)
}

// rules are validated Settings; immutable.
type rules struct {
	settings   Settings
	expiry     time.Duration
	ocspExpiry time.Duration
	grace      time.Duration
	delay      time.Duration
	interval   time.Duration // of deltas
	keep       time.Duration
	backdate   time.Duration
}

// deltas reports whether delta CRLs are published.
func (r *rules) deltas() bool { return r.settings.EnableDelta && !r.settings.Disable }

// newRules validates settings. An error names the field.
func newRules(s Settings) (*rules, error) {
	r := &rules{settings: s}
	durations := []struct {
		field string
		text  string
		least time.Duration
		into  *time.Duration
	}{
		{"expiry", s.Expiry, time.Second, &r.expiry},
		{"ocsp_expiry", s.OCSPExpiry, 0, &r.ocspExpiry},
		{"auto_rebuild_grace_period", s.AutoRebuildGracePeriod, 0, &r.grace},
		{"delta_rebuild_interval", s.DeltaRebuildInterval, 0, &r.interval},
		{"rebuild_delay", s.RebuildDelay, 0, &r.delay},
		{"keep_after_expiry", s.KeepAfterExpiry, 0, &r.keep},
		{"this_update_backdate", s.ThisUpdateBackdate, 0, &r.backdate},
	}
	for _, d := range durations {
		parsed, err := span.Parse(d.text)
		if err != nil || parsed > maxDuration {
			return nil, fault.Field(d.field, "must be a duration such as 72h, 30d or 1y, at most ten years, not %q", d.text)
		}
		if parsed < d.least {
			return nil, fault.Field(d.field, "must be at least %s, not %q", d.least, d.text)
		}
		*d.into = parsed
	}
	return r, r.check()
}

// check refuses combinations and what is not built yet.
func (r *rules) check() error {
	if r.settings.AutoRebuild && r.grace >= r.expiry {
		return fault.Field("auto_rebuild_grace_period", "must be shorter than expiry (%s) when auto_rebuild is set", r.settings.Expiry)
	}
	if r.settings.EnableDelta && (r.interval < time.Minute || r.interval >= r.expiry) {
		return fault.Field("delta_rebuild_interval", "must be at least a minute and shorter than expiry (%s) when enable_delta is set", r.settings.Expiry)
	}
	if r.settings.Shards < 1 || r.settings.Shards > MaxShards {
		return fault.Field("shards", "must be 1 to %d", MaxShards)
	}
	if r.backdate > time.Hour {
		return fault.Field("this_update_backdate", "must be at most an hour, not %q", r.settings.ThisUpdateBackdate)
	}
	if r.settings.MaxCRLEntries < -1 {
		return fault.Field("max_crl_entries", "must be a number of entries, or -1 for no limit")
	}
	replicated := []struct {
		field string
		set   bool
	}{
		{"cross_cluster_revocation", r.settings.CrossClusterRevocation},
		{"unified_crl", r.settings.UnifiedCRL},
		{"unified_crl_on_existing_paths", r.settings.UnifiedCRLOnExistingPaths},
	}
	for _, flag := range replicated {
		if flag.set {
			return fault.Field(flag.field, "must be false: it needs the replication of Vault Enterprise")
		}
	}
	return nil
}

// life returns the moments at which a list is issued and ends.
func (r *rules) life(now time.Time) (thisUpdate, nextUpdate time.Time) {
	now = now.UTC().Truncate(time.Second)
	return now.Add(-r.backdate), now.Add(r.expiry)
}

// renewal returns the moment from which a list is due for renewal.
func (r *rules) renewal(head Head) time.Time {
	if r.settings.AutoRebuild {
		return head.NextUpdate.Add(-r.grace)
	}
	return head.made().Add(head.NextUpdate.Sub(head.made()) / 2)
}

// maxDuration bounds every duration in config/crl.
const maxDuration = 10 * 365 * 24 * time.Hour

// Settings returns config/crl, defaults included.
func (s *Service) Settings(ctx context.Context) (Settings, error) {
	r, err := s.rules(ctx)
	if err != nil {
		return Settings{}, err
	}
	return r.settings, nil
}

// OCSP is the part of config/crl that the responder needs.
type OCSP struct {
	Expiry   time.Duration // of responses; 0: they have no nextUpdate
	Backdate time.Duration // how far thisUpdate lies in the past
	Disabled bool
}

// OCSP returns what config/crl says of OCSP.
func (s *Service) OCSP(ctx context.Context) (OCSP, error) {
	r, err := s.rules(ctx)
	if err != nil {
		return OCSP{}, err
	}
	return OCSP{Expiry: r.ocspExpiry, Backdate: r.backdate, Disabled: r.settings.OCSPDisable}, nil
}

// AmendSettings changes config/crl under one lock, so that of two changes at a time
// neither is lost (race-1), and returns what it says then.
func (s *Service) AmendSettings(ctx context.Context, change func(*Settings) error) (Settings, error) {
	s.configuring.Lock()
	defer s.configuring.Unlock()
	settings, err := s.Settings(ctx)
	if err != nil {
		return Settings{}, err
	}
	if err := change(&settings); err != nil {
		return Settings{}, err
	}
	return settings, s.putSettings(ctx, settings)
}

// PutSettings validates and stores config/crl. When disable, enable_delta or shards
// changed, the lists are rebuilt before it returns; a list that could not be rebuilt is
// no error here: it shows in LastError and Tick tries again.
func (s *Service) PutSettings(ctx context.Context, settings Settings) error {
	s.configuring.Lock()
	defer s.configuring.Unlock()
	return s.putSettings(ctx, settings)
}

// putSettings is PutSettings for a caller that holds configuring.
func (s *Service) putSettings(ctx context.Context, settings Settings) error {
	next, err := newRules(settings)
	if err != nil {
		return err
	}
	before, err := s.rules(ctx)
	if err != nil {
		// A record that cannot be read is replaced by one that can.
		s.config.Log.Warn("config/crl is unreadable and is replaced", "error", err)
		before = next
	}
	if before.settings.Shards != settings.Shards {
		if err := s.checkCounts(ctx, next); err != nil {
			return err
		}
	}
	if err := settingsTable(s.config.Store).Put(ctx, "", &settings); err != nil {
		s.current.Store(nil) // the write may have happened: read it again
		return err
	}
	s.current.Store(next)
	if err := s.follow(ctx, before, next); err != nil {
		s.config.Log.Warn("CRLs could not be rebuilt after config/crl changed", "error", err)
	}
	return nil
}

// follow makes the lists what changed settings want.
func (s *Service) follow(ctx context.Context, before, next *rules) error {
	same := before.settings.Disable == next.settings.Disable && before.deltas() == next.deltas()
	if same && before.settings.Shards == next.settings.Shards {
		return nil
	}
	return s.each(ctx, func(issuer string) error {
		if before.deltas() && !next.deltas() {
			if err := s.dropDelta(ctx, issuer); err != nil {
				return err
			}
		}
		if err := s.settlePlaces(ctx, issuer, next); err != nil {
			return err
		}
		if same {
			_, err := s.make(ctx, s.publication(issuer, allShards))
			return err
		}
		_, err := s.Rebuild(ctx, issuer)
		return err
	})
}

// rules returns the validated settings: from memory, else from storage.
func (s *Service) rules(ctx context.Context) (*rules, error) {
	if r := s.current.Load(); r != nil {
		return r, nil
	}
	stored, err := settingsTable(s.config.Store).Get(ctx, "")
	if err != nil {
		return nil, err
	}
	settings := DefaultSettings()
	if stored != nil {
		settings = stored.upgraded()
	}
	r, err := newRules(settings)
	if err != nil {
		return nil, err
	}
	// Only fill an empty place: a PutSettings in the meantime is newer.
	s.current.CompareAndSwap(nil, r)
	return r, nil
}
