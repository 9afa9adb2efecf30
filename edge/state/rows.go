package state

import (
	"bytes"
	"cmp"
	"iter"
	"maps"
	"math"
	"slices"
	"sort"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

// entry is a row in 32 octets and without a pointer, so that the collector passes over
// a million of them. What no answer says is left out: the date of invalidity, and the
// sequence number.
type entry struct {
	serial   [cert.MaxSerialOctets]byte // right-aligned
	issuer   uint16                     // place in Rows.issuers
	reason   uint8
	revoked  uint32 // seconds since 1970, 0: good
	notAfter uint32 // seconds since 1970, the largest: never or not stated
}

// order is that of the entries in a shard. Several issuers may have given out one
// serial number, so both make the key.
func order(a, b *entry) int {
	if c := bytes.Compare(a.serial[:], b.serial[:]); c != 0 {
		return c
	}
	return cmp.Compare(a.issuer, b.issuer)
}

// A set has up to 16,384 shards in groups of 128. With a million rows in it a change of
// one copies a shard of 2 KiB, its group and the list of groups: 7 KiB; one of 8,192,
// a page of the status feed, a third of all.
const (
	shardBits  = 14
	groupBits  = 7
	groupCount = 1 << (shardBits - groupBits)
)

// group is a part of the shards, nil where no row belongs.
type group [1 << groupBits][]entry

// shard returns where an entry belongs: FNV-1a of its serial number, since serial
// numbers of others may be anything.
func (e *entry) shard() int {
	hash := uint32(2166136261)
	for _, octet := range e.serial {
		hash = (hash ^ uint32(octet)) * 16777619
	}
	return int((hash ^ hash>>16) & (1<<shardBits - 1))
}

// Rows is an immutable set of rows: one for each serial number of an issuer.
type Rows struct {
	groups  [groupCount]*group // nil: empty
	issuers []string
	places  map[string]uint16 // of issuers
	count   int
}

// NoRows returns the empty set.
func NoRows() *Rows {
	return &Rows{places: map[string]uint16{}}
}

// Len returns how many rows there are.
func (r *Rows) Len() int { return r.count }

// Find returns the row of a serial number of an issuer.
func (r *Rows) Find(issuer string, serial cert.Serial) (feed.Row, bool) {
	place, known := r.places[issuer]
	if !known || len(serial) == 0 || len(serial) > cert.MaxSerialOctets {
		return feed.Row{}, false
	}
	wanted := entry{issuer: place}
	copy(wanted.serial[len(wanted.serial)-len(serial):], serial)
	shard := r.shard(wanted.shard())
	at := sort.Search(len(shard), func(i int) bool { return order(&shard[i], &wanted) >= 0 })
	if at == len(shard) || order(&shard[at], &wanted) != 0 {
		return feed.Row{}, false
	}
	return shard[at].row(issuer, serial), true
}

// shard returns a shard by its number.
func (r *Rows) shard(number int) []entry {
	if g := r.groups[number>>groupBits]; g != nil {
		return g[number&(1<<groupBits-1)]
	}
	return nil
}

// own returns the place of a shard in a set that is being made, in a group that before
// does not share.
func (r *Rows) own(number int, before *Rows) *[]entry {
	at := number >> groupBits
	switch g := r.groups[at]; {
	case g == nil:
		r.groups[at] = new(group)
	case g == before.groups[at]:
		copied := *g
		r.groups[at] = &copied
	}
	return &r.groups[at][number&(1<<groupBits-1)]
}

// With returns the set with rows put in, the last one of several for a serial number,
// in place of those that were there. Invalid, without an effect, for a serial number
// that no certificate can have.
func (r *Rows) With(rows []feed.Row) (*Rows, error) {
	if len(rows) == 0 {
		return r, nil
	}
	copied := *r
	next := &copied
	changes := make([]change, len(rows))
	for i := range rows {
		var err error
		if changes[i], err = next.change(&rows[i]); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.shard, b.shard), order(&a.entry, &b.entry)) })
	for len(changes) > 0 {
		shard := changes[0].shard
		end := sort.Search(len(changes), func(i int) bool { return changes[i].shard > shard })
		place := next.own(shard, r)
		merged := merge(*place, changes[:end])
		next.count += len(merged) - len(*place)
		*place, changes = merged, changes[end:]
	}
	return next, nil
}

// change is an entry that is to be put into a shard.
type change struct {
	shard int
	entry entry
}

