package e2e_test

import (
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// documented returns the paths of docs/reference/api.md and the operations of each.
// That page is generated from the plugin, and a test of paths holds it to it.
func documented(t testing.TB) map[string][]string {
	t.Helper()
	root, err := harness.Root()
	require.NoError(t, err)
	found := map[string][]string{}
	var path string
	for line := range strings.Lines(string(contents(t, filepath.Join(root, "docs", "reference", "api.md")))) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			path = strings.TrimSpace(heading)
			found[path] = nil
		} else if rest, ok := strings.CutPrefix(line, "* **"); ok {
			operation, _, _ := strings.Cut(rest, "**")
			found[path] = append(found[path], operation)
		}
	}
	require.Greater(t, len(found), 60)
	return found
}

var (
	named  = regexp.MustCompile(`:([a-z_]+)`)
	choice = regexp.MustCompile(`\(([a-z]+)(\|[a-z]+)*\)`)
)

// example returns a request path for a path as the documentation writes it.
func example(path string) string {
	return choice.ReplaceAllString(named.ReplaceAllString(strings.Replace(path, ":version", "1", 1), "x"), "$1")
}

func TestEveryPathHasHelp(t *testing.T) {
	mount := vault.Mount(t)
	for path := range documented(t) {
		a := get(t, rootClient, mount+"/"+example(path)+"?help=1")
		require.Equal(t, http.StatusOK, a.Status, path)
		var help struct{ Help string }
		a.decode(t, &help)
		_, description, found := strings.Cut(help.Help, "## DESCRIPTION")
		require.True(t, found, "%s: %s", path, help.Help)
		require.Greater(t, len(strings.TrimSpace(description)), 40, "%s: %s", path, help.Help)
	}
	whole := vault.CLI(t, "path-help", mount+"/")
	for _, part := range []string{"^issue/", "^roles/", "^hsm/", "^ocsp/", "enterprise PKI secrets engine"} {
		require.Contains(t, whole, part)
	}
	require.Contains(t, vault.CLI(t, "path-help", mount+"/roles/x"), "allowed_domains (slice)")
}

// openAPI is what Vault makes of the plugin's paths.
type openAPI struct {
	Paths      map[string]fields
	Components struct{ Schemas fields }
}

func TestEveryPathIsInOpenAPI(t *testing.T) {
	mount := vault.Mount(t)
	var api openAPI
	a := get(t, rootClient, "sys/internal/specs/openapi")
	require.Equal(t, http.StatusOK, a.Status)
	a.decode(t, &api)
	own := map[string]fields{}
	for path, item := range api.Paths {
		if strings.HasPrefix(path, "/"+mount+"/") {
			own[path] = item
		}
	}
	require.Greater(t, requireBodies(t, "openapi", own), 50)

	methods := map[string]string{"GET": "get", "POST": "post", "PATCH": "patch", "DELETE": "delete", "LIST": "get"}
	seen := 0
	for path, operations := range documented(t) {
		inAPI := "/" + mount + "/" + named.ReplaceAllString(path, "{$1}")
		item := api.Paths[inAPI]
		if choice.MatchString(path) { // a choice is a parameter, which has a name of its own
			for candidate, each := range api.Paths {
				if before, _, ok := strings.Cut(candidate, "{"); ok && before == choice.ReplaceAllString(inAPI, "") {
					item = each
				}
			}
		}
		require.NotNil(t, item, path)
		seen++
		for _, operation := range operations {
			require.Contains(t, item, methods[operation], "%s %s", operation, path)
		}
		requireDescribed(t, path, item)
	}
	require.Len(t, own, seen, "the plugin has paths that are not documented")
	schemas := 0
	for name, schema := range api.Components.Schemas {
		if strings.HasPrefix(name, "Pki") {
			requireDescribed(t, name, schema)
			schemas++
		}
	}
	require.Greater(t, schemas, seen, "requests and answers")
}

// requireDescribed expects a text in every description and summary below a value, and
// a description beside every type of a parameter or property.
func requireDescribed(t testing.TB, where string, value any) {
	t.Helper()
	switch value := value.(type) {
	case []any:
		for _, each := range value {
			requireDescribed(t, where, each)
		}
	case fields:
		for name, each := range value {
			if name == "properties" {
				for property, schema := range each.(fields) {
					require.NotEmpty(t, schema.(fields)["description"], "%s: %s", where, property)
				}
				continue
			}
			if name == "description" || name == "summary" {
				require.NotEmpty(t, each, "%s: %s", where, name)
			}
			requireDescribed(t, where+"/"+name, each)
		}
	}
}
