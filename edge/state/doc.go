// Package state promises what an edge knows in one immutable snapshot: the rows of
// all certificates that can still matter, in 32 octets each, and the issuers with
// their lists. Whoever holds a snapshot sees one moment, whatever arrives meanwhile.
package state
