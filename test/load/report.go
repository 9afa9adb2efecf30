package load

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Report is one run.
type Report struct {
	Machine Machine  `json:"machine"`
	Batch   int      `json:"batch"` // requests in a batch
	Results []Result `json:"results"`
	// Propagation is how long revocations take to the edge.
	Propagation []Figure    `json:"propagation,omitempty"`
	Many        []Figure    `json:"many,omitempty"`
	Rooms       []Benchmark `json:"rooms,omitempty"`
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
	Edge      float64 `json:"edge"`
	Generator float64 `json:"generator"`
}

// Reached reports whether the ratio is at least the target; true where none is set.
func (r Result) Reached() bool { return r.Ratio >= r.Target }

// String returns the point in one line.
func (r Result) String() string {
	return fmt.Sprintf("%-42s %6d %-8s ours %9.1f/s p50 %8.2f p99 %8.2f ms | built-in %9.1f/s p50 %8.2f p99 %8.2f ms | ratio %7.2f %s",
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

// Markdown returns the report as tables, in the form of docs/performance.md.
func (r Report) Markdown() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d cores, %s, %s, load average %s before the run.\n", r.Machine.Cores, r.Machine.System, r.Machine.Go, r.Machine.LoadBefore)
	if len(r.Results) > 0 {
		r.writeResults(&text)
	}
	writeFigures(&text, "revocations", r.Propagation)
	writeFigures(&text, "certificates", r.Many)
	if len(r.Rooms) > 0 {
		text.WriteString("\n| benchmark of a room | time | memory | allocations | other |\n|---|---|---|---|---|\n")
	}
	for _, b := range r.Rooms {
		fmt.Fprintf(&text, "| %s %s | %s | %s | %s | %s |\n", b.Room, b.Name, b.figure("ns/op"), b.figure("B/op"), b.figure("allocs/op"), b.others())
	}
	return text.String()
}

// writeFigures writes figures as a table; at is what the numbers that they are seen at
// count.
func writeFigures(text *strings.Builder, at string, figures []Figure) {
	if len(figures) > 0 {
		fmt.Fprintf(text, "\n| figure | at %s | | to reach | |\n|---|---|---|---|---|\n", at)
	}
	for _, f := range figures {
		fmt.Fprintf(text, "| %s | %s | %s | %s | %s |\n", f.Name, thousands(f.At), f.value(), f.limit(), f.verdict())
	}
}

// writeResults writes the table of results and that of processor time.
func (r Report) writeResults(text *strings.Builder) {
	text.WriteString("\n| work | at | ours | built-in | ratio | to reach | |\n|---|---|---|---|---|---|---|\n")
	for _, p := range r.Results {
		fmt.Fprintf(text, "| %s | %s | %s | %s | %s | %s | %s |\n",
			r.name(p), p.at(), p.Ours.cell(p.Figure), p.BuiltIn.cell(p.Figure), digits(p.Ratio), p.target(), p.outcome())
	}
	text.WriteString(r.encoderRow())
	text.WriteString("\nProcessor time per operation in ms:\n\n| work | at | ours: Vault | plugin | edge | sum | generator | built-in: Vault | generator |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, p := range r.Results {
		ours, builtIn := p.Ours.CPU, p.BuiltIn.CPU
		fmt.Fprintf(text, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.name(p), p.at(), digits(ours.Vault), digits(ours.Plugin), digits(ours.Edge),
			digits(ours.Vault+ours.Plugin+ours.Edge), digits(ours.Generator), digits(builtIn.Vault), digits(builtIn.Generator))
	}
}

// name returns what a work is called in tables.
func (r Report) name(p Result) string {
	switch p.Work {
	case batchWork:
		return fmt.Sprintf("batch of %d, each", r.Batch)
	case signWork, revokeWork:
		return "`" + p.Work + "`"
	case burstWork, beyondWork:
		return strings.Replace(p.Work, "issue", "`issue`", 1)
	}
	return p.Work
}

// encoderRow compares the CRL encoder with the standard library's, when the rooms
// were measured: a row of the results that needs no server.
func (r Report) encoderRow() string {
	find := func(name string) *Benchmark {
		at := slices.IndexFunc(r.Rooms, func(b Benchmark) bool { return b.Room == "crl" && b.Name == name })
		if at < 0 {
			return nil
		}
		return &r.Rooms[at]
	}
	ours, library := find("EncodeMillion"), find("StandardLibraryMillion")
	if ours == nil || library == nil {
		return ""
	}
	ratio := library.Figures["ns/op"] / ours.Figures["ns/op"]
	p := Result{Ratio: ratio, Target: 20}
	return fmt.Sprintf("| CRL of 1,000,000 | alone | %s, %s | `x509.CreateRevocationList` %s, %s | %s | %s | %s |\n",
		ours.figure("ns/op"), ours.figure("B/op"), library.figure("ns/op"), library.figure("B/op"), digits(ratio), p.target(), p.outcome())
}

func (r Result) at() string {
	unit := r.Unit
	if r.Setting == 1 {
		unit = strings.TrimSuffix(unit, "s")
	}
	return thousands(r.Setting) + " " + unit
}

// cell returns a measure as the results show it: a rate only where it is what counts.
func (m Measure) cell(judged string) string {
	latency := fmt.Sprintf("p50 %s ms, p99 %s", digits(m.P50), digits(m.P99))
	if judged == string(byRate) {
		return thousands(int(m.Rate+0.5)) + " /s, " + latency
	}
	return latency
}

func (r Result) target() string {
	if r.Target == 0 {
		return ""
	}
	return fmt.Sprintf("%g", r.Target)
}

func (r Result) outcome() string {
	switch {
	case r.Target == 0:
		return ""
	case r.Reached():
		return "reached"
	}
	return "missed"
}

func (f Figure) value() string {
	if f.Unit == "s" {
		return round(time.Duration(f.Value * float64(time.Second)).Round(time.Millisecond)).String()
	}
	return digits(f.Value) + " " + f.Unit
}

func (f Figure) limit() string {
	if f.Limit == 0 {
		return ""
	}
	return fmt.Sprintf("%g %s", f.Limit, f.Unit)
}

// digits leaves two or three digits that count.
func digits(value float64) string {
	switch {
	case value >= 1000:
		return thousands(int(value + 0.5))
	case value >= 10:
		return strconv.FormatFloat(value, 'f', 0, 64)
	case value >= 3:
		return strconv.FormatFloat(value, 'f', 1, 64)
	}
	if value > 0 && value < 0.1 {
		return strconv.FormatFloat(value, 'f', 3, 64)
	}
	return strconv.FormatFloat(value, 'f', 2, 64)
}

// thousands returns a number with commas.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
