package arch_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	// families are the words with which the ids of docs/security.md begin.
	families   = `(?:names|time|ca|key|rev|ocsp|dos|authz|approve|ssh|acme|hsm|publish|page|crash|fields|null|id|race|past|promise)`
	rowID      = regexp.MustCompile(`\b` + families + `-[0-9]+\b`)
	inTestName = regexp.MustCompile(`^(?:Test|Fuzz)((?:[A-Za-z]+[0-9]+_)+)`)
	mentioned  = regexp.MustCompile(`\(` + families + `-[0-9]+(?:, ` + families + `-[0-9]+)*\)`)
)

// securityRow is one row of docs/security.md.
type securityRow struct {
	ids   []string
	holds string // what holds
	done  bool
}

func securityTable(t *testing.T) []securityRow {
	t.Helper()
	content, err := os.ReadFile(root + "/docs/security.md")
	require.NoError(t, err)
	var table []securityRow
	for line := range strings.Lines(string(content)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		ids := rowID.FindAllString(cells[0], -1)
		if len(cells) != 3 || len(ids) == 0 {
			continue
		}
		status := strings.TrimSpace(cells[2])
		require.Contains(t, []string{"done", "planned"}, status, "%s", line)
		table = append(table, securityRow{ids: ids, holds: strings.TrimSpace(cells[1]), done: status == "done"})
	}
	require.NotEmpty(t, table)
	return table
}

// securityRows returns the rows of docs/security.md: whether each id is done.
func securityRows(t *testing.T) map[string]bool {
	t.Helper()
	rows := map[string]bool{}
	for _, row := range securityTable(t) {
		for _, id := range row.ids {
			require.NotContains(t, rows, id, "two rows")
			rows[id] = row.done
		}
	}
	return rows
}

// securityIDs returns the ids of the rows that a test has in its name.
func securityIDs(testName string) []string {
	match := inTestName.FindStringSubmatch(testName)
	if match == nil {
		return nil
	}
	var ids []string
	for word := range strings.SplitSeq(strings.TrimSuffix(match[1], "_"), "_") {
		letters := strings.TrimRight(word, "0123456789")
		ids = append(ids, strings.ToLower(letters)+"-"+word[len(letters):])
	}
	return ids
}

func TestEverySecurityRowIsShownByTests(t *testing.T) {
	rows := securityRows(t)
	shown := map[string]bool{}
	for name := range testFunctions(t) {
		for _, id := range securityIDs(name) {
			require.Contains(t, rows, id, "%s names a row that docs/security.md does not have", name)
			shown[id] = true
		}
	}
	for id, done := range rows {
		require.Equal(t, done, shown[id], "%s: done, and whether a test has it in its name", id)
	}
}

func TestEverySecurityIDInACommentHasARow(t *testing.T) {
	rows := securityRows(t)
	var violations []string
	for _, s := range sources(t) {
		for _, group := range s.file.Comments {
			for _, text := range mentioned.FindAllString(group.Text(), -1) {
				for _, id := range rowID.FindAllString(text, -1) {
					if _, known := rows[id]; !known {
						violations = append(violations, fmt.Sprintf("%s names %s", s.at(group), id))
					}
				}
			}
		}
	}
	none(t, violations)
}
