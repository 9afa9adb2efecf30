package crl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"iter"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// task is one rebuild: what decides on the lists that it makes.
type task struct {
	*Service
	issuer    string
	rules     *rules
	authority *sign.Authority
	points    Points
	now       time.Time
	kept      map[string]time.Duration // retention by profile
	aside     []Aside                  // entries of the complete list that have no row
}

// task finds out what decides on the lists of an issuer now.
func (s *Service) task(ctx context.Context, issuer string) (*task, error) {
	r, err := s.rules(ctx)
	if err != nil {
		return nil, err
	}
	authority, err := s.config.Source.Authority(ctx, issuer)
	if err != nil {
		return nil, fmt.Errorf("finding the CA of issuer %s: %w", issuer, err)
	}
	points, err := s.config.Source.Points(ctx, issuer)
	if err != nil {
		return nil, fmt.Errorf("finding the URLs of issuer %s: %w", issuer, err)
	}
	return &task{
		Service: s, issuer: issuer, rules: r, authority: authority, points: points, now: s.config.Now(),
		kept: map[string]time.Duration{},
	}, nil
}

// ahead reports whether a list was made at a sequence number that the ledger has not
// reached: the clock was set back, the process started anew, and rows that changed since
// have lower numbers. Nothing can be said then of what the list lacks.
func (t *task) ahead(through uint64) bool { return through > t.config.Ledger.Sequence() }

// draft is the next edition of a list before it is signed. The ledger's view does not
// change between the walks over it.
type draft struct {
	list    List
	extent  extent
	entries iter.Seq[Entry]
	head    Head // what is not of the list itself: Through, Ended, Before
}

// draft returns an empty list that is issued now.
func (t *task) draft() *draft {
	d := &draft{entries: func(func(Entry) bool) {}}
	d.list.ThisUpdate, d.list.NextUpdate = t.rules.life(t.now)
	d.head.Made = t.now.UTC().Truncate(time.Second)
	if begin := t.authority.Certificate().NotBefore; d.list.ThisUpdate.Before(begin) && !d.head.Made.Before(begin) {
		d.list.ThisUpdate = begin.UTC() // no list is older than its CA
	}
	d.list.AnyKeyID = t.points.AnyKeyID
	return d
}

// revoked returns the revoked rows of the issuer, none when lists are disabled, and a
// sequence number up to which they are complete. Fails with Unavailable until the ledger
// is loaded (rev-3).
func (t *task) revoked() (rows iter.Seq[ledger.Row], through uint64, err error) {
	if t.rules.settings.Disable {
		return func(func(ledger.Row) bool) {}, 0, nil
	}
	through = t.config.Ledger.Sequence() // before the rows: they have it and perhaps more
	issuers, err := t.config.Source.Issuers(t.stop, t.issuer)
	if err == nil {
		rows, err = t.config.Ledger.Revoked(issuers...)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("reading revoked certificates of issuer %s: %w", t.issuer, err)
	}
	return rows, through, nil
}

// complete drafts the list of all revoked certificates; last is the one before it, or
// nil.
func (t *task) complete(ctx context.Context, last *Head) (*draft, error) {
	d := t.draft()
	rows, through, err := t.revoked()
	if err != nil {
		return nil, err
	}
	d.head.Through = through
	stays := t.stays(ctx, last)
	listed := func(yield func(ledger.Row) bool) {
		for row := range rows {
			if stays(&row) && !yield(row) {
				return
			}
		}
	}
	ended := 0
	counted := func(yield func(ledger.Row) bool) {
		for row := range listed {
			if row.NotAfter.Before(d.list.ThisUpdate) {
				ended++
			}
			if !yield(row) {
				return
			}
		}
	}
	ca := t.authority.Certificate()
	if d.extent, err = measure(t.withAside(entriesOf(counted, ca))); err != nil {
		return nil, fmt.Errorf("measuring the crl of issuer %s: %w", t.issuer, err)
	}
	d.entries, d.head.Ended, d.head.Aside = t.withAside(entriesOf(listed, ca)), ended, t.aside
	if t.rules.deltas() {
		d.list.Freshest, d.head.URLs = t.points.Delta, t.points.Delta
		d.head.Before = t.earlier(last)
	}
	return d, t.limit(d)
}

