package fsck

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// book is what segments and markers say, to be held against the pages.
type book struct {
	rows     map[cert.Serial]ledger.Row // the newest of each serial in a segment
	complete uint32                     // hour up to which the newest segment claims to be complete
	horizon  ledger.Horizon             // what was removed
	marked   map[cert.Serial]bool       // named by a dirty marker
	led      map[string]bool            // pages, by key, of which a marker names a certificate
	paged    map[cert.Serial]bool       // has a record with a certificate
	profiles map[string]string          // profile version that certificates remember -> key of one of them
	pages    map[string]cert.Serial     // one certificate with a row by page key; nil until asked
}

// segments reads every segment and keeps the newest row of each serial.
func (c *checker) segments() error {
	c.book = book{rows: map[cert.Serial]ledger.Row{}, marked: map[cert.Serial]bool{}, led: map[string]bool{}, paged: map[cert.Serial]bool{}, profiles: map[string]string{}}
	names, err := c.list(layout.Segment)
	if err != nil {
		return err
	}
	for _, name := range names {
		key := layout.Segment + name
		raw, err := c.get(key)
		if err != nil {
			return err
		}
		if _, ok := ledger.ParseSegmentKey(key); !ok {
			c.broken(key, "is not named like a segment")
			continue
		}
		segment, err := ledger.DecodeSegment(raw)
		if err != nil {
			c.broken(key, "%v", err)
			continue
		}
		c.report.Segments++
		c.book.complete = segment.Complete // listed in the order of their numbers
		for _, row := range segment.Rows {
			c.passed(ledger.SequenceTime(row.Sequence))
			if old, found := c.book.rows[row.Serial]; !found || row.Sequence > old.Sequence {
				c.book.rows[row.Serial] = row
			} else if row.Sequence == old.Sequence && row != old {
				c.broken(key, "row %s differs from one with the same sequence number %d", row.Serial, row.Sequence)
			}
		}
		c.zone(key, &segment)
	}
	c.report.Rows = len(c.book.rows)
	return nil
}

// zone checks that a segment's zone map covers its rows: one that does not would
// make a search pass over them.
func (c *checker) zone(key string, segment *ledger.Segment) {
	z, revoked := segment.Zone, 0
	for _, row := range segment.Rows {
		hour, _ := ledger.Hour(row.Serial)
		expiry := uint64(row.NotAfter.Unix() - time.Time{}.Unix())
		if hour < z.FirstHour || hour > z.LastHour || expiry < z.FirstExpiry || expiry > z.LastExpiry ||
			row.Sequence < z.FirstSequence || row.Sequence > z.LastSequence {
			c.broken(key, "row %s is outside of the zone map", row.Serial)
		}
		if !row.RevokedAt.IsZero() {
			revoked++
		}
	}
	if revoked != z.Revoked {
		c.broken(key, "the zone map counts %d revoked rows of %d", z.Revoked, revoked)
	}
}

// markers reads the dirty markers.
func (c *checker) markers() error {
	names, err := c.list(layout.Dirty)
	if err != nil {
		return err
	}
	for _, name := range names {
		key := layout.Dirty + name
		serial, ok := ledger.ParseDirtyKey(key)
		if !ok {
			c.broken(key, "is not named like a dirty marker")
			continue
		}
		c.report.Markers++
		c.book.marked[serial] = true
		page, _ := ledger.PageKey(serial)
		c.book.led[page] = true
	}
	return nil
}

// pages reads every page and holds it against rows and markers.
func (c *checker) pages() error {
	hours, err := c.list(layout.Page)
	if err != nil {
		return err
	}
	for _, hour := range hours {
		if !strings.HasSuffix(hour, "/") {
			c.broken(layout.Page+hour, "is not in the folder of an hour")
			continue
		}
		names, err := c.list(layout.Page + hour)
		if err != nil {
			return err
		}
		for _, name := range names {
			key := layout.Page + hour + name
			raw, err := c.get(key)
			if err != nil {
				return err
			}
			c.page(key, raw)
		}
	}
	return nil
}

func (c *checker) page(key string, raw []byte) {
	records, err := ledger.DecodePage(key, raw)
	if err != nil {
		c.broken(key, "%v", err)
		return
	}
	c.report.Pages++
	seen := map[cert.Serial]bool{}
	for i := range records {
		record := &records[i]
		if seen[record.Serial] {
			c.broken(key, "serial %s is there twice", record.Serial)
		}
		seen[record.Serial] = true
		if len(record.DER) == 0 {
			c.report.Intents++
			c.notice(key, "certificate %s of issuer %s was about to be signed and never recorded", record.Serial, record.Issuer)
			continue
		}
		c.report.Certificates++
		c.remembers(record.Profile, key)
		c.book.paged[record.Serial] = true
		c.record(key, record)
	}
}

