package load

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Benchmark is one line of `go test -bench`: a room measured by itself.
type Benchmark struct {
	Room    string             `json:"room"`
	Name    string             `json:"name"`
	Figures map[string]float64 `json:"figures"` // by unit, such as "ns/op"
}

// ReadRooms reads the output of `go test -bench`. Of a benchmark that ran several
// times it keeps the median of each figure, of an even number the lower one.
func ReadRooms(output io.Reader) ([]Benchmark, error) {
	type series struct {
		Benchmark
		seen map[string][]float64
	}
	var (
		all  []*series
		room string
	)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 2 && fields[0] == "pkg:" {
			room = path.Base(fields[1])
		}
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if dash := strings.LastIndexByte(name, '-'); dash > 0 {
			name = name[:dash] // GOMAXPROCS
		}
		at := slices.IndexFunc(all, func(s *series) bool { return s.Room == room && s.Name == name })
		if at < 0 {
			at = len(all)
			all = append(all, &series{Benchmark{Room: room, Name: name, Figures: map[string]float64{}}, map[string][]float64{}})
		}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("reading benchmark %s of %s: %w", name, room, err)
			}
			all[at].seen[fields[i+1]] = append(all[at].seen[fields[i+1]], value)
		}
	}
	found := make([]Benchmark, 0, len(all))
	for _, s := range all {
		for unit, values := range s.seen {
			slices.Sort(values)
			s.Figures[unit] = values[(len(values)-1)/2]
		}
		found = append(found, s.Benchmark)
	}
	return found, lines.Err()
}

// figure returns a figure in a readable size, "-" for none.
func (b Benchmark) figure(unit string) string {
	value, ok := b.Figures[unit]
	switch {
	case !ok:
		return "-"
	case unit == "ns/op":
		return round(time.Duration(value)).String()
	case unit == "B/op" && value >= 1<<20:
		return fmt.Sprintf("%.1f MiB", value/(1<<20))
	case unit == "B/op":
		return fmt.Sprintf("%.1f KiB", value/(1<<10))
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

// others returns the figures that have no column of their own.
func (b Benchmark) others() string {
	var texts []string
	for unit, value := range b.Figures {
		if !slices.Contains([]string{"ns/op", "B/op", "allocs/op"}, unit) {
			texts = append(texts, fmt.Sprintf("%.4g %s", value, unit))
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

// round leaves about four digits.
func round(d time.Duration) time.Duration {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 10000*unit {
			return d.Round(unit)
		}
	}
}
