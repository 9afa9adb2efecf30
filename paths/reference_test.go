package paths_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/reference anew")

// TestReferenceIsCurrent generates the API reference from the same schema as
// path-help and compares it with what is committed.
func TestReferenceIsCurrent(t *testing.T) {
	generated := reference(all(t))
	name := filepath.Join("..", "docs", "reference", "api.md")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(generated), 0o644))
		return
	}
	committed, err := os.ReadFile(name)
	require.NoError(t, err)
	if string(committed) != generated {
		t.Fatalf("%s is not what the schema says: run make docs", name) // the texts are too long to show
	}
}

const preface = `# API reference

Generated from the schema of the paths by ` + "`make docs`" + `; do not edit. Paths are relative to the mount.

Fields that are not listed are refused. ` + "`null`" + ` means that a field is not given; a ` + "`PATCH`" + ` refuses it. Booleans and numbers may come as strings. Durations take ` + "`720h`, `30d`" + `
or seconds and read back as seconds. Lists take JSON lists or one string with commas.
`

var verbs = map[logical.Operation]string{
	logical.ReadOperation: "GET", logical.ListOperation: "LIST", logical.UpdateOperation: "POST",
	logical.PatchOperation: "PATCH", logical.DeleteOperation: "DELETE",
}

func reference(paths []*framework.Path) string {
	var b strings.Builder
	b.WriteString(preface)
	sorted := slices.SortedFunc(slices.Values(paths), func(x, y *framework.Path) int { return cmp.Compare(title(x), title(y)) })
	for _, p := range sorted {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", title(p), p.HelpSynopsis)
		if p.HelpDescription != p.HelpSynopsis {
			fmt.Fprintf(&b, "%s\n\n", strings.TrimSpace(p.HelpDescription))
		}
		for _, operation := range operations(p) {
			fmt.Fprintf(&b, "* **%s** %s\n", verbs[operation], p.Operations[operation].Properties().Summary)
		}
		b.WriteString(table("field", p.Fields))
		seen := map[string]bool{"": true, table("answer", p.Fields): true}
		for _, operation := range operations(p) {
			responses := p.Operations[operation].Properties().Responses
			if answers := responses[200]; len(answers) > 0 {
				if shown := table("answer", answers[0].Fields); !seen[shown] {
					b.WriteString(shown)
					seen[shown] = true
				}
			}
		}
	}
	return b.String()
}

// title is a path as people write it: roles/:name.
func title(p *framework.Path) string {
	pattern := strings.TrimSuffix(strings.TrimPrefix(p.Pattern, "^"), "$")
	pattern = capture.ReplaceAllStringFunc(pattern, func(group string) string {
		name := capture.FindStringSubmatch(group)[1]
		choices := strings.TrimSuffix(group[len("(?P<"+name+">"):], ")")
		if strings.Contains(choices, "|") {
			return "(" + choices + ")"
		}
		return ":" + name
	})
	return strings.Replace(pattern, "/?", "/", 1)
}

func table(heading string, fields map[string]*framework.FieldSchema) string {
	if len(fields) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n| %s | type | |\n|---|---|---|\n", heading)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		description := strings.ReplaceAll(fields[name].Description, "|", `\|`)
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, typeName(fields[name].Type), description)
	}
	return b.String()
}

func typeName(kind framework.FieldType) string {
	switch kind {
	case framework.TypeBool:
		return "boolean"
	case framework.TypeInt, framework.TypeInt64:
		return "number"
	case framework.TypeDurationSecond:
		return "duration"
	case framework.TypeCommaStringSlice:
		return "list"
	case framework.TypeKVPairs, framework.TypeMap:
		return "map"
	case framework.TypeSlice:
		return "list of objects"
	}
	return "string"
}
