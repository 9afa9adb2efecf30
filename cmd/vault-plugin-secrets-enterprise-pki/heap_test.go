package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/stretchr/testify/require"
)

// The reserve counts for the collector and takes no memory.
func TestReserveTakesNoPages(t *testing.T) {
	before := resident(t)
	reserved := reserve()
	var statistics runtime.MemStats
	runtime.ReadMemStats(&statistics)
	require.GreaterOrEqual(t, statistics.HeapAlloc, uint64(garbageFloor*100/growth))
	require.Less(t, resident(t)-before, garbageFloor/2)
	runtime.KeepAlive(reserved)
}

func TestNothingIsReservedWhereMemoryIsLocked(t *testing.T) {
	t.Setenv(pluginutil.PluginMlockEnabled, "true")
	require.Empty(t, reserve())
}

// resident returns the octets of this process that are in memory.
func resident(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	pages, err := strconv.Atoi(strings.Fields(string(content))[1])
	require.NoError(t, err)
	return pages * os.Getpagesize()
}
