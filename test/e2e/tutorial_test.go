package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// Every tutorial is run as a reader would run it, on a server and tokens of its own.
func TestTutorials(t *testing.T) { runPages(t, "tutorials") }

// So is every how-to that has something to run.
func TestHowTos(t *testing.T) { runPages(t, "how-to") }

func runPages(t *testing.T, folder string) {
	root, err := harness.Root()
	require.NoError(t, err)
	pages, err := filepath.Glob(filepath.Join(root, "docs", folder, "*.md"))
	require.NoError(t, err)
	pages = slices.DeleteFunc(pages, func(page string) bool {
		content, err := os.ReadFile(page)
		require.NoError(t, err)
		return !strings.Contains(string(content), "\n```sh\n")
	})
	require.NotEmpty(t, pages)
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			command := exec.Command(filepath.Join(root, "scripts", "tutorial"), page)
			command.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
			said, err := command.CombinedOutput()
			require.NoError(t, err, "%s", said)
			require.Contains(t, string(said), "Every command of this page did what the page says.")
		})
	}
}

// A page that says something else than what happens must fail, or the test above
// shows nothing.
func TestTutorialRunnerNoticesAWrongPage(t *testing.T) {
	root, err := harness.Root()
	require.NoError(t, err)
	for name, block := range map[string]string{"a command that fails": "false", "a refusal that does not come": "! true"} {
		t.Run(name, func(t *testing.T) {
			page := filepath.Join(t.TempDir(), "page.md")
			require.NoError(t, os.WriteFile(page, []byte("# Page\n\n```sh\n"+block+"\n```\n"), 0o600))
			said, err := exec.Command(filepath.Join(root, "scripts", "tutorial"), page).CombinedOutput()
			require.Error(t, err, "%s", said)
		})
	}
}
