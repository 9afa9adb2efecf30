package schema

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-secure-stdlib/parseutil"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// exact is the largest integer up to which a float64 counts every integer: JSON
// numbers cross the plugin boundary as float64 (RFC 8259 section 6).
const exact = 1 << 53

// convert sets dst, which has the field's type without its pointer, from a value
// as it comes out of JSON or a query string. name is the field as the caller knows
// it. No message ever repeats the value: it may be a secret.
func (f *field) convert(dst reflect.Value, raw any, name string) error {
	switch f.shape {
	case text:
		return f.convertText(dst, raw, name)
	case flag:
		value, err := boolean(raw, name)
		dst.SetBool(value)
		return err
	case whole:
		value, err := integer(raw, name)
		if err != nil {
			return err
		}
		return f.setInteger(dst, value, name, "")
	case seconds:
		value, err := duration(raw, name)
		if err != nil {
			return err
		}
		return f.setInteger(dst, value, name, " seconds")
	case secondsText:
		return f.convertSecondsText(dst, raw, name)
	case list:
		return f.convertList(dst, raw, name)
	case pairs:
		return f.convertPairs(dst, raw, name)
	case record:
		return f.convertRecord(dst, raw, name)
	case records:
		return f.convertRecords(dst, raw, name)
	}
	return fault.Field(name, "cannot be set")
}

func (f *field) convertText(dst reflect.Value, raw any, name string) error {
	value, ok := raw.(string)
	if elements, isList := raw.([]any); isList && f.form == "csv" {
		joined, err := f.strings(elements, name)
		if err != nil {
			return err
		}
		value, ok = strings.Join(joined, ","), true
	}
	if !ok {
		return fault.Field(name, "must be a string, not %s", nameOf(raw))
	}
	if err := f.checkText(value, name); err != nil {
		return err
	}
	if (f.form == "name" || f.form == "ref") && value != "" {
		if err := CheckName(name, value); err != nil {
			return err
		}
	}
	dst.SetString(value)
	return nil
}

// checkText applies the cap and the allowed values. An empty text is always
// allowed: it means "not set", as clients send it.
func (f *field) checkText(value, name string) error {
	if len(value) > f.maxText {
		return fault.FieldOf(fault.TooLarge, name, "has %d bytes, more than the %d allowed", len(value), f.maxText)
	}
	if len(f.enum) > 0 && value != "" && !slices.Contains(f.enum, value) {
		return fault.Field(name, "must be %s", fault.List(f.enum))
	}
	return nil
}

func boolean(raw any, name string) (bool, error) {
	switch value := raw.(type) {
	case bool:
		return value, nil
	case string:
		if parsed, err := strconv.ParseBool(value); err == nil {
			return parsed, nil
		}
		return false, fault.Field(name, "must be true or false")
	}
	return false, fault.Field(name, "must be true or false, not %s", nameOf(raw))
}

func integer(raw any, name string) (int64, error) {
	switch value := raw.(type) {
	case float64:
		if value != math.Trunc(value) || math.Abs(value) > exact {
			return 0, fault.Field(name, "must be a whole number that a float64 can hold")
		}
		return int64(value), nil
	case json.Number:
		return integer(value.String(), name)
	case string:
		parsed, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return 0, fault.Field(name, "must be a whole number")
		}
		return parsed, nil
	case int:
		return int64(value), nil
	case int64:
		return value, nil
	}
	return 0, fault.Field(name, "must be a whole number, not %s", nameOf(raw))
}

func (f *field) setInteger(dst reflect.Value, value int64, name, unit string) error {
	if value < f.low {
		return fault.Field(name, "must be at least %d%s", f.low, unit)
	}
	if value > f.high || dst.OverflowInt(value) {
		return fault.Field(name, "must be at most %d%s", f.high, unit)
	}
	if len(f.enum) > 0 && !slices.Contains(f.enum, strconv.FormatInt(value, 10)) {
		return fault.Field(name, "must be %s", fault.List(f.enum))
	}
	dst.SetInt(value)
	return nil
}

func (f *field) convertSecondsText(dst reflect.Value, raw any, name string) error {
	whole := raw
	if written, ok := raw.(string); ok && f.form == "duration-fine" {
		parsed, err := span(written, name)
		if err != nil {
			return err
		}
		whole = strconv.FormatFloat(math.Floor(parsed.Seconds()), 'f', 0, 64) // for the limits
	}
	value, err := duration(whole, name)
	if err != nil {
		return err
	}
	if value < f.low || value > f.high {
		return fault.Field(name, "must be %d to %d seconds", f.low, f.high)
	}
	if raw == "" && f.initial.IsValid() { // not set, as clients send it
		dst.Set(f.initial)
		return nil
	}
	if written, ok := raw.(string); ok {
		dst.SetString(strings.TrimSpace(written))
		return nil
	}
	dst.SetString(strconv.FormatInt(value, 10))
	return nil
}

