package ceremony

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// maxOrder is the largest order file that is parsed, in octets.
const maxOrder = 256 << 10

// Decode reads one order from YAML: one document, every key known and given once.
func Decode[O RootOrder | IssuingOrder | CRLOrder](raw []byte) (O, error) {
	var order, none O
	if len(raw) > maxOrder {
		return none, fault.New(fault.TooLarge, "an order must be at most %d bytes", maxOrder)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	err := decoder.Decode(&order)
	if errors.Is(err, io.EOF) {
		return none, fault.New(fault.Invalid, "the order is empty")
	}
	if err != nil {
		return none, fault.New(fault.Invalid, "reading order: %s", explain(err, reflect.TypeFor[O]()))
	}
	var more yaml.Node
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return none, fault.New(fault.Invalid, "an order must be one YAML document")
	}
	return order, nil
}

var (
	unknownField = regexp.MustCompile(`field (.+) not found in type ceremony\.(\w+)`)
	goType       = regexp.MustCompile(`ceremony\.(\w+)`)
	shownValue   = regexp.MustCompile(" `[^`]*`")
)

// explain turns the YAML reader's words, which name Go types, into an operator's.
// Values are cut from the text: a PIN that was put into the file stays unsaid.
func explain(err error, order reflect.Type) string {
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		return strings.TrimPrefix(err.Error(), "yaml: ")
	}
	lines := make([]string, len(typed.Errors))
	for i, line := range typed.Errors {
		line = unknownField.ReplaceAllStringFunc(line, func(found string) string {
			parts := unknownField.FindStringSubmatch(found)
			return unknownKey(parts[1], keys(order, parts[2]))
		})
		line = shownValue.ReplaceAllString(line, "")
		lines[i] = goType.ReplaceAllString(line, "$1")
	}
	return strings.Join(lines, "; ")
}

// unknownKey names the keys that could be meant.
func unknownKey(key string, known []string) string {
	text := fmt.Sprintf("unknown key %q", key)
	if near := fault.Nearest(key, known); near != "" {
		return text + "; did you mean " + near + "?"
	}
	return text + "; known here: " + strings.Join(known, ", ")
}

// keys returns the keys of a struct type below an order, by the name of the type.
func keys(in reflect.Type, name string) []string {
	for in.Kind() == reflect.Pointer || in.Kind() == reflect.Slice {
		in = in.Elem()
	}
	if in.Kind() != reflect.Struct {
		return nil
	}
	var all []string
	for field := range in.Fields() {
		if in.Name() == name {
			all = append(all, field.Tag.Get("yaml"))
		} else if found := keys(field.Type, name); len(found) > 0 {
			return found
		}
	}
	return all
}
