// Package span promises one reading of durations for every setting and request: what
// clients of the built-in engine write, and years.
package span

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

var errForm = errors.New(`must be a duration such as "720h", "30d" or "10y" (of 365 days), or a number of seconds`)

// Parse reads a number of seconds ("3600"), whole days ("30d"), whole years of 365 days
// ("10y"), or what time.ParseDuration reads ("1h30m"). An empty text is 0.
func Parse(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	unit, number := time.Second, text
	switch {
	case text == "":
		return 0, nil
	case strings.HasSuffix(text, "d"):
		unit, number = day, strings.TrimSuffix(text, "d")
	case strings.HasSuffix(text, "y"):
		unit, number = year, strings.TrimSuffix(text, "y")
	}
	count, err := strconv.ParseInt(number, 10, 64)
	if err == nil && (count > math.MaxInt64/int64(unit) || count < math.MinInt64/int64(unit)) {
		return 0, errForm
	}
	if err == nil {
		return time.Duration(count) * unit, nil
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return 0, errForm
	}
	return parsed, nil
}
