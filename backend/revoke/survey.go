package revoke

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// Survey is what a filter finds: unexpired certificates, each counted once.
type Survey struct {
	Matched    int       `json:"matched"`              // to be revoked
	Refused    []Refusal `json:"refused,omitempty"`    // by their profiles, by name
	Own        int       `json:"own,omitempty"`        // issuers and OCSP responders of the mount
	Unrecorded int       `json:"unrecorded,omitempty"` // issued without a record (no_store)
	Revoked    int       `json:"revoked,omitempty"`    // for good, before
	Pages      int       `json:"pages"`                // that hold the matched
}

// Refusal counts the certificates that a profile does not let be revoked for the reason.
type Refusal struct {
	Profile string `json:"profile"` // name@version
	Count   int    `json:"count"`
}

// plan is a survey with the serial numbers that it found, page by page.
type plan struct {
	Survey
	pages [][]cert.Serial
}

// survey looks through the rows: it reads no storage but for profiles that are not the
// newest, each once.
func (b *Bulk) survey(ctx context.Context, order Order, now time.Time) (*plan, error) {
	rows, err := b.revoke.config.Ledger.Rows("")
	if err != nil {
		return nil, err
	}
	p, meets := &plan{}, order.Filter.matcher(b.revoke.config.Issuers.SameCA)
	verdicts, refused := map[string]bool{}, map[string]int{}
	for row := range rows {
		if !meets(&row) || !now.Before(row.NotAfter) {
			continue
		}
		switch {
		case !row.RevokedAt.IsZero() && row.Reason != cert.CertificateHold:
			p.Revoked++
			continue
		case row.Unstored:
			p.Unrecorded++
			continue
		case b.own(&row):
			p.Own++
			continue
		}
		allowed, known := verdicts[row.Profile]
		if !known {
			if allowed, err = b.revoke.config.Allows(ctx, row.Profile, order.Reason); err != nil {
				return nil, fmt.Errorf("asking profile %s: %w", row.Profile, err)
			}
			verdicts[row.Profile] = allowed
		}
		if !allowed {
			refused[row.Profile]++
			continue
		}
		p.add(row.Serial)
	}
	for profile, n := range refused {
		p.Refused = append(p.Refused, Refusal{Profile: profile, Count: n})
	}
	slices.SortFunc(p.Refused, func(a, b Refusal) int { return strings.Compare(a.Profile, b.Profile) })
	return p, nil
}

// own reports whether the mount itself needs a certificate: an issuer has a revocation
// of its own, and an OCSP responder is replaced by the mount and says itself that it is
// not to be checked (RFC 6960 section 4.2.2.2.1).
func (b *Bulk) own(row *ledger.Row) bool {
	return IsResponder(row) || b.revoke.config.Issuers.HasRow(row.Issuer, row.Serial)
}

// IsResponder reports whether a certificate is that of an OCSP responder of the mount or
// of an edge.
func IsResponder(row *ledger.Row) bool {
	return row.Role == "" && profileName(row.Profile) == responderProfile
}

// responderProfile is the preset under which the mount certifies its responders.
const responderProfile = "ocsp-responder"

// add puts a serial on its page; they come in their order, so that those of a page
// come one after the other.
func (p *plan) add(serial cert.Serial) {
	p.Matched++
	if last := len(p.pages) - 1; last >= 0 && ledger.SamePage(p.pages[last][0], serial) {
		p.pages[last] = append(p.pages[last], serial)
		return
	}
	p.pages = append(p.pages, []cert.Serial{serial})
	p.Pages++
}

// first returns the first serials of a plan.
func (p *plan) first(n int) []cert.Serial {
	var serials []cert.Serial
	for _, page := range p.pages {
		serials = append(serials, page[:min(len(page), n-len(serials))]...)
		if len(serials) == n {
			break
		}
	}
	return serials
}
