package profile

import (
	"fmt"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

const scheduleCABFTLS = "cabf_tls"

// cabfTLS holds the steps of the CA/Browser Forum's Baseline Requirements section
// 6.3.2: the longest validity of certificates issued from a day on, latest first.
var cabfTLS = []struct {
	from time.Time
	days int
}{
	{time.Date(2029, 3, 15, 0, 0, 0, 0, time.UTC), 47},
	{time.Date(2027, 3, 15, 0, 0, 0, 0, time.UTC), 100},
	{time.Time{}, 200},
}

// ceiling is the latest notAfter that one rule allows.
type ceiling struct {
	rule string
	at   time.Time
}

// validity returns notBefore and notAfter in whole seconds of UTC, and warnings
// about what was cut short. notAfter never exceeds the limits of profile, mount or
// issuer (time-1); notBefore is never before the issuer's (time-2).
func (p *Profile) validity(ask *Ask, now time.Time) (notBefore, notAfter time.Time, warnings []string, err error) {
	now = now.UTC().Truncate(time.Second)
	notBefore = now.Add(-seconds(p.config.NotBeforeDur))
	if ask.Issuer != nil {
		if now.Before(ask.Issuer.NotBefore) {
			return notBefore, notAfter, nil, fault.New(fault.Conflict, "the issuer is not valid before %s", stamp(ask.Issuer.NotBefore))
		}
		if notBefore.Before(ask.Issuer.NotBefore) {
			notBefore = ask.Issuer.NotBefore.UTC()
		}
	}
	notAfter, warnings, err = p.end(ask, notBefore, now)
	if err != nil {
		return notBefore, notAfter, nil, err
	}
	if ask.Issuer != nil && notAfter.After(ask.Issuer.NotAfter) {
		// The lifetime of a CA is cut to its issuer's end, as in the built-in engine. An end that
		// was stated is not.
		cut := ask.LeafNotAfter == LeafTruncate || p.config.Kind == KindSubCA && ask.NotAfter.IsZero() && p.notAfter.IsZero()
		if !cut {
			return notBefore, notAfter, nil, fault.New(fault.Invalid,
				"the certificate would end at %s, after its issuer's %s (leaf_not_after_behavior=err)", stamp(notAfter), stamp(ask.Issuer.NotAfter))
		}
		notAfter = ask.Issuer.NotAfter.UTC()
		warnings = append(warnings, fmt.Sprintf("the certificate ends with its issuer at %s", stamp(notAfter)))
	}
	switch {
	case !notAfter.After(now) || !notAfter.After(notBefore):
		return notBefore, notAfter, nil, fault.Field("not_after", "%s is not in the future", stamp(notAfter))
	case notAfter.Sub(now) < seconds(p.config.MinTTL):
		return notBefore, notAfter, nil, fault.Field("ttl", "the profile's shortest lifetime is %s (min_ttl)", seconds(p.config.MinTTL))
	}
	return notBefore, notAfter, warnings, nil
}

// end applies all ceilings but the issuer's: a ttl is cut, an end that somebody
// stated is refused.
func (p *Profile) end(ask *Ask, notBefore, now time.Time) (time.Time, []string, error) {
	limit := p.ceiling(ask, notBefore, now)
	stated := ask.NotAfter
	switch {
	case ask.TTL < 0:
		return time.Time{}, nil, fault.Field("ttl", "must not be negative")
	case ask.TTL > 0 && !ask.NotAfter.IsZero():
		return time.Time{}, nil, fault.Field("not_after", "give ttl or not_after, not both")
	case ask.TTL == 0 && stated.IsZero() && !p.notAfter.IsZero():
		stated = p.notAfter
	}
	if !stated.IsZero() {
		stated = stated.UTC().Truncate(time.Second)
		if stated.Year() > 9999 {
			return time.Time{}, nil, fault.Field("not_after", "must be before the year 10000")
		}
		if !limit.at.IsZero() && stated.After(limit.at) {
			return time.Time{}, nil, fault.Field("not_after", "%s is after %s, the latest that %s allows", stamp(stated), stamp(limit.at), limit.rule)
		}
		return stated, nil, nil
	}
	ttl := p.ttl(ask)
	if ttl == 0 {
		if limit.at.IsZero() {
			return time.Time{}, nil, fault.Field("ttl", "is required: neither profile nor mount has a default")
		}
		return limit.at, nil, nil
	}
	end := now.Add(ttl.Truncate(time.Second))
	if limit.at.IsZero() || !end.After(limit.at) {
		return end, nil, nil
	}
	if ask.TTL == 0 {
		return limit.at, nil, nil
	}
	warning := fmt.Sprintf("ttl %s is longer than %s allows: the certificate ends at %s", ask.TTL, limit.rule, stamp(limit.at))
	return limit.at, []string{warning}, nil
}

// ttl returns the requested lifetime or the nearest default; 0 when there is none.
func (p *Profile) ttl(ask *Ask) time.Duration {
	switch {
	case ask.TTL > 0:
		return ask.TTL
	case p.config.DefaultTTL > 0:
		return seconds(p.config.DefaultTTL)
	}
	return ask.Mount.Default
}

// ceiling returns the lowest of the limits of profile, schedule and mount; its at
// is zero when there is none.
func (p *Profile) ceiling(ask *Ask, notBefore, now time.Time) ceiling {
	var lowest ceiling
	lower := func(rule string, at time.Time) {
		if lowest.at.IsZero() || at.Before(lowest.at) {
			lowest = ceiling{rule, at}
		}
	}
	if p.config.MaxTTL > 0 {
		lower("max_ttl", now.Add(seconds(p.config.MaxTTL)))
	}
	if ask.Mount.Max > 0 {
		lower("the mount's max_lease_ttl", now.Add(ask.Mount.Max))
	}
	if !p.notAfter.IsZero() {
		lower("the profile's not_after", p.notAfter)
	}
	if p.config.ValiditySchedule == scheduleCABFTLS {
		// RFC 5280 section 4.1.2.5: both ends belong to the validity period.
		lower("validity_schedule", notBefore.Add(scheduled(now)-time.Second))
	}
	return lowest
}

func scheduled(now time.Time) time.Duration {
	for _, step := range cabfTLS {
		if !now.Before(step.from) {
			return time.Duration(step.days) * 24 * time.Hour
		}
	}
	return 0
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
