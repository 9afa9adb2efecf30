package paths

import (
	"context"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

// publication says when a CRL shows what became of a certificate.
type publication struct {
	CRLStatus string `json:"crl_status,omitempty" doc:"published: the newest CRL or delta CRL lists it. pending: the next one will. disabled: CRLs have no entries (disable of config/crl). none: no issuer of the CA may sign CRLs. expired: the certificate has expired, and a CRL issued after that has listed it (RFC 5280 section 3.3)."`
	CRLNumber string `json:"crl_number,omitempty" doc:"Number of that CRL, decimal. If crl_status is pending, the CRL that lists it has this number or a higher one."`
	CRLDue    string `json:"crl_due,omitempty" doc:"When the CRL that lists it is due, RFC 3339, if crl_status is pending. A compromised key is listed at once. Otherwise it is rebuild_delay after the last CRL, or with enable_delta, delta_rebuild_interval after the last delta CRL."`
}

// publishes says when the issuer's CRL shows what became of a certificate, for a reason.
// A last CRL that could not be made is worth a warning: then the next may fail as well.
func (m *mount) publishes(ctx context.Context, call *schema.Call, issuerID string, serial cert.Serial, reason cert.Reason) publication {
	if err := m.engine.CRL.LastError(issuerID); err != nil {
		call.Warn("The last CRL of issuer %s could not be built. The engine retries every minute: %s", issuerID, schema.Outward(err))
	}
	shows, err := m.engine.CRL.Shows(ctx, issuerID, serial, reason)
	switch {
	case err != nil: // what was done is done
		call.Warn("It is not known which CRL of issuer %s lists the certificate: %s", issuerID, schema.Outward(err))
		return publication{}
	case shows.Unsigned:
		call.Warn("No CRL will show it: the CA has no issuer that may sign CRLs. Allow usage crl-signing for issuer %s, or import the key of the CA.", issuerID)
		return publication{CRLStatus: "none"}
	case shows.Left:
		return publication{CRLStatus: "expired"}
	case shows.Number.IsZero():
		return publication{CRLStatus: "disabled"}
	case shows.Due.IsZero():
		return publication{CRLStatus: "published", CRLNumber: shows.Number.String()}
	}
	return publication{CRLStatus: "pending", CRLNumber: shows.Number.String(), CRLDue: rfc3339(shows.Due)}
}

// publishesRow is publishes for a row, unless no list of this mount is to show it.
func (m *mount) publishesRow(ctx context.Context, call *schema.Call, row ledger.Row) publication {
	if row.Issuer == "" || row.RevokedAt.IsZero() {
		return publication{}
	}
	return m.publishes(ctx, call, row.Issuer, row.Serial, row.Reason)
}
