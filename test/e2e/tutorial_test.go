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

// Every page that has something to run is run as a reader would, one page after the
// other on one server: each works beside what all those before it left.
func TestPages(t *testing.T) {
	root, err := harness.Root()
	require.NoError(t, err)
	pages := []string{filepath.Join(root, "README.md")}
	for _, folder := range []string{"tutorials", "how-to"} {
		found, err := filepath.Glob(filepath.Join(root, "docs", folder, "*.md"))
		require.NoError(t, err)
		pages = append(pages, found...)
	}
	pages = slices.DeleteFunc(pages, func(page string) bool {
		content, err := os.ReadFile(page)
		require.NoError(t, err)
		return !strings.Contains(string(content), "\n```sh\n")
	})
	require.Contains(t, pages, filepath.Join(root, "README.md"))
	require.Greater(t, len(pages), 10)
	command := exec.Command(filepath.Join(root, "scripts", "tutorial"), pages...)
	command.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	said, err := command.CombinedOutput()
	require.NoError(t, err, "%s", said)
	for _, page := range pages {
		require.Contains(t, string(said), "Every command of "+filepath.Base(page)+" did what the page says.")
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
