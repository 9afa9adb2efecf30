package ledger

import (
	"context"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Revoke marks the certificate as revoked: 1 Get and at most 2 Puts, whatever the
// number of revoked certificates. Revoking what is revoked already changes nothing
// and returns the record as it is with changed false; only a suspension, which is
// what
// certificateHold makes, gives way to another reason and keeps its date.
// It works while rows load. NotFound when there is no record.
//
// After an error the certificate may be revoked or not; revoking again is safe, and
// answers changed if this ledger did not know yet.
//
// Two certificates of one page may be revoked at the same time: the page's lock,
// held from Get to Put, lets neither write over the other.
func (l *Ledger) Revoke(ctx context.Context, serial cert.Serial, r Revocation) (record *Record, changed bool, err error) {
	return l.RevokeIf(ctx, serial, r, func(*Record) error { return nil })
}

// RevokeIf is Revoke for a record that check lets pass: it is asked once, about the
// record as stored, between the Get and the first Put, and its error is returned. It
// holds up other writes of the page and must not call the ledger.
func (l *Ledger) RevokeIf(ctx context.Context, serial cert.Serial, r Revocation, check func(*Record) error) (record *Record, changed bool, err error) {
	r.At, r.InvalidityAt = whole(r.At), whole(r.InvalidityAt)
	if err := r.check(); err != nil {
		return nil, false, err
	}
	return l.amendOne(ctx, serial, func(stored *Record) (bool, error) {
		if err := check(stored); err != nil {
			return false, err
		}
		return stored.revoke(r), nil
	})
}

// RevokePage revokes many certificates of one page: 1 Get and at most 2 Puts, however
// many they are. admit is asked about each that is not revoked for good, under the
// terms of RevokeIf, and says whether it is revoked; its error ends the call with
// nothing changed. Serials without a record are passed over.
//
// It returns the rows whose status is news, as they are now. After an error some or
// all of them may be revoked: calling again is safe.
func (l *Ledger) RevokePage(ctx context.Context, serials []cert.Serial, r Revocation, admit func(*Record) (bool, error)) ([]Row, error) {
	r.At, r.InvalidityAt = whole(r.At), whole(r.InvalidityAt)
	if err := r.check(); err != nil || len(serials) == 0 {
		return nil, err
	}
	id, ours := pageIDOf(serials[0])
	for _, serial := range serials {
		if !ours || !id.holds(serial) {
			return nil, fault.New(fault.Internal, "certificate %s is not on the page of %s", serial, serials[0])
		}
	}
	done, err := l.amend(ctx, id, serials, func(stored *Record) (bool, error) {
		if stored.Revocation.Final() {
			return false, nil
		}
		if admitted, err := admit(stored); err != nil || !admitted {
			return false, err
		}
		return stored.revoke(r), nil
	})
	return done.news, err
}

// Resume ends the suspension of a certificate that check lets pass, see RevokeIf: 1 Get
// and at most 2 Puts. Resuming what was resumed changes nothing. Conflict when the
// certificate is not on hold: no other revocation ends (RFC 5280 section 5.3.1).
func (l *Ledger) Resume(ctx context.Context, serial cert.Serial, at time.Time, check func(*Record) error) (record *Record, changed bool, err error) {
	return l.amendOne(ctx, serial, func(stored *Record) (bool, error) {
		if err := check(stored); err != nil {
			return false, err
		}
		switch {
		case stored.Revocation.Final():
			return false, fault.New(fault.Conflict, "certificate %s is revoked (%s), not suspended; that is for good", serial, stored.Revocation.Reason)
		case stored.Revocation != nil:
			stored.Revocation, stored.Resumed = nil, whole(at)
			return true, nil
		case stored.Resumed.IsZero():
			return false, fault.New(fault.Conflict, "certificate %s is not suspended", serial)
		}
		return false, nil
	})
}

// Final reports whether there is a revocation that never ends: any but a suspension.
func (r *Revocation) Final() bool { return r != nil && r.Reason != cert.CertificateHold }

// revoke completes the record unless it is revoked already, and reports whether it did.
//
// A suspension gives way to a final revocation, which keeps the date of the hold: so
// X.509 has it (Rec. ITU-T X.509, extension reasonCode), and a signature made on hold
// stays invalid. What the new revocation does not say is kept too.
func (r *Record) revoke(with Revocation) bool {
	if held := r.Revocation; held != nil {
		if held.Final() || !with.Final() {
			return false
		}
		with.At = held.At
		if with.InvalidityAt.IsZero() {
			with.InvalidityAt = held.InvalidityAt
		}
		if with.Comment == "" {
			with.Comment = held.Comment
		}
	}
	r.Revocation, r.Resumed = &with, time.Time{}
	return true
}

// status returns the reason of what became of a row, removeFromCRL for one that is not
// revoked (any more).
func (r *Row) status() cert.Reason {
	if r.RevokedAt.IsZero() {
		return cert.RemoveFromCRL
	}
	return r.Reason
}
