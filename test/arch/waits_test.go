package arch_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// deadline matches a wait that ends at a time, whatever happens until then.
var deadline = regexp.MustCompile(`\b(require|assert)\.(Eventually|EventuallyWithT)\(|\bcontext\.(WithTimeout|WithDeadline)\(|\btime\.After\([^)]*(Second|Minute|patience|[lL]imit)|[lL](imit|ine) *:?= *time\.Now\(\)\.Add\(`)

// deadlines are the files of tests that may have one, each with its reason.
var deadlines = map[string]string{
	"backend/hsm/open_test.go":       "cuts an operation short to see what it leaves",
	"backend/keyring/secret_test.go": "the clock of a bubble",
	"test/load/drive.go":             "a measurement takes as long as it is told",
	"test/load/bench/main.go":        "bounds a whole measurement",
	"test/wait/wait_test.go":         "tests waits",
	"test/arch/waits_test.go":        "has the words",
	"test/e2e/crash/watch_test.go":   "a pause between two looks",
	"backend/tidy_test.go":           "the clock of a bubble",
	"test/e2e/harness/failover.go":   "a pause between two looks",
	"test/e2e/crash/client_test.go":  "a pause between two requests",
	"paths/race_test.go":             "one of two requests waits for the other's lock",
}

// A slow machine must not make a test fail: tests wait with the package test/wait, as
// long as anything moves.
func TestTestsWaitWhileAnythingMoves(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		name = filepath.ToSlash(name)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "bin" || strings.HasPrefix(entry.Name(), ".") && name != "."):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go") || !strings.HasSuffix(name, "_test.go") && !strings.HasPrefix(name, "test/") && !strings.HasPrefix(name, "paths/pathstest/"):
			return nil
		case deadlines[name] != "" || strings.HasPrefix(name, "test/vault/"):
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(raw), "\n") {
			if found := deadline.FindString(line); found != "" {
				t.Errorf("%s:%d: %s ends a wait at a time: use test/wait, which waits while anything moves", name, i+1, found)
			}
		}
		return nil
	})
	require.NoError(t, err)
}
