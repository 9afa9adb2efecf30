package arch_test

import (
	"go/ast"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each row of the tables "From the built-in engine" of docs/divergences.md has a probe in
// test/e2e, which is run on both engines, or names a test that exists.
func TestEveryDivergenceIsShown(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/divergences.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "## From the built-in engine\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	shown := divergences(t)
	exists := testFunctions(t)
	var violations []string
	rows := 0
	for line := range strings.Lines(section) {
		subject, _, isRow := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if !isRow || subject == "subject" || subject == "feature" {
			continue
		}
		rows++
		test, ok := shown[subject]
		switch {
		case !ok:
			violations = append(violations, "test/e2e/divergences_*_test.go has neither a probe nor a test for the row "+subject)
		case test != "" && !exists[test]:
			violations = append(violations, subject+": there is no test "+test)
		}
	}
	none(t, violations)
	require.Len(t, shown, rows, "a probe without a row")
}

// divergences returns the subjects in the tables of test/e2e, with the name of the test
// that shows each; "" for a probe.
func divergences(t *testing.T) map[string]string {
	t.Helper()
	shown := map[string]string{}
	for _, s := range sources(t) {
		if s.dir != "test/e2e" || !s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			table, ok := n.(*ast.CompositeLit)
			if !ok || !isTableOf(table, "divergence") {
				return true
			}
			for _, element := range table.Elts {
				row := element.(*ast.KeyValueExpr)
				shown[unquoted(t, row.Key)] = shownBy(t, row.Value.(*ast.CompositeLit))
			}
			return false
		})
	}
	return shown
}

// isTableOf reports whether the literal is a map[string]name.
func isTableOf(literal *ast.CompositeLit, name string) bool {
	table, ok := literal.Type.(*ast.MapType)
	if !ok {
		return false
	}
	value, ok := table.Value.(*ast.Ident)
	return ok && value.Name == name
}

func shownBy(t *testing.T, row *ast.CompositeLit) string {
	t.Helper()
	for _, element := range row.Elts {
		pair := element.(*ast.KeyValueExpr)
		if pair.Key.(*ast.Ident).Name == "shownBy" {
			return unquoted(t, pair.Value)
		}
	}
	return ""
}

func unquoted(t *testing.T, expression ast.Expr) string {
	t.Helper()
	literal, ok := expression.(*ast.BasicLit)
	require.True(t, ok && literal.Kind == token.STRING)
	text, err := strconv.Unquote(literal.Value)
	require.NoError(t, err)
	return text
}