// change packs a row, whose issuer becomes known if it was not.
func (r *Rows) change(row *feed.Row) (change, error) {
	place, err := r.place(row.Issuer)
	if err != nil {
		return change{}, err
	}
	packed, err := pack(row, place)
	return change{packed.shard(), packed}, err
}

// place returns the number of an issuer, a new one if need be.
func (r *Rows) place(issuer string) (uint16, error) {
	if place, known := r.places[issuer]; known {
		return place, nil
	}
	if len(r.issuers) > math.MaxUint16 {
		return 0, fault.New(fault.TooLarge, "a mount has at most %d issuers", math.MaxUint16+1)
	}
	place := uint16(len(r.issuers))
	r.issuers = append(slices.Clip(r.issuers), issuer)
	r.places = maps.Clone(r.places)
	r.places[issuer] = place
	return place, nil
}

func pack(row *feed.Row, issuer uint16) (entry, error) {
	if len(row.Serial) == 0 || len(row.Serial) > cert.MaxSerialOctets || row.Serial[0] == 0 {
		return entry{}, fault.New(fault.Invalid, "a serial number must have 1 to %d bytes and no leading zeros, not %x", cert.MaxSerialOctets, string(row.Serial))
	}
	e := entry{issuer: issuer, notAfter: math.MaxUint32}
	if !row.NotAfter.IsZero() {
		e.notAfter = seconds(row.NotAfter)
	}
	copy(e.serial[len(e.serial)-len(row.Serial):], row.Serial)
	if row.State != feed.Good {
		// Whatever a clock said: what is revoked does not become good.
		e.revoked, e.reason = max(seconds(row.RevokedAt), 1), uint8(row.Reason)
	}
	return e, nil
}

// seconds returns a time as an entry holds it, the nearest that it can hold.
func seconds(t time.Time) uint32 { return uint32(min(max(t.Unix(), 0), math.MaxUint32)) }

// merge returns a sorted shard with sorted changes put in; of changes with one key the
// last one stays.
func merge(before []entry, changes []change) []entry {
	merged := make([]entry, 0, len(before)+len(changes))
	for i := range changes {
		change := &changes[i].entry
		if i < len(changes)-1 && order(change, &changes[i+1].entry) == 0 {
			continue
		}
		at := sort.Search(len(before), func(i int) bool { return order(&before[i], change) >= 0 })
		merged, before = append(merged, before[:at]...), before[at:]
		if len(before) > 0 && order(&before[0], change) == 0 {
			before = before[1:]
		}
		merged = append(merged, *change)
	}
	merged = append(merged, before...)
	if len(merged) < cap(merged) {
		return slices.Clone(merged) // rows were replaced: give back what is not used
	}
	return merged
}

// Without returns the set without the rows of certificates that ended before a time.
func (r *Rows) Without(ended time.Time) *Rows {
	limit := seconds(ended)
	gone := func(e entry) bool { return e.notAfter < limit }
	next := &Rows{issuers: r.issuers, places: r.places}
	next.groups = r.groups
	for number := range 1 << shardBits {
		shard := r.shard(number)
		if slices.ContainsFunc(shard, gone) {
			kept := make([]entry, 0, len(shard))
			for _, e := range shard {
				if !gone(e) {
					kept = append(kept, e)
				}
			}
			shard = slices.Clone(kept)
			*next.own(number, r) = shard
		}
		next.count += len(shard)
	}
	return next
}

// All yields every row, in no order that means anything.
func (r *Rows) All() iter.Seq[feed.Row] {
	return func(yield func(feed.Row) bool) {
		for number := range 1 << shardBits {
			shard := r.shard(number)
			for i := range shard {
				serial := cert.Serial(bytes.TrimLeft(shard[i].serial[:], "\x00"))
				if !yield(shard[i].row(r.issuers[shard[i].issuer], serial)) {
					return
				}
			}
		}
	}
}

// row is the inverse of pack.
func (e *entry) row(issuer string, serial cert.Serial) feed.Row {
	row := feed.Row{Serial: serial, Issuer: issuer, State: feed.Good}
	if e.notAfter != math.MaxUint32 {
		row.NotAfter = time.Unix(int64(e.notAfter), 0).UTC()
	}
	if e.revoked != 0 {
		row.State, row.Reason, row.RevokedAt = feed.Revoked, cert.Reason(e.reason), time.Unix(int64(e.revoked), 0).UTC()
	}
	return row
}
