package attack_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// description is one path as the engine's own API description has it: what an
// attacker reads first.
type description struct {
	template string            // roles/{name}
	choices  map[string]string // a value for each parameter that takes a few only
	fields   []string          // of bodies and queries
}

var parameter = regexp.MustCompile(`\{(\w+)\}`)

// path returns the path with a name for every parameter.
func (d description) path(name string) string {
	return parameter.ReplaceAllStringFunc(d.template, func(hole string) string {
		if choice := d.choices[hole]; choice != "" {
			return choice
		}
		return name
	})
}

// described reads the description of every path.
func described(t testing.TB, m *pathstest.Mount) []description {
	t.Helper()
	document, ok := m.Do(t, logical.HelpOperation, "", nil).OK().Data["openapi"].(map[string]any)
	require.True(t, ok)
	paths, ok := document["paths"].(map[string]any)
	require.True(t, ok)
	var all []description
	for _, template := range slices.Sorted(maps.Keys(paths)) {
		item, ok := paths[template].(map[string]any)
		require.True(t, ok)
		d := description{template: strings.Trim(template, "/"), choices: map[string]string{
			"{exported}": "internal", "{version}": "1", "{serial}": "01-02", "{req}": "MAo=",
		}}
		for _, method := range []string{"get", "post", "patch", "delete"} {
			operation, ok := item[method].(map[string]any)
			if !ok {
				continue
			}
			properties, _ := inner(operation, "requestBody", "content", "application/json", "schema", "properties").(map[string]any)
			d.fields = append(d.fields, slices.Collect(maps.Keys(properties))...)
			parameters, _ := operation["parameters"].([]any)
			for _, parameter := range parameters {
				d.fields = append(d.fields, text(parameter, "name"))
			}
		}
		slices.Sort(d.fields)
		d.fields = slices.Compact(d.fields)
		all = append(all, d)
	}
	require.Greater(t, len(all), 50)
	return all
}

// text returns the text at the end of a way through nested objects, "" for none.
func text(object any, way ...string) string {
	found, _ := inner(object, way...).(string)
	return found
}

// inner returns what is at the end of a way through nested objects, nil for none.
func inner(object any, way ...string) any {
	for _, name := range way {
		outer, _ := object.(map[string]any)
		object = outer[name]
	}
	return object
}
