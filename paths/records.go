package paths

import (
	"context"
	"crypto/x509"
	"fmt"
	"iter"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

// Caps on one response of a list.
const (
	listCap   = 100_000 // serial numbers
	detailCap = 10_000  // of them with details
)

const recordHelp = `
Read what is on record about a certificate: owner, contacts, metadata, role, profile and
requester. cert/:serial needs no token and shows only what a relying party may know.
`

// certRow is a certificate in a list.
type certRow struct {
	CommonName string `json:"common_name" doc:"Common name, or the first other name."`
	Expires    string `json:"not_after" doc:"When it expires, RFC 3339."`
	State      string `json:"state" doc:"active, suspended, revoked or expired."`
	Reason     string `json:"revocation_reason,omitempty" doc:"Why it was revoked or suspended."`
	Role       string `json:"role" doc:"Role by which it was issued; empty for a CA."`
	Profile    string `json:"profile" doc:"Profile version under which it was issued."`
	Owner      string `json:"owner" doc:"Who answers for it."`
	IssuerID   string `json:"issuer_id" doc:"Id of the issuer."`
	IssuerName string `json:"issuer_name" doc:"Name of the issuer; empty when it has none."`
}

type certList struct {
	Keys []string           `json:"keys" doc:"The serial numbers, oldest first."`
	Info map[string]certRow `json:"key_info" doc:"Details of each, by serial number; of the first 10,000 of the list."`
}

// certRecord is what is on record about a certificate besides the certificate.
type certRecord struct {
	Serial     string            `json:"serial_number" doc:"Serial number."`
	CommonName string            `json:"common_name" doc:"Common name of the subject."`
	State      string            `json:"state" doc:"active, suspended, revoked or expired."`
	IssuedAt   string            `json:"issued_at" doc:"When it was issued, RFC 3339."`
	Expires    string            `json:"not_after" doc:"When it expires, RFC 3339."`
	Role       string            `json:"role" doc:"Role by which it was issued; empty for a CA."`
	Profile    string            `json:"profile" doc:"Profile version under which it was issued."`
	Requester  string            `json:"requester" doc:"Entity id of the requester; empty for a root token or one without an entity."`
	Owner      string            `json:"owner" doc:"Who answers for it."`
	Contacts   []string          `json:"contacts" doc:"Whom to tell about it."`
	Metadata   map[string]string `json:"metadata" doc:"What the request asked to remember."`
	Replaces   string            `json:"replaces,omitempty" doc:"Serial number of the certificate that it succeeds."`
	IssuerID   string            `json:"issuer_id" doc:"Id of the issuer."`
	IssuerName string            `json:"issuer_name" doc:"Name of the issuer; empty when it has none."`
	KeyHash    string            `json:"key_sha256" doc:"SHA-256 of the SubjectPublicKeyInfo, hexadecimal with colons."`
	RevokedAt  string            `json:"revocation_time_rfc3339,omitempty" doc:"When it was revoked or suspended, RFC 3339."`
	Reason     string            `json:"revocation_reason,omitempty" doc:"Why it was revoked or suspended."`
	Invalid    string            `json:"invalidity_date,omitempty" doc:"When the key is known or suspected to have been compromised, RFC 3339."`
	Comment    string            `json:"comment,omitempty" doc:"Remark on the revocation."`
	ResumedAt  string            `json:"resumed_at,omitempty" doc:"When its last suspension ended, RFC 3339."`
}

func (m *mount) readRecord(ctx context.Context, _ *schema.Call, in certRef) (certRecord, error) {
	serial, err := cert.ParseSerial(in.Serial)
	if err != nil {
		return certRecord{}, err
	}
	record, err := m.engine.Ledger.Get(ctx, serial)
	if err != nil {
		return certRecord{}, err
	}
	parsed, err := x509.ParseCertificate(record.DER)
	if err != nil {
		return certRecord{}, fmt.Errorf("reading certificate %s: %w", serial, err)
	}
	answer := certRecord{
		Serial: serial.String(), CommonName: parsed.Subject.CommonName, State: m.stateOf(parsed.NotAfter, record.Revocation),
		IssuedAt: rfc3339(record.IssuedAt), Expires: rfc3339(parsed.NotAfter), Role: record.Role, Profile: record.Profile,
		Requester: record.Requester, Owner: record.Owner, Contacts: record.Contacts, Metadata: record.Metadata,
		Replaces: record.Replaces.String(), IssuerID: record.Issuer, IssuerName: m.issuerName(record.Issuer),
		KeyHash: record.KeyHash.String(), ResumedAt: rfc3339(record.Resumed),
	}
	if r := record.Revocation; r != nil {
		answer.RevokedAt, answer.Reason, answer.Invalid, answer.Comment = rfc3339(r.At), r.Reason.String(), rfc3339(r.InvalidityAt), r.Comment
	}
	return answer, nil
}

// stateOf names the state of a certificate.
func (m *mount) stateOf(notAfter time.Time, revocation *ledger.Revocation) string {
	switch {
	case revocation != nil && revocation.Final():
		return "revoked"
	case m.now().After(notAfter):
		return "expired"
	case revocation != nil:
		return "suspended"
	}
	return "active"
}

// issuerName returns the name of an issuer that is in memory, or "".
func (m *mount) issuerName(id string) string {
	for _, i := range m.engine.Issuers.Loaded() {
		if i.ID() == id {
			return i.Name()
		}
	}
	return ""
}

// listRows lists the serial numbers of a walk over rows after a serial.
func (m *mount) listRows(call *schema.Call, page schema.Page, walk func(after cert.Serial) (iter.Seq[ledger.Row], error)) (certList, error) {
	var after cert.Serial
	if page.After != "" {
		var err error
		if after, err = cert.ParseSerial(page.After); err != nil {
			return certList{}, fault.Field("after", "%w", err)
		}
	}
	rows, err := walk(after)
	if err != nil {
		return certList{}, err
	}
	limit := page.Limit
	if limit == 0 {
		limit = listCap
	}
	list, more := m.collect(rows, limit)
	if more && page.Limit == 0 {
		call.Warn("The response lists the first %d. For the next ones, pass the last serial number as after.", limit)
	}
	return list, nil
}

func (m *mount) collect(rows iter.Seq[ledger.Row], limit int) (list certList, more bool) {
	names := map[string]string{}
	for _, i := range m.engine.Issuers.Loaded() {
		names[i.ID()] = i.Name()
	}
	list.Info = map[string]certRow{}
	for row := range rows {
		if len(list.Keys) == limit {
			return list, true
		}
		serial := row.Serial.String()
		list.Keys = append(list.Keys, serial)
		if len(list.Keys) <= detailCap {
			list.Info[serial] = m.certRow(row, names)
		}
	}
	return list, false
}

func (m *mount) certRow(row ledger.Row, names map[string]string) certRow {
	var revocation *ledger.Revocation
	if !row.RevokedAt.IsZero() {
		revocation = &ledger.Revocation{At: row.RevokedAt, Reason: row.Reason}
	}
	info := certRow{
		CommonName: row.Name, Expires: rfc3339(row.NotAfter), State: m.stateOf(row.NotAfter, revocation), Role: row.Role,
		Profile: row.Profile, Owner: row.Owner, IssuerID: row.Issuer, IssuerName: names[row.Issuer],
	}
	if revocation != nil {
		info.Reason = row.Reason.String()
	}
	return info
}
