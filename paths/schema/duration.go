package schema

import (
	"encoding/json"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	spans "vault-plugin-secrets-enterprise-pki/backend/span"
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

// span reads a duration; its error names the field.
func span(text, name string) (time.Duration, error) {
	parsed, err := spans.Parse(text)
	if err != nil {
		return 0, fault.Field(name, "%w", err)
	}
	return parsed, nil
}
