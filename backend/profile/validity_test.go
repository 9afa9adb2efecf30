package profile_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

const day = 24 * time.Hour

var start = now.Truncate(time.Second)

func TestTime1_NotAfterBeyondALimitIsRefused(t *testing.T) {
	tenYears := now.AddDate(10, 0, 0)
	for name, c := range map[string]struct {
		config func(*profile.Config)
		ask    func(*profile.Ask)
		rule   string
	}{
		"profile":  {func(c *profile.Config) { c.MaxTTL = 86400 }, func(*profile.Ask) {}, "max_ttl"},
		"fixed":    {func(c *profile.Config) { c.NotAfter = "2027-01-01T00:00:00Z" }, func(*profile.Ask) {}, "not_after"},
		"schedule": {func(c *profile.Config) { c.ValiditySchedule = "cabf_tls" }, func(*profile.Ask) {}, "validity_schedule"},
		"mount":    {func(*profile.Config) {}, func(a *profile.Ask) { a.Mount.Max = 768 * time.Hour }, "the mount's max_lease_ttl"},
		"issuer":   {func(*profile.Config) {}, func(a *profile.Ask) { a.Issuer = ending(now.AddDate(1, 0, 0)) }, "leaf_not_after_behavior"},
	} {
		t.Run(name, func(t *testing.T) {
			config, request := profile.DefaultConfig(), ask()
			c.config(&config)
			c.ask(&request)
			request.TTL, request.NotAfter = 0, tenYears
			_, err := compile(t, config).Template(request, now)
			require.True(t, fault.Is(err, fault.Invalid), "%v", err)
			require.ErrorContains(t, err, c.rule)
		})
	}
}

// ending returns an issuer with another end.
func ending(at time.Time) *x509.Certificate {
	issuer := *ecIssuer().cert
	issuer.NotAfter = at.Truncate(time.Second)
	return &issuer
}

func TestTime1_LongTTLIsCutWithAWarning(t *testing.T) {
	for name, c := range map[string]struct {
		config func(*profile.Config)
		ask    func(*profile.Ask)
		end    time.Time
	}{
		"profile": {func(c *profile.Config) { c.MaxTTL = 86400 }, func(*profile.Ask) {}, start.Add(day)},
		"mount":   {func(*profile.Config) {}, func(a *profile.Ask) { a.Mount.Max = 2 * day }, start.Add(2 * day)},
		"lowest":  {func(c *profile.Config) { c.MaxTTL = 3 * 86400 }, func(a *profile.Ask) { a.Mount.Max = day }, start.Add(day)},
		"fixed":   {func(c *profile.Config) { c.NotAfter = "2026-12-01T00:00:00Z" }, func(*profile.Ask) {}, time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)},
		"issuer": {func(*profile.Config) {}, func(a *profile.Ask) {
			a.Issuer, a.LeafNotAfter = ending(now.AddDate(0, 1, 0)), profile.LeafTruncate
		}, start.AddDate(0, 1, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			config, request := profile.DefaultConfig(), ask()
			c.config(&config)
			c.ask(&request)
			request.TTL = 3650 * day
			made, err := compile(t, config).Template(request, now)
			require.NoError(t, err)
			require.Equal(t, c.end, made.Certificate.NotAfter)
			require.Len(t, made.Warnings, 1)
		})
	}
}

func TestTime1_NothingOutlivesItsLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hours := rapid.IntRange(0, 20000)
		config := profile.DefaultConfig()
		config.MaxTTL = int64(hours.Draw(t, "max")) * 3600
		config.DefaultTTL = min(int64(hours.Draw(t, "default"))*3600, config.MaxTTL)
		p, err := profile.New("web", 1, config)
		require.NoError(t, err)
		request := ask()
		request.TTL = time.Duration(hours.Draw(t, "ttl")) * time.Hour
		request.Mount.Max = time.Duration(hours.Draw(t, "mount")) * time.Hour
		request.Issuer = ending(now.Add(time.Duration(hours.Draw(t, "issuer")) * time.Hour))
		if rapid.Bool().Draw(t, "truncate") {
			request.LeafNotAfter = profile.LeafTruncate
		}
		if request.TTL == 0 && rapid.Bool().Draw(t, "stated") {
			request.NotAfter = now.Add(time.Duration(hours.Draw(t, "end")) * time.Hour)
		}
		made, err := p.Template(request, now)
		if err != nil {
			return
		}
		c := made.Certificate
		for _, limit := range []time.Duration{time.Duration(config.MaxTTL) * time.Second, request.Mount.Max} {
			require.True(t, limit == 0 || !c.NotAfter.After(now.Add(limit)))
		}
		require.False(t, c.NotAfter.After(request.Issuer.NotAfter))
		require.True(t, c.NotAfter.After(c.NotBefore) && c.NotAfter.After(now.Add(-time.Second)))
		require.False(t, c.NotBefore.Before(request.Issuer.NotBefore))
	})
}

