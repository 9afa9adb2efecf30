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

// memory is what the plugin's processes have in memory, in MiB.
type memory struct {
	resident float64 // now
	peak     float64 // at most since the last resetPeak
}

// pluginMemory reads the memory of all plugin processes; there is one.
func (b *bench) pluginMemory() (memory, error) {
	var sum memory
	for _, id := range b.server.Children() {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", id))
		if err != nil {
			return memory{}, err
		}
		one, err := parseMemory(content)
		if err != nil {
			return memory{}, fmt.Errorf("reading the memory of process %d: %w", id, err)
		}
		sum.resident += one.resident
		sum.peak += one.peak
	}
	if sum.resident == 0 {
		return memory{}, errors.New("reading the memory of the plugin: no such process")
	}
	return sum, nil
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
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", id), []byte("5"), 0); err != nil {
			return err
		}
	}
	return nil
}

// sawMemory notes what the plugin has in memory, and its peak since the last time.
func (h *holding) sawMemory(name string) error {
	m, err := h.pluginMemory()
	if err != nil {
		return err
	}
	h.saw(name, m.resident, "MiB", 0)
	h.saw(strings.ReplaceAll(name, "resident", "peak"), m.peak, "MiB", 0)
	return h.resetPeak()
}
