package main

// heapFloor is how many octets of garbage the engine may make, at least, before the
// collector runs.
const heapFloor = 64 << 20

// reserve returns memory that is never touched, so it takes address space and no
// pages. The collector runs when the heap has doubled; that of a mount without many
// certificates is so small that it would double, and be walked, ten times a second
// under load, which cost a sixth of the processor time of a signature. Unlike a larger
// GOGC this adds a constant to what a large heap may grow to, not a multiple of it.
func reserve() []byte { return make([]byte, heapFloor) }
