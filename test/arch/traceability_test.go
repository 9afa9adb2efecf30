package arch_test

import (
	"fmt"
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requirements is the number of the last one: the product promises S1 to S91.
const requirements = 91

// trace is one row of docs/traceability.md.
type trace struct {
	line        int
	first, last int // the requirements that the row covers
	status      string
	tests       []string
}

var (
	identifiers = regexp.MustCompile(`^S([0-9]+)(?:-S([0-9]+))?$`)
	testNames   = regexp.MustCompile("`((?:Test|Fuzz|Example|Benchmark)[A-Za-z0-9_]*)`")
)

func TestEveryRequirementHasOneRow(t *testing.T) {
	rows := map[int]int{}
	for _, row := range traces(t) {
		require.LessOrEqual(t, row.first, row.last, "line %d: the range is empty", row.line)
		for id := row.first; id <= row.last; id++ {
			rows[id]++
		}
	}
	for id := 1; id <= requirements; id++ {
		require.Equal(t, 1, rows[id], "S%d: number of rows", id)
	}
	require.Len(t, rows, requirements, "a row is about a requirement that does not exist")
}

func TestEveryNamedTestExists(t *testing.T) {
	exists := testFunctions(t)
	var violations []string
	for _, row := range traces(t) {
		switch row.status {
		case "done":
			if len(row.tests) == 0 {
				violations = append(violations, fmt.Sprintf("line %d: done, and no test shows it", row.line))
			}
		case "planned":
		default:
			violations = append(violations, fmt.Sprintf("line %d: status %q is neither done nor planned", row.line, row.status))
		}
		for _, name := range row.tests {
			if !exists[name] {
				violations = append(violations, fmt.Sprintf("line %d: there is no test %s", row.line, name))
			}
		}
	}
	none(t, violations)
}

// Decisions say by which tests they are held.
func TestEveryTestThatThePagesNameExists(t *testing.T) {
	exists := testFunctions(t)
	count := 0
	err := filepath.WalkDir(root+"/docs", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".md") {
			return err
		}
		content, err := os.ReadFile(path)
		for _, name := range testNames.FindAllStringSubmatch(string(content), -1) {
			require.True(t, exists[name[1]], "%s: there is no test %s", path, name[1])
			count++
		}
		return err
	})
	require.NoError(t, err)
	require.Positive(t, count)
}

// traces reads the rows whose first cell is a requirement, or a range of them, and
// whose cells are: id, promise, kept by, status, shown by.
func traces(t *testing.T) []trace {
	t.Helper()
	content, err := os.ReadFile(root + "/docs/traceability.md")
	require.NoError(t, err)
	var rows []trace
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		match := identifiers.FindStringSubmatch(strings.TrimSpace(cells[0]))
		if match == nil {
			continue
		}
		require.Len(t, cells, 5, "line %d: cells", number)
		row := trace{line: number, status: strings.TrimSpace(cells[3])}
		row.first, err = strconv.Atoi(match[1])
		require.NoError(t, err)
		row.last = row.first
		if match[2] != "" {
			row.last, err = strconv.Atoi(match[2])
			require.NoError(t, err)
		}
		for _, name := range testNames.FindAllStringSubmatch(cells[4], -1) {
			row.tests = append(row.tests, name[1])
		}
		rows = append(rows, row)
	}
	require.NotEmpty(t, rows)
	return rows
}

// testFunctions returns the names of all test functions of the module.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		for _, declaration := range s.file.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Recv == nil {
				names[function.Name.Name] = true
			}
		}
	}
	return names
}