func TestTime2_NotBeforeIsNeverBeforeTheIssuers(t *testing.T) {
	config := profile.DefaultConfig()
	config.NotBeforeDur = 10 * 365 * 86400
	p := compile(t, config)
	fresh := *ecIssuer().cert
	fresh.NotBefore = start.Add(-time.Minute)
	request := ask()
	request.Issuer = &fresh
	made, err := p.Template(request, now)
	require.NoError(t, err)
	require.Equal(t, fresh.NotBefore, made.Certificate.NotBefore)

	fresh.NotBefore = start.Add(time.Minute)
	_, err = p.Template(request, now)
	require.True(t, fault.Is(err, fault.Conflict), "an issuer that is not valid yet: %v", err)
}

func TestTime2_NotAfterIsAfterNotBefore(t *testing.T) {
	p := compile(t, profile.DefaultConfig())
	for name, change := range map[string]func(*profile.Ask){
		"past":           func(a *profile.Ask) { a.TTL, a.NotAfter = 0, now.Add(-time.Hour) },
		"now":            func(a *profile.Ask) { a.TTL, a.NotAfter = 0, now },
		"half a second":  func(a *profile.Ask) { a.TTL = time.Second / 2 },
		"negative":       func(a *profile.Ask) { a.TTL = -time.Hour },
		"both":           func(a *profile.Ask) { a.NotAfter = now.Add(time.Hour) },
		"no default":     func(a *profile.Ask) { a.TTL = 0 },
		"year 10000":     func(a *profile.Ask) { a.TTL, a.NotAfter = 0, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"expired issuer": func(a *profile.Ask) { a.Issuer, a.LeafNotAfter = ending(now.Add(-time.Hour)), profile.LeafTruncate },
	} {
		t.Run(name, func(t *testing.T) {
			request := ask()
			change(&request)
			_, err := p.Template(request, now)
			require.True(t, fault.Is(err, fault.Invalid), "%v", err)
		})
	}
}

func TestScheduleCountsBothEnds(t *testing.T) {
	config := preset(t, "tls-server")
	p := compile(t, config)
	for at, days := range map[string]int{
		"2026-11-02T00:00:00Z": 200, "2027-03-14T23:59:59Z": 200, "2027-03-15T00:00:00Z": 100,
		"2029-03-14T23:59:59Z": 100, "2029-03-15T00:00:00Z": 47, "2031-01-01T00:00:00Z": 47,
	} {
		moment, err := time.Parse(time.RFC3339, at)
		require.NoError(t, err)
		request := ask()
		request.TTL = 398 * day
		made, err := p.Template(request, moment)
		require.NoError(t, err)
		c := made.Certificate
		// Both the first and the last second are valid.
		require.Equal(t, time.Duration(days)*day, c.NotAfter.Sub(c.NotBefore)+time.Second, at)
		require.Equal(t, moment.Add(-5*time.Minute), c.NotBefore)
	}
}

func TestDefaultsOfLifetime(t *testing.T) {
	for name, c := range map[string]struct {
		config func(*profile.Config)
		ask    func(*profile.Ask)
		end    time.Time
	}{
		"profile":          {func(c *profile.Config) { c.DefaultTTL = 3600 }, func(a *profile.Ask) { a.Mount.Default = day }, start.Add(time.Hour)},
		"mount":            {func(*profile.Config) {}, func(a *profile.Ask) { a.Mount.Default = day }, start.Add(day)},
		"limit of profile": {func(c *profile.Config) { c.MaxTTL = 3600 }, func(a *profile.Ask) { a.Mount.Default = day }, start.Add(time.Hour)},
		"limit of mount":   {func(*profile.Config) {}, func(a *profile.Ask) { a.Mount.Max = day }, start.Add(day)},
		"fixed end":        {func(c *profile.Config) { c.NotAfter = "2026-12-24T18:00:00+01:00" }, func(*profile.Ask) {}, time.Date(2026, 12, 24, 17, 0, 0, 0, time.UTC)},
	} {
		t.Run(name, func(t *testing.T) {
			config, request := profile.DefaultConfig(), ask()
			request.TTL = 0
			c.config(&config)
			c.ask(&request)
			made, err := compile(t, config).Template(request, now)
			require.NoError(t, err)
			require.Equal(t, c.end, made.Certificate.NotAfter)
			require.Empty(t, made.Warnings, "a default is no request")
		})
	}
}
