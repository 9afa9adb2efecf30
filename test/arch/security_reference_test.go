package arch_test

import (
	"flag"
	"fmt"
	"go/ast"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/reference/security-tests.md anew")

const securityPreface = `# Security: which tests show it

Generated from [security](../security.md) and the names of the tests by ` + "`make docs`" + `; do not edit. A row that is *done* and has no test
fails the build. Tests in ` + "`test/attack`" + ` send whole requests by every door that leads to the same power, those in ` + "`test/e2e`" + ` ask a real
Vault, the others stand beside the room that keeps the rule. ` + "`go test ./... -run 'Names3_'`" + ` runs those of a row.
`

// TestSecurityReferenceIsCurrent generates the table of rows and tests and compares
// it with what is committed.
func TestSecurityReferenceIsCurrent(t *testing.T) {
	generated := securityReference(t)
	name := root + "/docs/reference/security-tests.md"
	if *update {
		require.NoError(t, os.WriteFile(name, []byte(generated), 0o644))
		return
	}
	committed, err := os.ReadFile(name)
	require.NoError(t, err)
	if string(committed) != generated {
		t.Fatalf("%s is not what docs/security.md and the tests say: run make docs", name)
	}
}

func securityReference(t *testing.T) string {
	t.Helper()
	shown := securityTests(t)
	var b strings.Builder
	b.WriteString(securityPreface)
	for _, row := range securityTable(t) {
		for _, id := range row.ids {
			fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", id, sentence(row.holds))
			if !row.done {
				b.WriteString("Comes with the feature.\n")
				continue
			}
			require.NotEmpty(t, shown[id], "%s is done and no test has it in its name", id)
			for _, folder := range slices.Sorted(maps.Keys(shown[id])) {
				fmt.Fprintf(&b, "* %s: `%s`\n", folder, strings.Join(slices.Sorted(slices.Values(shown[id][folder])), "`, `"))
			}
		}
	}
	return b.String()
}

// sentence makes one of what a cell says.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// securityTests returns the tests that have a row's id in their name, by id and folder.
func securityTests(t *testing.T) map[string]map[string][]string {
	t.Helper()
	found := map[string]map[string][]string{}
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		for _, declaration := range s.file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Recv != nil {
				continue
			}
			for _, id := range securityIDs(function.Name.Name) {
				if found[id] == nil {
					found[id] = map[string][]string{}
				}
				found[id][s.dir] = append(found[id][s.dir], function.Name.Name)
			}
		}
	}
	return found
}
