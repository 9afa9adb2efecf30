package arch_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	directly = regexp.MustCompile(`(?m)^\t(\S+) v\S+$`) // indirect ones say so in a comment
	pinned   = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|.+\\|.+\\|$")
)

// Whoever adds a module says what it is for and under which licence it comes.
func TestEveryDependencyIsOnRecord(t *testing.T) {
	module, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	require.NoError(t, err)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "design", "dependencies.md"))
	require.NoError(t, err)
	required, _, _ := strings.Cut(string(module), "\nreplace ")
	var wanted, found []string
	for _, match := range directly.FindAllStringSubmatch(required, -1) {
		wanted = append(wanted, match[1])
	}
	for _, match := range pinned.FindAllStringSubmatch(string(page), -1) {
		found = append(found, match[1])
	}
	require.Greater(t, len(wanted), 10, "go.mod is read wrongly")
	require.ElementsMatch(t, wanted, found)
}
