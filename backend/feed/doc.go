// Package feed promises that a mount and its edges mean the same by what crosses the
// wire: the rows of the status feed in their compact form, and the answers under
// edge/ as the mount encodes and the edge decodes them. It decides nothing and
// reads no clock.
package feed
