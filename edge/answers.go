package edge

import (
	"slices"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/backend/ocsp"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

// known is what an ocsp.Answerer asks about a mirror's newest snapshot: it is
// ocsp.Issuers and ocsp.States.
type known struct {
	snapshot func() *state.Snapshot
	now      func() time.Time
	asked    atomic.Pointer[asked]
}

// asked are the issuers that may be asked about, with what they were made of.
type asked struct {
	from []*state.Issuer
	list []ocsp.Issuer
}

// Issuers returns the issuers that are answered for: the same slice until others come.
func (k *known) Issuers() []ocsp.Issuer {
	issuers := k.snapshot().Issuers
	if issuers == nil {
		return nil
	}
	if last := k.asked.Load(); last != nil && slices.Equal(last.from, issuers) {
		return last.list
	}
	made := &asked{from: issuers, list: []ocsp.Issuer{}}
	for _, issuer := range issuers {
		if issuer.OCSP {
			made.list = append(made.list, ocsp.Issuer{ID: issuer.ID, DER: issuer.Certificate.Raw})
		}
	}
	k.asked.Store(made)
	return made.list
}

// Loaded reports whether what is known is whole and not staler than it may be (rev-3).
func (k *known) Loaded() bool { return k.snapshot().Current(k.now()) }

// State returns what is known of a certificate.
func (k *known) State(issuer string, serial cert.Serial) (ocsp.CertStatus, bool, error) {
	row, found := k.snapshot().Rows.Find(issuer, serial) // rows stay, once they were Loaded
	if !found {
		return ocsp.CertStatus{}, false, nil
	}
	if row.State == feed.Good {
		return ocsp.CertStatus{State: ocsp.Good}, true, nil
	}
	return ocsp.CertStatus{State: ocsp.Revoked, Reason: row.Reason, RevokedAt: row.RevokedAt}, true, nil
}

// settings returns how the mount wants OCSP to be answered.
func settings(from feed.OCSP) ocsp.Settings {
	return ocsp.Settings{
		Disabled: from.Disabled, Expiry: time.Duration(from.Expiry) * time.Second, Backdate: time.Duration(from.Backdate) * time.Second,
		NeverIssued: ocsp.NeverIssued(from.NeverIssued), NoNonce: !from.Nonce, NoSHA1: !from.SHA1,
		ArchiveCutoff: time.Duration(from.ArchiveCutoff) * time.Second,
	}
}
