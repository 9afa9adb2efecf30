package ledger

import "slices"

// at returns the row whose text is at a place, to be changed; nil for place 0.
func (t *table) at(place uint32) *row {
	if place == 0 {
		return nil
	}
	v := t.view()
	at, i, found := v.find(v.texts.serial(place))
	if !found {
		return nil
	}
	return &t.own(at).rows[i]
}

// stamp notes which segment has a row; nothing happens when the row is not there.
func (t *table) stamp(serial string, segment uint32) {
	v := t.view()
	if at, i, found := v.find(serial); found {
		t.own(at).rows[i].segment = segment
	}
}

// remove forgets a row; nothing happens when it is not there.
func (t *table) remove(serial string) {
	v := t.view()
	at, i, found := v.find(serial)
	if !found {
		return
	}
	t.unlink(&v.leaves[at].rows[i])
	l := t.own(at)
	r := l.rows[i]
	l.tally(&r, -1)
	t.count--
	t.arena.drop(int(r.serialLen), int(r.nameLen))
	l.rows = slices.Delete(l.rows, i, i+1)
	if len(l.rows) == 0 {
		t.leaves = slices.Delete(t.leaves, at, at+1)
		return
	}
	if i == 0 {
		l.low = v.serial(&l.rows[0])
	}
	t.merge(at)
}

// unlink takes a row out of the list of those with its key.
func (t *table) unlink(r *row) {
	older, newer := t.at(r.olderKey), t.at(r.newerKey)
	if older != nil {
		older.newerKey = r.newerKey
	}
	texts := t.arena.view()
	switch hash := texts.keyHash(r.text); {
	case newer != nil:
		newer.olderKey = r.olderKey
	case r.olderKey != 0:
		t.byKey[hash] = r.olderKey
	default:
		delete(t.byKey, hash)
		delete(t.keys, hash)
	}
}

// merge joins a leaf with the one behind it when both together are half a leaf, so
// that removals do not leave a long list of almost empty leaves.
func (t *table) merge(at int) {
	if at == len(t.leaves)-1 || len(t.leaves[at].rows)+len(t.leaves[at+1].rows) > leafRows/2 {
		return
	}
	l, right := t.own(at), t.leaves[at+1]
	l.rows = append(l.rows, right.rows...)
	l.revoked += right.revoked
	l.fresh += right.fresh
	l.high = max(l.high, right.high)
	t.leaves = slices.Delete(t.leaves, at+1, at+2)
}

// shrink gives back the memory of texts whose rows are gone, once they are the greater
// part. The rows are copied beside their readers and writers: what changed meanwhile
// is in leaves that are no longer the copied ones, and is copied after that. The
// caller holds maintenance, so no row is removed meanwhile.
func (l *Ledger) shrink() {
	l.mu.Lock()
	if !l.state.table.arena.wasteful() {
		l.mu.Unlock()
		return
	}
	before := l.state.table.freeze()
	l.mu.Unlock()
	var next table
	for _, leaf := range before.leaves {
		next.copy(&before, leaf)
	}
	known := make(map[*leaf]bool, len(before.leaves))
	for _, leaf := range before.leaves {
		known[leaf] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.state.table.view()
	for _, leaf := range now.leaves {
		if !known[leaf] {
			next.copy(&now, leaf)
		}
	}
	l.state.table = next
}

// copy puts the rows of another table's leaf.
func (t *table) copy(v *view, from *leaf) {
	for i := range from.rows {
		r := &from.rows[i]
		wide := v.wide(r)
		t.put(&wide, marks(r.state)&^reasonBits, r.segment)
	}
}
