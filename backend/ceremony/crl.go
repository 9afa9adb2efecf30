package ceremony

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// crlJob is a CRL to be signed.
type crlJob struct {
	number                 int64
	thisUpdate, nextUpdate time.Time
	entries                []crl.Entry
}

// SignCRL signs the next CRL of a root: what the previous one lists, and the newly
// revoked CAs.
func (c *Ceremony) SignCRL(ctx context.Context, order CRLOrder) error {
	now := c.now()
	if err := order.check(); err != nil {
		return err
	}
	root, record, err := c.root(order.Issuer, order.Outputs.Record, now)
	if err != nil {
		return err
	}
	job, err := c.planCRL(order, root, record, now)
	if err != nil {
		return err
	}
	to := &output{field: "outputs.crl", path: order.Outputs.CRL}
	if err := reserve(to); err != nil {
		return err
	}
	defer release(to)
	c.report("outputs reserved", Fact{"crl", to.path})
	token, err := c.open(ctx, order.Token)
	if err != nil {
		return err
	}
	defer token.Close()
	signer, err := c.find(ctx, token, order.Key, root)
	if err != nil {
		return err
	}
	if err := c.signCRL(record, root, signer, job, to); err != nil {
		return err
	}
	return c.Verify(Artefacts{Root: order.Issuer, CRL: to.path, PreviousCRL: order.Previous})
}

func (o CRLOrder) check() error {
	if err := o.Token.check(); err != nil {
		return err
	}
	if err := o.Key.existing(); err != nil {
		return err
	}
	switch {
	case o.First && o.Previous != "":
		return fault.Field("previous", "is for a CRL that is not the first")
	case !o.First && o.Previous == "":
		return fault.Field("previous", "must name the newest CRL of the root, whose number and entries this one continues; say first: true when there is none")
	case o.Number < 0:
		return fault.Field("number", "must not be negative")
	}
	return nil
}

// planCRL works out number, times and entries.
func (c *Ceremony) planCRL(order CRLOrder, root *x509.Certificate, record *record, now time.Time) (crlJob, error) {
	job := crlJob{thisUpdate: now, nextUpdate: order.NextUpdate.From(now)}
	if err := checkNextUpdate("next_update", order.NextUpdate, now, root.NotAfter); err != nil {
		return job, err
	}
	last := record.highestNumber()
	if order.Previous != "" {
		previous, err := readCRL("previous", order.Previous)
		if err != nil {
			return job, err
		}
		number, err := usablePrevious(previous, root, now)
		if err != nil {
			return job, fault.FieldOf(fault.KindOf(err), "previous", "%s: %w", order.Previous, err)
		}
		if number < last {
			return job, fault.FieldOf(fault.Conflict, "previous", "%s has number %d, but the record tells of number %d: give the newest CRL", order.Previous, number, last)
		}
		last = number
		if job.entries, err = carryOver(previous); err != nil {
			return job, err
		}
	} else if last > 0 {
		return job, fault.FieldOf(fault.Conflict, "first", "the record tells of CRL number %d", last)
	}
	if last == math.MaxInt64 {
		return job, fault.FieldOf(fault.Conflict, "previous", "its number is the highest there is")
	}
	if job.number = order.Number; job.number == 0 {
		job.number = last + 1
	}
	if job.number <= last {
		return job, fault.Field("number", "%d must be above %d, the last one: CRL numbers never go back (RFC 5280 section 5.2.3)", job.number, last)
	}
	warnings, err := job.revoke(order.Revoked, root, record, now)
	if err != nil {
		return job, err
	}
	c.report("CRL planned", append(job.describe(), warnings...)...)
	return job, nil
}

// checkNextUpdate refuses a CRL without an end, or one that outlives its issuer.
func checkNextUpdate(field string, period Period, now, issuerEnd time.Time) error {
	if period.IsZero() {
		return fault.Field(field, "must be given, such as 365d")
	}
	if period.From(now).After(issuerEnd) {
		return fault.Field(field, "the CRL would outlive the root, which ends at %s", issuerEnd.UTC().Format(time.RFC3339))
	}
	return nil
}

// usablePrevious returns the number of a CRL that may be continued.
func usablePrevious(previous *x509.RevocationList, root *x509.Certificate, now time.Time) (int64, error) {
	if err := signedCRL(previous, root); err != nil {
		return 0, err
	}
	if err := checkScope(previous); err != nil {
		return 0, err
	}
	switch {
	case previous.Number == nil || !previous.Number.IsInt64():
		return 0, fault.New(fault.Invalid, "must have a CRL number below 2^63")
	case previous.ThisUpdate.After(now):
		return 0, fault.New(fault.Conflict, "was issued at %s, which is in the future: set the clock", previous.ThisUpdate.UTC().Format(time.RFC3339))
	}
	return previous.Number.Int64(), nil
}

var oidInvalidityDate = asn1.ObjectIdentifier{2, 5, 29, 24}

