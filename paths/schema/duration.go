package schema

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// duration returns seconds. A text is a number of seconds, "30d", "10y" of 365 days
// each, or what time.ParseDuration takes; an empty one is 0.
func duration(raw any, name string) (int64, error) {
	value, isText := raw.(string)
	if number, ok := raw.(json.Number); ok {
		value, isText = number.String(), true
	}
	if !isText {
		if _, isNumber := raw.(float64); !isNumber {
			return 0, fault.Field(name, `must be a duration such as "720h" or a number of seconds, not %s`, nameOf(raw))
		}
		return integer(raw, name)
	}
	parsed, err := span(value, name)
	if err != nil {
		return 0, err
	}
	if parsed%time.Second != 0 {
		return 0, fault.Field(name, "must be whole seconds")
	}
	return int64(parsed / time.Second), nil
}

const year = 365 * 24 * time.Hour

// span reads a duration as clients of the built-in engine write it, or in years.
func span(text, name string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if number, inYears := strings.CutSuffix(text, "y"); inYears {
		if n, err := strconv.ParseUint(number, 10, 8); err == nil {
			return time.Duration(n) * year, nil
		}
	}
	parsed, err := parseutil.ParseDurationSecond(text)
	if err != nil {
		return 0, fault.Field(name, `must be a duration such as "720h", "30d" or "10y" (of 365 days), or a number of seconds`)
	}
	return parsed, nil
}
