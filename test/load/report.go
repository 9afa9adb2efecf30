package load

import (
	"fmt"
	"strings"
)

// Report is one run.
type Report struct {
	Machine Machine     `json:"machine"`
	Results []Result    `json:"results"`
	Rooms   []Benchmark `json:"rooms,omitempty"`
}

// Machine is what the figures depend on.
type Machine struct {
	Cores      int    `json:"cores"`
	Go         string `json:"go"`
	System     string `json:"system"`
	LoadBefore string `json:"load_before"` // average of the last minute, from /proc/loadavg
}

// Result is one point: one work at one setting.
type Result struct {
	Work    string  `json:"work"`
	Setting int     `json:"setting"`
	Unit    string  `json:"unit"` // of Setting
	Ours    Measure `json:"ours"`
	BuiltIn Measure `json:"built_in"`
	Figure  string  `json:"figure"` // what Ratio compares
	// Ratio is how many times better this engine is, in Figure.
	Ratio  float64 `json:"ratio"`
	Target float64 `json:"target,omitempty"` // ratio to reach; 0 where none is set
}

// Measure is what was seen of one engine at one point.
type Measure struct {
	Operations int     `json:"operations"`
	Rate       float64 `json:"rate"`   // operations per second
	P50        float64 `json:"p50_ms"` // of requests, in milliseconds
	P99        float64 `json:"p99_ms"`
	CPU        CPU     `json:"cpu_ms"`
}

// CPU is processor time per operation, user and system, in milliseconds.
type CPU struct {
	Vault     float64 `json:"vault"`
	Plugin    float64 `json:"plugin"` // of all plugin processes, whoever was asked
	Generator float64 `json:"generator"`
}

// Reached reports whether the ratio is at least the target; true where none is set.
func (r Result) Reached() bool { return r.Ratio >= r.Target }

// String returns the point in one line.
func (r Result) String() string {
	return fmt.Sprintf("%-17s %6d %-8s ours %9.1f/s p50 %8.2f p99 %8.2f ms | built-in %9.1f/s p50 %8.2f p99 %8.2f ms | ratio %7.2f %s",
		r.Work, r.Setting, r.Unit, r.Ours.Rate, r.Ours.P50, r.Ours.P99, r.BuiltIn.Rate, r.BuiltIn.P50, r.BuiltIn.P99, r.Ratio, r.verdict())
}

func (r Result) verdict() string {
	switch {
	case r.Target == 0:
		return ""
	case r.Reached():
		return fmt.Sprintf("(%g reached)", r.Target)
	}
	return fmt.Sprintf("(%g missed)", r.Target)
}

// Markdown returns the report as tables.
func (r Report) Markdown() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d cores, %s, %s, load average %s before the run.\n", r.Machine.Cores, r.Machine.System, r.Machine.Go, r.Machine.LoadBefore)
	text.WriteString("\n| work | at | ours /s | p50 ms | p99 ms | built-in /s | p50 ms | p99 ms | ratio | target |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, p := range r.Results {
		fmt.Fprintf(&text, "| %s | %d %s | %.1f | %.2f | %.2f | %.1f | %.2f | %.2f | %.2f | %s |\n",
			p.Work, p.Setting, p.Unit, p.Ours.Rate, p.Ours.P50, p.Ours.P99, p.BuiltIn.Rate, p.BuiltIn.P50, p.BuiltIn.P99, p.Ratio, p.target())
	}
	text.WriteString("\nProcessor time per operation, in ms:\n\n| work | at | ours: Vault | plugin | generator | built-in: Vault | generator |\n|---|---|---|---|---|---|---|\n")
	for _, p := range r.Results {
		fmt.Fprintf(&text, "| %s | %d %s | %.2f | %.2f | %.2f | %.2f | %.2f |\n", p.Work, p.Setting, p.Unit,
			p.Ours.CPU.Vault, p.Ours.CPU.Plugin, p.Ours.CPU.Generator, p.BuiltIn.CPU.Vault, p.BuiltIn.CPU.Generator)
	}
	if len(r.Rooms) > 0 {
		text.WriteString("\n| benchmark of a room | time | memory | allocations | other |\n|---|---|---|---|---|\n")
	}
	for _, b := range r.Rooms {
		fmt.Fprintf(&text, "| %s %s | %s | %s | %s | %s |\n", b.Room, b.Name, b.figure("ns/op"), b.figure("B/op"), b.figure("allocs/op"), b.others())
	}
	return text.String()
}

func (r Result) target() string {
	if r.Target == 0 {
		return "-"
	}
	return fmt.Sprintf("%g x %s", r.Target, r.Figure)
}