// carryOver returns the entries of the previous CRL. Entries stay for good: the CRL
// of a root is short, and RFC 5280 section 5 lets an entry go only after one more
// CRL than the certificate's life.
func carryOver(previous *x509.RevocationList) ([]crl.Entry, error) {
	var entries []crl.Entry
	for _, old := range previous.RevokedCertificateEntries {
		e := crl.Entry{Serial: cert.SerialOf(old.SerialNumber), RevokedAt: old.RevocationTime, Reason: cert.Reason(old.ReasonCode)}
		for _, extension := range old.Extensions {
			switch {
			case extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 21}): // cRLReason, read by the library
			case extension.Id.Equal(oidInvalidityDate):
				if rest, err := asn1.UnmarshalWithParams(extension.Value, &e.InvalidityAt, "generalized"); err != nil || len(rest) > 0 {
					return nil, fault.Field("previous", "entry %s has a malformed invalidityDate", e.Serial)
				}
			default:
				return nil, fault.Field("previous", "entry %s has extension %s, which cannot be carried over", e.Serial, extension.Id)
			}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// revoke adds the newly revoked certificates. One that is listed already must agree
// with its entry: nothing on a CRL is rewritten.
func (j *crlJob) revoke(revoked []Revocation, root *x509.Certificate, record *record, now time.Time) (warnings []Fact, err error) {
	for i, r := range revoked {
		field := fmt.Sprintf("revoked[%d]", i)
		e, err := r.entry(now)
		if err != nil {
			return nil, fault.Field(field, "%w", err)
		}
		switch {
		case e.Serial == cert.SerialOf(root.SerialNumber):
			return nil, fault.Field(field, "a root does not list itself: remove it from the trust stores")
		case e.RevokedAt.Before(root.NotBefore):
			return nil, fault.Field(field, "date %s is before the root began", e.RevokedAt.Format(time.RFC3339))
		}
		if at := slices.IndexFunc(j.entries, func(old crl.Entry) bool { return old.Serial == e.Serial }); at >= 0 {
			if old := j.entries[at]; !old.RevokedAt.Equal(e.RevokedAt) || old.Reason != e.Reason {
				return nil, fault.FieldOf(fault.Conflict, field, "serial number %s is listed already, with another date or reason", e.Serial)
			}
			continue
		}
		if !record.issued(e.Serial) {
			warnings = append(warnings, Fact{"WARNING", fmt.Sprintf("the record knows of no certificate %s", e.Serial)})
		}
		j.entries = append(j.entries, e)
	}
	return warnings, nil
}

func (r Revocation) entry(now time.Time) (crl.Entry, error) {
	serial, err := cert.ParseSerial(r.Serial)
	if err != nil {
		return crl.Entry{}, err
	}
	reason, err := cert.ParseReason(r.Reason)
	if err != nil {
		return crl.Entry{}, err
	}
	date := r.Date.UTC().Truncate(time.Second)
	switch {
	case reason == cert.CertificateHold || reason == cert.RemoveFromCRL:
		return crl.Entry{}, fault.New(fault.Invalid, "reason %s is not for CAs, which are revoked for good", reason)
	case r.Date.IsZero():
		return crl.Entry{}, fault.New(fault.Invalid, "date must be given")
	case date.After(now):
		return crl.Entry{}, fault.New(fault.Invalid, "date %s is in the future", date.Format(time.RFC3339))
	}
	return crl.Entry{Serial: serial, RevokedAt: date, Reason: reason}, nil
}

// signCRL records the intent, signs, writes and records the result.
func (c *Ceremony) signCRL(record *record, root *x509.Certificate, signer crypto.Signer, job crlJob, to *output) error {
	authority, err := sign.NewAuthority(sign.Config{Certificate: root, Signer: signer, Algorithm: root.SignatureAlgorithm})
	if err != nil {
		return err
	}
	intent := entry{Time: c.now(), Event: eventIntent, Kind: kindCRL, Number: job.number, Entries: len(job.entries)}
	if err := record.append(intent); err != nil {
		return err
	}
	c.report("intent recorded", Fact{"CRL number", fmt.Sprint(job.number)})
	var der bytes.Buffer
	list := crl.List{Number: job.number, ThisUpdate: job.thisUpdate, NextUpdate: job.nextUpdate, OnlyCACerts: true}
	if err := crl.Encode(&der, authority, list, slices.Values(job.entries)); err != nil {
		return err
	}
	c.report("CRL signed", append(job.describe(), Fact{"CRL SHA-256", sha256Hex(der.Bytes())})...)
	if err := to.write(der.Bytes()); err != nil {
		return err
	}
	done := intent
	done.Time, done.Event, done.SHA256 = c.now(), eventSigned, sha256Hex(der.Bytes())
	if err := record.append(done); err != nil {
		return err
	}
	return c.announce("CRL", to.path)
}

func (j crlJob) describe() []Fact {
	facts := []Fact{
		{"CRL number", fmt.Sprint(j.number)},
		{"this update", j.thisUpdate.Format(time.RFC3339)},
		{"next update", j.nextUpdate.Format(time.RFC3339)},
		{"entries", fmt.Sprint(len(j.entries))},
	}
	for _, e := range j.entries {
		facts = append(facts, Fact{"revoked", fmt.Sprintf("%s since %s, %s", e.Serial, e.RevokedAt.UTC().Format(time.RFC3339), e.Reason)})
	}
	return facts
}
