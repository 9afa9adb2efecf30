// Package disk promises that what an edge has on disk is whole or not there: copies
// are written beside, synced and renamed, carry a checksum, and are refused and
// fetched anew when it does not fit. An edge that was killed at any point, or whose
// disk lost what was written last, starts with an older truth, which it knows to be
// older, or with none.
package disk
