package ledger

import (
	"iter"
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// keyNote says what may be true of the rows that have a key.
type keyNote uint8

const (
	compromisedKey keyNote = 1 << iota // one was revoked because the key is compromised
	sharedKey                          // not all have the same owner
	mixedKey                           // not all have the same profile
)

// keyNotes holds the notes of the few keys that have any. Without a note the thing is
// not so; with one it was so once, and the rows say whether it is. So the questions of
// every request cost the same however many certificates a key has.
type keyNotes map[[hashLength]byte]keyNote

// compare makes the notes for a row that is put: known is the row that it replaces, or
// else any other with its key, nil for none.
func (n *keyNotes) compare(hash [hashLength]byte, known, r *row) {
	var note keyNote
	if r.compromised() {
		note = compromisedKey
	}
	if known != nil && known.owner != r.owner {
		note |= sharedKey
	}
	if known != nil && known.profile != r.profile {
		note |= mixedKey
	}
	if note == 0 {
		return
	}
	if *n == nil {
		*n = keyNotes{}
	}
	(*n)[hash] |= note
}

// compromised reports whether the row says that its key is compromised, be it of an
// end entity, a CA or an attribute authority.
func (r *row) compromised() bool {
	switch cert.Reason(r.state & reasonBits) {
	case cert.KeyCompromise, cert.CACompromise, cert.AACompromise:
		return r.revokedAt != 0
	}
	return false
}

// live reports whether the certificate is in force or can be again.
func (r *row) live(at uint64) bool {
	return r.notAfter >= at && (r.revokedAt == 0 || cert.Reason(r.state&reasonBits) == cert.CertificateHold)
}

// withKey iterates over the rows that have a key hash, in no order. The table must not
// change meanwhile.
func (t *table) withKey(hash [hashLength]byte) iter.Seq[*row] {
	return func(yield func(*row) bool) {
		v := t.view()
		for place := t.byKey[hash]; place != 0; {
			r, found := v.get(v.texts.serial(place))
			if !found || !yield(r) {
				return
			}
			place = r.olderKey
		}
	}
}

// Compromised returns the serial number of a certificate that was revoked because this
// key was compromised, "" when there is none. Rows keep 64 bits of the fingerprint: who
// must be certain compares the record. Unavailable until loaded.
func (l *Ledger) Compromised(key cert.Fingerprint) (cert.Serial, error) {
	if err := l.questionable(); err != nil {
		return "", err
	}
	hash := [hashLength]byte(key[:hashLength])
	l.mu.RLock()
	defer l.mu.RUnlock()
	t := &l.state.table
	if t.keys[hash]&compromisedKey == 0 {
		return "", nil
	}
	for r := range t.withKey(hash) {
		if r.compromised() {
			v := t.view()
			return cert.Serial(v.serial(r)), nil
		}
	}
	return "", nil
}

// OtherOwner reports whether a certificate with this key has another owner than the
// one given; a fingerprint is compared as Compromised does. Unavailable until loaded.
func (l *Ledger) OtherOwner(key cert.Fingerprint, owner string) (bool, error) {
	if err := l.questionable(); err != nil {
		return false, err
	}
	hash := [hashLength]byte(key[:hashLength])
	l.mu.RLock()
	defer l.mu.RUnlock()
	t := &l.state.table
	for r := range t.withKey(hash) {
		if t.words.list[r.owner] != owner {
			return true, nil
		}
		if t.keys[hash]&sharedKey == 0 {
			return false, nil // as are all others
		}
	}
	return false, nil
}

// KeyProfiles returns the profiles, as records name them, of the certificates with this
// key that have neither expired nor been revoked for good: none for a key that is new
// here, at the cost of one look-up. A fingerprint is compared as Compromised does.
// Unavailable until loaded.
func (l *Ledger) KeyProfiles(key cert.Fingerprint) ([]string, error) {
	if err := l.questionable(); err != nil {
		return nil, err
	}
	hash, now := [hashLength]byte(key[:hashLength]), seconds(l.now())
	l.mu.RLock()
	defer l.mu.RUnlock()
	t := &l.state.table
	var profiles []string
	for r := range t.withKey(hash) {
		name := t.words.list[r.profile]
		if !r.live(now) || slices.Contains(profiles, name) {
			continue
		}
		profiles = append(profiles, name)
		if t.keys[hash]&mixedKey == 0 {
			break // as are all others
		}
	}
	return profiles, nil
}

// ByKey iterates over rows whose certificate has this public key, in the order of
// serials: none for a key that is new here, at the cost of one look-up. A fingerprint is
// compared as Compromised does. Unavailable until loaded.
func (l *Ledger) ByKey(key cert.Fingerprint) (iter.Seq[Row], error) {
	if err := l.questionable(); err != nil {
		return nil, err
	}
	rows := l.rowsWithKey([hashLength]byte(key[:hashLength]))
	if len(rows) == 0 {
		return func(func(Row) bool) {}, nil
	}
	slices.SortFunc(rows, func(a, b Row) int { return compare(string(a.Serial), string(b.Serial)) })
	return slices.Values(rows), nil
}

func (l *Ledger) rowsWithKey(hash [hashLength]byte) (rows []Row) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	v := l.state.table.view()
	for r := range l.state.table.withKey(hash) {
		rows = append(rows, v.wide(r))
	}
	return rows
}
