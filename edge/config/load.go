package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Prefix begins the name of every variable that is read from the environment: the
// rest is the field with its section, such as PKI_EDGE_VAULT_ADDRESS.
const Prefix = "PKI_EDGE_"

// maxFile is the largest configuration that is parsed, in octets.
const maxFile = 1 << 20

// Load reads the file at path, or none when path is empty, applies the variables of
// the environment (os.Environ), and checks the result.
func Load(path string, environment []string) (Config, error) {
	config := Default()
	if path != "" {
		raw, err := readFile(path)
		if err != nil {
			return Config{}, err
		}
		if config, err = Parse(raw); err != nil {
			return Config{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := override(&config, environment); err != nil {
		return Config{}, err
	}
	if config.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return Config{}, fault.Field("name", "must be given: the host has none: %w", err)
		}
		config.Name = host
	}
	return config, config.check()
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.NotFound, "reading the configuration: %w", err)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "reading the configuration: %w", err)
	}
	return raw, nil
}

// Parse reads a configuration over the defaults, without checking what its fields
// hold. It refuses unknown fields and a second document.
func Parse(raw []byte) (Config, error) {
	if len(raw) > maxFile {
		return Config{}, fault.New(fault.TooLarge, "the configuration is longer than %d bytes", maxFile)
	}
	config := Default()
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	if err := decoder.Decode(&config); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fault.New(fault.Invalid, "%s", explain(err))
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return Config{}, fault.New(fault.Invalid, "the configuration must be one YAML document")
	}
	return config, nil
}

// unknownField is what the YAML decoder says of a field that a section does not have.
var unknownField = regexp.MustCompile(`(line \d+: )?field (\S+) not found in type config\.(\w+)`)

// explain says an error of the YAML decoder in words of the configuration, with the
// field that was perhaps meant.
func explain(err error) string {
	text := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", "")
	return unknownField.ReplaceAllStringFunc(text, func(said string) string {
		parts := unknownField.FindStringSubmatch(said)
		said = parts[1] + "field " + parts[2] + " is not known"
		config := Default()
		var here, elsewhere []string
		for _, v := range variables(reflect.ValueOf(&config).Elem(), "") {
			elsewhere = append(elsewhere, v.field)
		}
		sections(reflect.TypeFor[Config](), func(section reflect.Type) {
			for i := range section.NumField() {
				if name := section.Field(i).Tag.Get("yaml"); section.Name() == parts[3] {
					here = append(here, name)
				}
			}
		})
		if near := fault.Nearest(parts[2], here); near != "" {
			return said + "; did you mean " + near + "?"
		}
		for _, field := range elsewhere {
			if field == parts[2] || strings.HasSuffix(field, "."+parts[2]) {
				return said + " here; did you mean " + field + "?"
			}
		}
		return said + " here; the fields are " + strings.Join(here, ", ")
	})
}

// sections calls visit with a struct and with every one below it.
func sections(structure reflect.Type, visit func(reflect.Type)) {
	visit(structure)
	for i := range structure.NumField() {
		field := structure.Field(i).Type
		if field.Kind() == reflect.Map {
			field = field.Elem()
		}
		if field.Kind() == reflect.Struct {
			sections(field, visit)
		}
	}
}

// variable is one field that the environment may set.
type variable struct {
	name  string // of the variable
	field string // as errors name it
	value reflect.Value
}

// variables lists the fields below a struct; maps can only be set in the file.
func variables(structure reflect.Value, prefix string) []variable {
	var found []variable
	for i := range structure.NumField() {
		field := prefix + structure.Type().Field(i).Tag.Get("yaml")
		value := structure.Field(i)
		switch value.Kind() {
		case reflect.Struct:
			found = append(found, variables(value, field+".")...)
		case reflect.Map:
		default:
			name := Prefix + strings.ToUpper(strings.ReplaceAll(field, ".", "_"))
			found = append(found, variable{name: name, field: field, value: value})
		}
	}
	return found
}

// override applies the variables that begin with Prefix, and refuses those that name
// no field: a misspelt one must not be without effect.
func override(config *Config, environment []string) error {
	known := variables(reflect.ValueOf(config).Elem(), "")
	for _, entry := range environment {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, Prefix) {
			continue
		}
		at := slices.IndexFunc(known, func(v variable) bool { return v.name == name })
		if at < 0 {
			if near := fault.Nearest(name, Names()); near != "" {
				return fault.Field(name, "is not a variable of pki-edge; did you mean %s?", near)
			}
			return fault.Field(name, "is not a variable of pki-edge")
		}
		target := known[at].value
		if target.Kind() == reflect.String {
			target.SetString(text)
			continue
		}
		if err := yaml.Unmarshal([]byte(text), target.Addr().Interface()); err != nil {
			return fault.Field(name, "must be a %s, not %q", target.Type(), text)
		}
	}
	return nil
}

// Names lists the variables of the environment that set a field, in the order of the
// fields, for the documentation and its test.
func Names() []string {
	config := Default()
	var names []string
	for _, v := range variables(reflect.ValueOf(&config).Elem(), "") {
		names = append(names, v.name)
	}
	return names
}
