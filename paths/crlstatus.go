package paths

import (
	"context"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

// publication says when a CRL shows what became of a certificate.
type publication struct {
	CRLStatus string `json:"crl_status,omitempty" doc:"published: the newest CRL shows it; pending: the next one will; disabled: config/crl says that CRLs are without entries."`
	CRLNumber int64  `json:"crl_number,omitempty" doc:"published: the number of the newest CRL; pending: that of the one which shows it, or less."`
	CRLDue    string `json:"crl_due,omitempty" doc:"pending: when that CRL is made, RFC 3339: at once for a compromised key, otherwise rebuild_delay of config/crl after the last one; with enable_delta, delta_rebuild_interval after the last one, as a delta CRL."`
}

// publishes says when the issuer's CRL shows what became of a certificate, for a reason.
// A last CRL that could not be made is worth a warning: then the next may fail as well.
func (m *mount) publishes(ctx context.Context, call *schema.Call, issuerID string, serial cert.Serial, reason cert.Reason) publication {
	if err := m.engine.CRL.LastError(issuerID); err != nil {
		call.Warn("The last CRL of issuer %s could not be made, it is tried again every minute: %s", issuerID, schema.Outward(err))
	}
	settings, err := m.engine.CRL.Settings(ctx)
	if err != nil {
		settings = crl.DefaultSettings()
	}
	head, err := m.engine.CRL.Newest(ctx, issuerID)
	if err != nil {
		head = crl.Head{}
	}
	row, found, err := m.engine.Ledger.Row(serial)
	switch {
	case settings.Disable:
		return publication{CRLStatus: "disabled"}
	case err == nil && found && head.Number > 0 && row.Sequence <= head.Through:
		return publication{CRLStatus: "published", CRLNumber: head.Number}
	}
	due := m.now()
	if !urgent(reason) {
		delay := delayOf(settings)
		due = head.ThisUpdate.Add(delay)
		if now := m.now(); due.Before(now) {
			due = now
		} else if last := now.Add(delay); due.After(last) {
			due = last // the clock was set back since the last list
		}
	}
	// Numbers follow the clock, so that one restored from a backup does not repeat.
	return publication{CRLStatus: "pending", CRLNumber: max(head.Number+1, m.now().Unix()), CRLDue: rfc3339(due)}
}

// urgent reports whether a list is made at once for the reason.
func urgent(reason cert.Reason) bool {
	return reason == cert.KeyCompromise || reason == cert.CACompromise || reason == cert.AACompromise
}

// delayOf returns how long after the last list the next one is made: a delta CRL where
// there are any.
func delayOf(settings crl.Settings) time.Duration {
	text := settings.RebuildDelay
	if settings.EnableDelta {
		text = settings.DeltaRebuildInterval
	}
	delay, err := parseutil.ParseDurationSecond(text)
	if err != nil {
		return time.Minute // never: settings are checked when they are written
	}
	return delay
}

// publishesRow is publishes for a row, unless no list of this mount is to show it.
func (m *mount) publishesRow(ctx context.Context, call *schema.Call, row ledger.Row) publication {
	if row.Issuer == "" || row.RevokedAt.IsZero() {
		return publication{}
	}
	return m.publishes(ctx, call, row.Issuer, row.Serial, row.Reason)
}
