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
	template string              // roles/{name}
	choices  map[string]string   // a value for each parameter that takes a few only
	methods  []string            // get, post, delete, ...
	fields   map[string][]string // fields of the body, by method
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
func described(t *testing.T, m *pathstest.Mount) []description {
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
		}, fields: map[string][]string{}}
		for _, method := range []string{"get", "post", "patch", "delete"} {
			if item[method] != nil {
				d.methods = append(d.methods, method)
			}
		}
		require.NotEmpty(t, d.methods, template)
		all = append(all, d)
	}
	require.Greater(t, len(all), 50)
	return all
}
