// Package ceremony promises that an offline root key signs nothing unseen: every
// value comes from an order file in which an unknown key is fatal, everything that
// can be refused is refused before a key exists or signs, the intent to sign is on
// disk before the signature, no file is ever overwritten, and what was written is
// read back and verified before the ceremony calls itself done.
//
// Each thing that is done or seen is a Step. A full ceremony (a plan, its
// participants and their quorum, a transcript of hash-chained steps, the sealed
// bundle) is built around this room: a Step is one line of that transcript, and the
// Record of this package is where the root ledger begins.
package ceremony
