package load_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/load"
)

// points are what a quick run has to report, as "work/setting".
var points = []string{
	"sign/1", "sign/4", "sign/:role/batch/1", "sign/:role/batch/8", "issue RSA-2048/1", "issue RSA-2048/8",
	"OCSP GET/1", "OCSP GET/32", "revoke/3", "revoke/20", "CRL rebuild/20",
}

// The command against a real server, with numbers so small that the figures say
// nothing: what counts is that every point is there, in every form of the report.
func TestQuickRunReportsEveryPoint(t *testing.T) {
	dir := t.TempDir()
	rooms := filepath.Join(dir, "rooms.txt")
	require.NoError(t, os.WriteFile(rooms, []byte(benchmarks), 0o600))
	command := exec.CommandContext(t.Context(), "go", "run", "./bench", "-quick", "-out", dir, "-rooms", rooms)
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)

	encoded, err := os.ReadFile(filepath.Join(dir, "bench.json"))
	require.NoError(t, err)
	var report load.Report
	require.NoError(t, json.Unmarshal(encoded, &report))
	var found []string
	for _, r := range report.Results {
		found = append(found, r.Work+"/"+number(r.Setting))
		for _, m := range []load.Measure{r.Ours, r.BuiltIn} {
			require.Positive(t, m.Operations, r.Work)
			require.Positive(t, m.Rate, r.Work)
			require.Positive(t, m.P50, r.Work)
			require.GreaterOrEqual(t, m.P99, m.P50, r.Work)
		}
		require.Positive(t, r.Ratio, r.Work)
	}
	require.Equal(t, points, found)
	require.Len(t, report.Rooms, 2)

	text, err := os.ReadFile(filepath.Join(dir, "bench.md"))
	require.NoError(t, err)
	for _, r := range report.Results {
		row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(r.Work) + ` \| ` + number(r.Setting) + ` ` + r.Unit + ` \|`)
		require.Len(t, row.FindAll(text, -1), 2, "%s: its figures and its processor time", r.Work)
	}
	require.Contains(t, string(text), "| crl EncodeMillion | 412.4ms |")
}

func number(n int) string {
	encoded, _ := json.Marshal(n) // an int has an encoding
	return string(encoded)
}

const benchmarks = `goos: linux
pkg: vault-plugin-secrets-enterprise-pki/backend/crl
BenchmarkEncodeMillion-2   	       3	 412357911 ns/op	  98304 B/op	      12 allocs/op
BenchmarkEncodeMillion-2   	       3	 512357911 ns/op	  98304 B/op	      12 allocs/op
BenchmarkEncodeMillion-2   	       3	 402357911 ns/op	  98304 B/op	      12 allocs/op
PASS
pkg: vault-plugin-secrets-enterprise-pki/backend/ledger
BenchmarkFill/rows=1000000-2   	       1	1200000000 ns/op	 119.5 B/cert	 3145728 B/op	  7 allocs/op
ok  	vault-plugin-secrets-enterprise-pki/backend/ledger	1.0s
`

func TestRoomsAreReadFromBenchmarkOutput(t *testing.T) {
	found, err := load.ReadRooms(strings.NewReader(benchmarks))
	require.NoError(t, err)
	require.Equal(t, []load.Benchmark{
		{Room: "crl", Name: "EncodeMillion", Figures: map[string]float64{"ns/op": 412357911, "B/op": 98304, "allocs/op": 12}},
		{Room: "ledger", Name: "Fill/rows=1000000", Figures: map[string]float64{"ns/op": 1200000000, "B/cert": 119.5, "B/op": 3145728, "allocs/op": 7}},
	}, found)
	text := load.Report{Rooms: found}.Markdown()
	require.Contains(t, text, "| ledger Fill/rows=1000000 | 1.2s | 3.0 MiB | 7 | 119.5 B/cert |")

	_, err = load.ReadRooms(strings.NewReader("BenchmarkX-2 1 many ns/op"))
	require.ErrorContains(t, err, "X")
}

func TestTargetsAreSaidToBeReachedOrMissed(t *testing.T) {
	result := load.Result{Work: "sign", Ratio: 1.3, Target: 1.2}
	require.True(t, result.Reached())
	require.Contains(t, result.String(), "1.2 reached")
	result.Ratio = 1.1
	require.False(t, result.Reached())
	require.Contains(t, result.String(), "1.2 missed")
	result.Target = 0
	require.True(t, result.Reached())
}

func TestPluginThatIsNotBuiltIsNamed(t *testing.T) {
	config := load.Quick()
	config.Plugin = "no-such-plugin"
	_, err := load.Run(t.Context(), config)
	require.ErrorContains(t, err, "no-such-plugin")
}
