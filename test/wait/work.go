package wait

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ended returns the processor time of children that have ended.
func ended() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// spent returns what of work the calling thread has done itself, and children that have
// ended. The caller is locked to its thread.
func spent() time.Duration { return ended() + scheduled("/proc/thread-self/schedstat") }

// work returns how long this process and its descendants have run or waited for a
// processor. Processes that ended in between take theirs with them: work may shrink.
func work() time.Duration {
	total := ended()
	for _, id := range family(os.Getpid()) {
		threads, _ := os.ReadDir("/proc/" + id + "/task") // a process may end at any time
		for _, thread := range threads {
			total += scheduled("/proc/" + id + "/task/" + thread.Name() + "/schedstat")
		}
	}
	return total
}

// scheduled reads how long a thread has run and how long it was ready to run, both in
// nanoseconds (Documentation/scheduler/sched-stats.rst of Linux).
func scheduled(file string) time.Duration {
	raw, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	var sum time.Duration
	for i, field := range strings.Fields(string(raw)) {
		if n, err := strconv.ParseInt(field, 10, 64); err == nil && i < 2 {
			sum += time.Duration(n)
		}
	}
	return sum
}

// family returns the ids of a process and of all that descend from it.
func family(root int) []string {
	parents := map[string]string{}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		if name := entry.Name(); name[0] >= '1' && name[0] <= '9' {
			if raw, err := os.ReadFile("/proc/" + name + "/stat"); err == nil {
				// The second field is a name in parentheses; it may hold anything.
				if fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:])); len(fields) > 1 {
					parents[name] = fields[1]
				}
			}
		}
	}
	found := []string{strconv.Itoa(root)}
	for at := 0; at < len(found); at++ {
		for child, parent := range parents {
			if parent == found[at] {
				found = append(found, child)
			}
		}
	}
	return found
}
