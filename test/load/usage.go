package load

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is processor time, user and system, since the processes began.
type usage struct{ vault, plugin, edge, generator time.Duration }

func (u usage) plus(other usage) usage {
	return usage{u.vault + other.vault, u.plugin + other.plugin, u.edge + other.edge, u.generator + other.generator}
}

func (u usage) minus(other usage) usage {
	return usage{u.vault - other.vault, u.plugin - other.plugin, u.edge - other.edge, u.generator - other.generator}
}

// usage reads the processor time of all sides: on two cores they share, what
// each costs is what bounds the rate.
func (b *bench) usage() usage {
	now := usage{vault: processorTime(b.server.Process()), generator: processorTime(os.Getpid())}
	for _, id := range b.server.Children() {
		now.plugin += processorTime(id)
	}
	if b.edge != nil {
		now.edge = processorTime(b.edge.id())
	}
	return now
}

// tick is the unit of /proc, 1/USER_HZ, which is 100 on every Linux (proc_pid_stat(5)).
const tick = 10 * time.Millisecond

// processorTime returns 0 for a process that ended.
func processorTime(id int) time.Duration {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return 0
	}
	text := string(content)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const user, system = 11, 12 // utime and stime, counted from the state
	if len(fields) <= system {
		return 0
	}
	var ticks int
	for _, at := range []int{user, system} {
		value, err := strconv.Atoi(fields[at])
		if err != nil {
			return 0
		}
		ticks += value
	}
	return time.Duration(ticks) * tick
}
