package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// memory is what processes have in memory, in MiB.
type memory struct {
	resident float64 // now
	peak     float64 // at most since the last resetPeak
}

// pluginMemory reads the memory of all plugin processes; there is one.
func (b *bench) pluginMemory() (memory, error) {
	var sum memory
	for _, id := range b.server.Children() {
		one, err := memoryOf(id)
		if err != nil {
			return memory{}, err
		}
		sum.resident += one.resident
		sum.peak += one.peak
	}
	if sum.resident == 0 {
		return memory{}, errors.New("reading the memory of the plugin: no such process")
	}
	return sum, nil
}

// memoryOf reads the memory of one process.
func memoryOf(id int) (memory, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", id))
	if err != nil {
		return memory{}, err
	}
	m, err := parseMemory(content)
	if err != nil {
		return memory{}, fmt.Errorf("reading the memory of process %d: %w", id, err)
	}
	return m, nil
}

// parseMemory reads VmRSS and VmHWM, see proc_pid_status(5): the unit is KiB.
func parseMemory(status []byte) (memory, error) {
	var m memory
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "VmRSS:" && fields[0] != "VmHWM:" {
			continue
		}
		value, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return memory{}, err
		}
		if fields[0] == "VmRSS:" {
			m.resident = value / 1024
		} else {
			m.peak = value / 1024
		}
	}
	if m.resident == 0 || m.peak == 0 {
		return memory{}, errors.New("no VmRSS or no VmHWM")
	}
	return m, nil
}

// resetPeak has the peak begin anew from what is resident, see proc_pid_clear_refs(5).
func (b *bench) resetPeak() error {
	for _, id := range b.server.Children() {
		if err := resetPeakOf(id); err != nil {
			return err
		}
	}
	return nil
}

func resetPeakOf(id int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", id), []byte("5"), 0)
}

// sawMemory notes what the plugin has in memory, and its peak since the last time.
func (h *holding) sawMemory(name string) error {
	m, err := h.pluginMemory()
	if err != nil {
		return err
	}
	h.sawBoth(name, m, 0)
	return h.resetPeak()
}

// sawBoth notes memory and its peak under a name that ends in "resident", with a limit
// of 0 for none.
func (h *holding) sawBoth(name string, m memory, limit float64) {
	h.saw(name, m.resident, "MiB", limit)
	h.saw(strings.ReplaceAll(name, "resident", "peak"), m.peak, "MiB", limit)
}
