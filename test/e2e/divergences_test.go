package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// divergence shows one row of docs/divergences.md: a probe that is run on both
// engines, or the test that shows how this engine behaves.
type divergence struct {
	probe         func(t testing.TB, mount string) string
	builtin, ours string
	shownBy       string
}

// The outcomes of most probes.
const (
	taken   = "taken"
	refused = "refused"
)

func outcome(a answer) string {
	if a.Status >= http.StatusBadRequest {
		return refused
	}
	return taken
}

// request is the probe of one request.
func request(method, path string, body fields) func(testing.TB, string) string {
	return func(t testing.TB, mount string) string {
		return outcome(send(t, rootClient, method, mount+"/"+path, body, mergePatch(method)...))
	}
}

// status is request with the status code as the outcome.
func status(method, path string, body fields) func(testing.TB, string) string {
	return func(t testing.TB, mount string) string {
		return strconv.Itoa(send(t, rootClient, method, mount+"/"+path, body, mergePatch(method)...).Status)
	}
}

func mergePatch(method string) []string {
	if method != http.MethodPatch {
		return nil
	}
	return []string{"Content-Type", "application/merge-patch+json"}
}

// field is the probe of one field of an answer; "absent" is one that is not there.
func field(path, name string) func(testing.TB, string) string {
	return func(t testing.TB, mount string) string {
		value, ok := read(t, mount+"/"+path)[name]
		if !ok {
			return "absent"
		}
		return fmt.Sprint(value)
	}
}

// issuing is the probe of a certificate under a role of its own.
func issuing(role, body fields) func(testing.TB, string) string {
	return func(t testing.TB, mount string) string {
		return outcome(issueUnder(t, mount, role, body))
	}
}

// issueUnder writes the role and asks for a certificate. A refused role is the answer.
func issueUnder(t testing.TB, mount string, role, body fields) answer {
	t.Helper()
	role = maps.Clone(role)
	role["key_type"], role["ttl"] = "ec", "1h"
	if a := post(t, rootClient, mount+"/roles/probe", role); a.Status >= http.StatusBadRequest {
		return a
	}
	defer send(t, rootClient, http.MethodDelete, mount+"/roles/probe", nil)
	return post(t, rootClient, mount+"/issue/probe", body)
}

// divergentSubjects returns the first cells of the tables "From the built-in engine".
func divergentSubjects(t testing.TB) []string {
	t.Helper()
	root, err := harness.Root()
	require.NoError(t, err)
	page, err := os.ReadFile(filepath.Join(root, "docs", "divergences.md"))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "## From the built-in engine\n")
	require.True(t, found)
	section, _, found = strings.Cut(section, "## From the RFCs\n")
	require.True(t, found)
	var subjects []string
	for line := range strings.Lines(section) {
		cells := strings.Split(line, " | ")
		subject := strings.TrimPrefix(cells[0], "| ")
		if len(cells) < 2 || subject == "subject" || subject == "feature" {
			continue
		}
		require.NotContains(t, subjects, subject, "two rows")
		subjects = append(subjects, subject)
	}
	return subjects
}

// Each row of the page is true of both engines on one server, or names the test that
// shows it. test/arch looks whether that test exists.
func TestDivergencesAreThoseOfThePage(t *testing.T) {
	rows := map[string]divergence{}
	for _, section := range []map[string]divergence{divergentRequests, divergentNames, divergentCertificates, divergentStatus, notAvailable} {
		for subject, row := range section {
			require.NotContains(t, rows, subject)
			rows[subject] = row
		}
	}
	subjects := divergentSubjects(t)
	require.Len(t, rows, len(subjects), "a probe without a row")
	builtin, ours := engines(t)
	for _, mount := range []string{builtin, ours} {
		write(t, mount+"/root/generate/internal", fields{"common_name": "Root", "key_type": "ec", "ttl": "700h", "issuer_name": "root", "key_name": "root"})
		write(t, mount+"/roles/any", fields{"allow_any_name": true, "key_type": "ec", "key_bits": 256, "ttl": "1h"})
	}
	for _, subject := range subjects {
		t.Run(subject, func(t *testing.T) {
			row, ok := rows[subject]
			require.True(t, ok, "no probe and no test shows the row %q", subject)
			if row.probe == nil {
				require.NotEmpty(t, row.shownBy)
				return
			}
			require.NotEqual(t, row.builtin, row.ours, "no difference")
			require.Equal(t, row.builtin, row.probe(t, builtin), "built-in engine")
			require.Equal(t, row.ours, row.probe(t, ours), "this engine")
		})
	}
}
