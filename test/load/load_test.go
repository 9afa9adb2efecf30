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
	"sign/1", "sign/4", "sign/:role/batch/1", "sign/:role/batch/8",
	"issue RSA-2048, burst within the key pool/1", "issue RSA-2048, burst within the key pool/8",
	"issue RSA-2048, beyond the key pool/1", "issue RSA-2048, beyond the key pool/8",
	"OCSP GET/1", "OCSP GET/32", "revoke/3", "revoke/20", "CRL rebuild/20",
	"OCSP GET at the edge/1", "OCSP GET at the edge/8", "OCSP GET at the edge/32",
	"OCSP POST at the edge/1", "OCSP POST at the edge/8", "OCSP POST at the edge/32",
	"OCSP at the edge, each answer signed/1", "OCSP at the edge, each answer signed/8", "OCSP at the edge, each answer signed/32",
}

// propagation is what it has to report of revocations on their way to the edge.
var propagation = []string{
	"revoke until the edge's OCSP says so: p50", "revoke until the edge's OCSP says so: p99",
	"revoke until the edge's CRL says so: p50", "revoke until the edge's CRL says so: p99",
}

// figures are what it has to report of many certificates.
var figures = []string{
	"plugin before: resident", "plugin before: peak",
	"issued in batches", "plugin filled: resident", "plugin filled: peak",
	"certs, first page: p50", "certs, page after the middle: p50", "certs/revoked, the one among all: p50",
	"plugin killed until the first sign", "plugin killed until all questions are answered",
	"plugin started anew: resident", "plugin started anew: peak",
	"Vault unsealed until active", "Vault active until the first sign", "Vault active until all questions are answered",
	"edge, from nothing until ready", "edge, all loaded: resident", "edge, all loaded: peak",
	"edge, from disk until ready", "edge, from disk: resident", "edge, from disk: peak",
	"revoke one, few revoked: p50", "revoke one of a batch of 8: p50",
	"revoke/bulk, dry_run: p50", "revoke/bulk", "plugin, all revoked: resident", "plugin, all revoked: peak",
	"CRL made and stored", "plugin, CRL made: resident", "plugin, CRL made: peak",
	"CRL fetched through Vault", "CRL size", "plugin, CRL fetched: resident", "plugin, CRL fetched: peak",
	"edge, all revoked, until it knows", "edge, all revoked, until it has the CRL", "edge, all revoked: resident", "edge, all revoked: peak",
	"CRL fetched from the edge", "CRL size at the edge", "edge, CRL fetched: resident", "edge, CRL fetched: peak",
	"edge, all revoked, from disk until ready",
	"revoke one, all others revoked: p50", "built-in LIST certs: p50",
}

// The command against a real server, with numbers so small that the figures say
// nothing: what counts is that every point is there, in every form of the report.
func TestQuickRunReportsEveryPoint(t *testing.T) {
	dir := t.TempDir()
	rooms := filepath.Join(dir, "rooms.txt")
	require.NoError(t, os.WriteFile(rooms, []byte(benchmarks+library), 0o600))
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
	require.Len(t, report.Rooms, 3)
	require.Equal(t, propagation, names(t, report.Propagation))
	require.Equal(t, figures, names(t, report.Many))

	text, err := os.ReadFile(filepath.Join(dir, "bench.md"))
	require.NoError(t, err)
	rows := regexp.MustCompile(`(?m)^\| .* \| [0-9,]+ (clients?|revoked) \|.*\|$`).FindAllString(string(text), -1)
	require.Len(t, rows, 2*len(points), "the figures of each point and its processor time")
	for _, f := range report.Many {
		require.Contains(t, string(text), "\n| "+f.Name+" | ")
	}
	require.Contains(t, string(text), "| CRL of 1,000,000 | alone | 412.4ms, 96.0 KiB |")
	require.Contains(t, string(text), "| crl EncodeMillion | 412.4ms |")
}

// names returns what figures are called.
func names(t *testing.T, figures []load.Figure) []string {
	var found []string
	for _, f := range figures {
		found = append(found, f.Name)
		require.GreaterOrEqual(t, f.At, 0, f.Name)
		require.GreaterOrEqual(t, f.Value, 0.0, f.Name)
	}
	return found
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

const library = `pkg: vault-plugin-secrets-enterprise-pki/backend/crl
BenchmarkStandardLibraryMillion-2   	       1	2061789555 ns/op	  846200000 B/op	      12 allocs/op
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

func TestReportIsInTheFormOfTheDocumentation(t *testing.T) {
	report := load.Report{Batch: 64, Results: []load.Result{
		{
			Work: "sign", Setting: 1, Unit: "clients", Figure: "rate", Ratio: 0.684, Target: 0.75,
			Ours: load.Measure{Rate: 489.3, P50: 1.951, P99: 5.02}, BuiltIn: load.Measure{Rate: 1715, P50: 1.3, P99: 35.4},
		},
		{Work: "revoke", Setting: 25000, Unit: "revoked", Figure: "p50 latency", Ratio: 229.4, Target: 100, Ours: load.Measure{P50: 4.1, P99: 24}, BuiltIn: load.Measure{P50: 948, P99: 2995}},
	}, Many: []load.Figure{
		{Name: "certs, first page: p50", At: 1000000, Value: 4.24, Unit: "ms", Limit: 50},
		{Name: "until the first sign", At: 1000000, Value: 2.3456, Unit: "s", Limit: 2},
	}}
	text := report.Markdown()
	for _, row := range []string{
		"| `sign` | 1 client | 489 /s, p50 1.95 ms, p99 5.0 | 1,715 /s, p50 1.30 ms, p99 35 | 0.68 | 0.75 | missed |",
		"| `revoke` | 25,000 revoked | p50 4.1 ms, p99 24 | p50 948 ms, p99 2,995 | 229 | 100 | reached |",
		"| certs, first page: p50 | 1,000,000 | 4.2 ms | 50 ms | reached |",
		"| until the first sign | 1,000,000 | 2.346s | 2 s | missed |",
	} {
		require.Contains(t, text, row+"\n")
	}
}