// convertList takes a JSON list or a text with commas. Only a text is split: an
// element of a list keeps its commas.
func (f *field) convertList(dst reflect.Value, raw any, name string) error {
	var elements []string
	switch value := raw.(type) {
	case string:
		if len(value) > maxBody {
			return fault.FieldOf(fault.TooLarge, name, "has %d bytes, more than the %d allowed", len(value), maxBody)
		}
		split, err := f.split(value, name)
		if err != nil {
			return err
		}
		if f.noBlank && len(split) == 0 && strings.TrimSpace(value) != "" {
			split = []string{""} // separators alone
		}
		elements = split
	case []any:
		converted, err := f.strings(value, name)
		if err != nil {
			return err
		}
		elements = converted
	case []string:
		elements = slices.Clone(value)
	default:
		return fault.Field(name, "must be a list of strings, not %s", nameOf(raw))
	}
	if len(elements) > f.maxItems {
		return f.tooMany(name)
	}
	// An empty element means nothing: Terraform sends [""] for a list that it wants
	// empty. Where an empty list lifts a restriction, that would open what was closed.
	given := len(elements)
	elements = slices.DeleteFunc(elements, func(s string) bool { return s == "" })
	if f.noBlank && len(elements) < given {
		return fault.Field(name, "must not hold an empty entry; to lift the restriction, write an empty list")
	}
	for _, element := range elements {
		if err := f.checkText(element, name); err != nil {
			return err
		}
	}
	dst.Set(reflect.ValueOf(elements).Convert(dst.Type()))
	return nil
}

// split takes a text apart at its commas. A text that is JSON is the list that it
// spells: the vault command sends lists so, and Terraform lists of objects, each of
// which stays a text of its own.
func (f *field) split(value, name string) ([]string, error) {
	if trimmed := strings.TrimSpace(value); strings.HasPrefix(trimmed, "[") || strings.HasPrefix(trimmed, "{") {
		var spelled []string
		if json.Unmarshal([]byte(trimmed), &spelled) == nil {
			return spelled, nil
		}
		var objects []json.RawMessage
		if json.Unmarshal([]byte(trimmed), &objects) == nil {
			return rawTexts(objects), nil
		}
		if json.Valid([]byte(trimmed)) {
			return []string{trimmed}, nil
		}
	}
	if strings.Count(value, ",") >= f.maxItems {
		return nil, f.tooMany(name)
	}
	elements, err := parseutil.ParseCommaStringSlice(value)
	if err != nil {
		return nil, fault.Field(name, "must be a list of strings")
	}
	return slices.DeleteFunc(elements, func(s string) bool { return s == "" }), nil
}

func rawTexts(objects []json.RawMessage) []string {
	texts := make([]string, len(objects))
	for i, object := range objects {
		texts[i] = string(object)
	}
	return texts
}

func (f *field) tooMany(name string) error {
	return fault.FieldOf(fault.TooLarge, name, "has more than the %d elements allowed", f.maxItems)
}

func (f *field) strings(raw []any, name string) ([]string, error) {
	if len(raw) > f.maxItems {
		return nil, f.tooMany(name)
	}
	elements := make([]string, 0, len(raw))
	for _, element := range raw {
		value, ok := element.(string)
		if !ok {
			return nil, fault.Field(name, "must be a list of strings; it holds %s", nameOf(element))
		}
		elements = append(elements, value)
	}
	return elements, nil
}

// convertPairs takes a JSON object of strings, or "key=value" as a text or a list,
// which is what the vault command sends.
func (f *field) convertPairs(dst reflect.Value, raw any, name string) error {
	object, ok := raw.(map[string]any)
	if !ok {
		assigned, err := assignments(raw, name)
		if err != nil {
			return err
		}
		object = assigned
	}
	if len(object) > f.maxItems {
		return f.tooMany(name)
	}
	values := make(map[string]string, len(object))
	for key, element := range object {
		value, ok := element.(string)
		if !ok {
			return fault.Field(name, "must be a map of strings; it holds %s", nameOf(element))
		}
		if err := f.checkText(key, name); err != nil {
			return err
		}
		if err := f.checkText(value, name); err != nil {
			return err
		}
		values[key] = value
	}
	dst.Set(reflect.ValueOf(values).Convert(dst.Type()))
	return nil
}

func assignments(raw any, name string) (map[string]any, error) {
	lines, ok := raw.([]any)
	if single, isText := raw.(string); isText {
		lines, ok = []any{single}, true
		if single == "" {
			return map[string]any{}, nil
		}
	}
	if !ok {
		return nil, fault.Field(name, "must be a map of strings, not %s", nameOf(raw))
	}
	object := make(map[string]any, len(lines))
	for _, line := range lines {
		assignment, _ := line.(string)
		key, value, found := strings.Cut(assignment, "=")
		if !found || key == "" {
			return nil, fault.Field(name, "must be a map of strings, or key=value")
		}
		object[strings.TrimSpace(key)] = value
	}
	return object, nil
}

func (f *field) convertRecord(dst reflect.Value, raw any, name string) error {
	object, ok := raw.(map[string]any)
	if !ok {
		return fault.Field(name, "must be an object, not %s", nameOf(raw))
	}
	_, err := f.sub.decode(dst, source{data: object, prefix: name + "."})
	return err
}

func (f *field) convertRecords(dst reflect.Value, raw any, name string) error {
	elements, ok := raw.([]any)
	if !ok {
		return fault.Field(name, "must be a list of objects, not %s", nameOf(raw))
	}
	if len(elements) > f.maxItems {
		return f.tooMany(name)
	}
	values := reflect.MakeSlice(f.typ, len(elements), len(elements))
	for i, element := range elements {
		if err := f.convertRecord(values.Index(i), element, name+"["+strconv.Itoa(i)+"]"); err != nil {
			return err
		}
	}
	dst.Set(values)
	return nil
}

// nameOf names the JSON type of a value for a message.
func nameOf(raw any) string {
	switch raw.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case float64, json.Number, int, int64:
		return "a number"
	case []any, []string:
		return "a list"
	}
	return "an object"
}