// record holds one certificate against its row.
func (c *checker) record(key string, record *ledger.Record) {
	parsed, err := x509.ParseCertificate(record.DER)
	if err != nil {
		c.broken(key, "certificate %s: %v", record.Serial, err)
		return
	}
	if serial := cert.SerialOf(parsed.SerialNumber); serial != record.Serial {
		c.broken(key, "record %s holds the certificate %s", record.Serial, serial)
		return
	}
	if hash, err := cert.KeyFingerprint(parsed.PublicKey); err == nil && hash != record.KeyHash {
		c.broken(key, "the key hash of %s is not that of its certificate", record.Serial)
	}
	want, err := ledger.RowOf(record)
	if err != nil {
		c.broken(key, "certificate %s: %v", record.Serial, err)
		return
	}
	if c.book.horizon.Gone(record.Serial, want.NotAfter) {
		c.broken(key, "%s is said to be removed, and a restart would not show it", record.Serial)
		return
	}
	row, found := c.book.rows[record.Serial]
	hour, _ := ledger.Hour(record.Serial)
	want.Sequence = row.Sequence
	c.owner(&want)
	switch {
	case c.book.led[key]:
		// Load reads the page, whichever of its certificates the marker names.
	case !found && hour > c.book.complete:
		// Load lists the hour and reads the page, unless it meets another row of it.
		if sibling, covered := c.sibling(record.Serial); covered {
			c.broken(key, "%s has no row, and that of %s keeps a restart from looking for it", record.Serial, sibling)
		}
	case !found:
		c.broken(key, "%s has no row, and a restart would not look for it", record.Serial)
	case row != want:
		c.broken(key, "the row of %s says something else than the page, and no dirty marker tells: %s", record.Serial, difference(row, want))
	}
}

// sibling returns another certificate of the same page that has a row.
func (c *checker) sibling(serial cert.Serial) (cert.Serial, bool) {
	if c.book.pages == nil {
		c.book.pages = map[string]cert.Serial{}
		for other, row := range c.book.rows {
			if page, ok := ledger.PageKey(other); ok && !row.Unstored {
				c.book.pages[page] = other
			}
		}
	}
	page, _ := ledger.PageKey(serial)
	other, covered := c.book.pages[page]
	return other, covered
}

func difference(row, page ledger.Row) string {
	if row.RevokedAt != page.RevokedAt {
		return fmt.Sprintf("revoked %s against %s", row.RevokedAt, page.RevokedAt)
	}
	return fmt.Sprintf("%+v against %+v", row, page)
}

// fence checks that the next start can read the starts before it: it would refuse to.
func (c *checker) fence() error {
	raw, err := c.get(layout.Fence)
	if err != nil {
		return err
	}
	if err := ledger.CheckFence(raw); err != nil {
		c.broken(layout.Fence, "%v", err)
	}
	return nil
}

// tidied reads what was removed from the ledger.
func (c *checker) tidied() error {
	raw, err := c.get(layout.TidyHorizon)
	if err != nil || raw == nil {
		return err
	}
	if c.book.horizon, err = ledger.ReadHorizon(c.ctx, stored{value: raw}); err != nil {
		c.broken(layout.TidyHorizon, "%v", err)
		return nil
	}
	c.passed(c.book.horizon.Removing)
	if h := c.book.horizon; h.Removing.Before(h.Ended) || !slices.IsSorted(h.Kept) {
		c.broken(layout.TidyHorizon, "certificates that ended before %s are said to be gone, those before %s to be going", h.Ended, h.Removing)
	}
	return nil
}

// rows checks that what rows and markers name is on a page, unless it was removed.
func (c *checker) rows() error {
	for serial, row := range c.book.rows {
		if !row.Unstored && !c.book.paged[serial] && !row.NotAfter.Before(c.book.horizon.Removing) {
			c.broken(layout.Segment, "row %s has no record", serial)
		}
	}
	for serial := range c.book.marked {
		if c.book.paged[serial] {
			continue
		}
		if row, found := c.book.rows[serial]; found && !row.Unstored {
			c.broken(ledger.DirtyKey(serial), "there is no record of this certificate")
		} else {
			// A crash between the marker and the page of a certificate that was to be
			// adopted. The next start removes it.
			c.notice(ledger.DirtyKey(serial), "names no record")
		}
	}
	return nil
}