// limit refuses a list that config/crl finds too long.
func (t *task) limit(d *draft) error {
	if limit := t.rules.settings.MaxCRLEntries; limit > 0 && d.extent.entries > limit {
		return fault.FieldOf(fault.Conflict, "max_crl_entries", "issuer %s has %d revoked certificates, more than %d: its CRL is not rebuilt", t.issuer, d.extent.entries, limit)
	}
	return nil
}

// stays returns the rule that says whether a revoked certificate is on the list after
// last. One that has ended leaves when a list issued after its end has shown it (RFC
// 5280 section 3.3: an entry appears on one regularly scheduled CRL issued beyond the
// revoked certificate's validity period), unless it is kept longer.
func (t *task) stays(ctx context.Context, last *Head) func(*ledger.Row) bool {
	unknown := last == nil || t.ahead(last.Through)
	return func(row *ledger.Row) bool {
		if unknown || row.Sequence > last.Through || !row.NotAfter.Before(last.ThisUpdate) {
			return true
		}
		return !t.now.After(row.NotAfter.Add(t.retention(ctx, row.Profile)))
	}
}

// retention returns how long after its end a certificate stays on the list.
func (t *task) retention(ctx context.Context, profile string) time.Duration {
	kept, known := t.kept[profile]
	if known {
		return kept
	}
	kept, err := t.config.Source.Retention(ctx, profile)
	if err != nil {
		t.config.Log.Warn("how long revoked certificates stay on the CRL is not known: they stay", "profile", profile, "error", err)
		kept = maxDuration
	}
	kept = max(kept, t.rules.keep)
	t.kept[profile] = kept
	return kept
}

// entriesOf returns the CRL entries of revoked rows. The issuer's own certificate
// is left out (ca-4): a list signed by a key cannot revoke that key.
func entriesOf(rows iter.Seq[ledger.Row], ca *x509.Certificate) iter.Seq[Entry] {
	own := ownSerial(ca)
	return func(yield func(Entry) bool) {
		for row := range rows {
			if row.Serial != own && !yield(entryOf(&row)) {
				return
			}
		}
	}
}

// ownSerial returns the serial number of a self-issued CA, "" of any other.
func ownSerial(ca *x509.Certificate) cert.Serial {
	if bytes.Equal(ca.RawIssuer, ca.RawSubject) {
		return cert.SerialOf(ca.SerialNumber)
	}
	return ""
}

// entryOf returns the entry of a revoked certificate. A reason that a list cannot say
// must not keep the revocation off it.
func entryOf(row *ledger.Row) Entry {
	entry := Entry{Serial: row.Serial, RevokedAt: row.RevokedAt, Reason: row.Reason, InvalidityAt: row.Invalidity}
	if !listable(entry.Reason) {
		entry.Reason = cert.Unspecified
	}
	return entry
}

// sign makes an edition of the draft.
func (d *draft) sign(authority *sign.Authority) (*edition, error) {
	var der octets
	if err := encode(&der, authority, d.list, d.extent, d.entries); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(der)
	head := d.head
	head.ThisUpdate, head.NextUpdate = d.list.ThisUpdate, d.list.NextUpdate
	head.Entries, head.Size, head.Chunks, head.SHA256 = d.extent.entries, len(der), chunks(len(der)), digest[:]
	head.Base = d.list.Base.Big().Int64()
	return &edition{body: der, head: head}, nil
}

// octets is a writer that takes exactly the room that it is told to.
type octets []byte

// Grow makes room for n octets.
func (o *octets) Grow(n int) { *o = slices.Grow(*o, n) }

// Write implements io.Writer.
func (o *octets) Write(block []byte) (int, error) {
	*o = append(*o, block...)
	return len(block), nil
}
