package main

import (
	"os"
	"runtime/debug"
	"strconv"

	"github.com/hashicorp/vault/sdk/helper/pluginutil"
)

// The heap may grow by a quarter before the collector runs, and no less than
// garbageFloor octets. Rows of the ledger hold no pointers: walking them costs little,
// so a large mount need not keep as much garbage as it has certificates.
const (
	growth       = 25 // percent
	garbageFloor = 80 << 20
)

// reserve returns memory that is never touched, so it takes address space and no
// pages, but counts as heap. The heap of a mount without many certificates is so
// small that it would fill, and be walked, ten times a second under load, which cost
// a sixth of the processor time of a signature. Where memory is locked, untouched
// memory takes pages too: nothing is reserved then.
//
// It comes in pieces, because the runtime clears an allocation as a whole when a part of
// its addresses was in use before, and clearing touches pages.
func reserve() [][]byte {
	if locked, _ := strconv.ParseBool(os.Getenv(pluginutil.PluginMlockEnabled)); locked {
		return nil
	}
	debug.SetGCPercent(growth)
	const piece = 8 << 20
	pieces := make([][]byte, garbageFloor*100/growth/piece)
	for i := range pieces {
		pieces[i] = make([]byte, piece)
	}
	return pieces
}
