package ceremony

import (
	"regexp"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Period is a length of time in days or calendar years: "365d", "20y".
type Period struct {
	years, days int
}

var periodForm = regexp.MustCompile(`^([1-9][0-9]{0,4})([dy])$`)

// ParsePeriod reads "365d" or "20y".
func ParsePeriod(text string) (Period, error) {
	match := periodForm.FindStringSubmatch(text)
	if match == nil {
		return Period{}, fault.New(fault.Invalid, "%q must be days or years, such as 365d or 20y", text)
	}
	count, _ := strconv.Atoi(match[1]) // five digits
	if match[2] == "y" {
		return Period{years: count}, nil
	}
	return Period{days: count}, nil
}

// UnmarshalYAML reads the period from a scalar.
func (p *Period) UnmarshalYAML(node *yaml.Node) error {
	parsed, err := ParsePeriod(node.Value)
	if err != nil {
		return fault.New(fault.Invalid, "line %d: %w", node.Line, err)
	}
	*p = parsed
	return nil
}

// From returns the end of the period that begins at t.
func (p Period) From(t time.Time) time.Time { return t.AddDate(p.years, 0, p.days) }

// IsZero reports whether the period was left out.
func (p Period) IsZero() bool { return p == Period{} }

// String returns the period as ParsePeriod reads it.
func (p Period) String() string {
	if p.years > 0 {
		return strconv.Itoa(p.years) + "y"
	}
	return strconv.Itoa(p.days) + "d"
}
