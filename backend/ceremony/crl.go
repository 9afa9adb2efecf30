package ceremony

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// crlJob is a CRL to be signed.
type crlJob struct {
	number                 cert.CRLNumber
	thisUpdate, nextUpdate time.Time
	entries                []crl.Entry
	listed                 map[string]crl.Entry // by serial number, see serialText
	shown                  []Fact               // one for each entry
	previous               *x509.RevocationList // nil: none
}

// SignCRL signs the next CRL of a root: what the previous one lists, and the newly
// revoked CAs. The list is first signed with a throwaway key and passes every check
// that the real one will have to.
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
	if err := c.rehearseCRL(root, job, to.path); err != nil {
		return err
	}
	if err := reserve(to); err != nil {
		return err
	}
	defer release(to)
	c.report("outputs reserved", Fact{"crl", to.path})
	if err := c.confirm(); err != nil {
		return err
	}
	token, err := c.open(ctx, order.Token)
	if err != nil {
		return err
	}
	defer token.Close()
	signer, err := c.find(ctx, token, order.Key, root)
	if err != nil || c.config.CheckOnly {
		return err
	}
	if err := c.signCRL(record, root, signer, job, to); err != nil {
		return err
	}
	return c.Verify(Artefacts{Root: order.Issuer, ExistingRoot: true, CRL: to.path, PreviousCRL: order.Previous})
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
		return fault.Field("previous", "is for a CRL that is not the first; give previous or first: true, not both")
	case !o.First && o.Previous == "":
		return fault.Field("previous", "must name the newest CRL of the root, whose number and entries this one continues; say first: true when there is none")
	}
	return nil
}

// planCRL works out number, times and entries.
func (c *Ceremony) planCRL(order CRLOrder, root *x509.Certificate, record *record, now time.Time) (*crlJob, error) {
	job := &crlJob{thisUpdate: now, nextUpdate: order.NextUpdate.From(now), listed: map[string]crl.Entry{}}
	if err := checkNextUpdate("next_update", order.NextUpdate, now, root.NotAfter); err != nil {
		return nil, err
	}
	last := record.highestNumber()
	switch {
	case order.Previous != "":
		previous, err := readCRL("previous", order.Previous)
		if err != nil {
			return nil, err
		}
		number, err := job.continuing(order, previous, root, now)
		if err != nil {
			return nil, fault.FieldOf(fault.KindOf(err), "previous", "%s: %w", order.Previous, err)
		}
		if number.Compare(last) < 0 {
			return nil, fault.FieldOf(fault.Conflict, "previous", "%s has number %s, but the record tells of number %s: give the newest CRL", order.Previous, number, last)
		}
		last = number
	case !last.IsZero():
		return nil, fault.FieldOf(fault.Conflict, "first", "the record tells of CRL number %s; give the newest CRL as previous", last)
	}
	if job.number = order.Number; job.number.IsZero() {
		job.number = last.Next()
	}
	if job.number.Compare(last) <= 0 {
		return nil, fault.Field("number", "%s must be above %s, the last one: CRL numbers never go back (RFC 5280 section 5.2.3)", job.number, last)
	}
	if err := job.number.CheckRoom(); err != nil {
		return nil, fault.Field("number", "%w", err)
	}
	if err := job.revoke(order.Revoked, root, record, now); err != nil {
		return nil, err
	}
	c.report("CRL planned", job.describe()...)
	return job, nil
}

// checkNextUpdate refuses a CRL without an end, or one that outlives its issuer.
func checkNextUpdate(field string, period Period, now, issuerEnd time.Time) error {
	if period.IsZero() {
		return fault.Field(field, "must be given, such as 365d")
	}
	if period.From(now).After(issuerEnd) {
		return fault.Field(field, "the CRL would outlive the root, which expires at %s; choose a shorter next_update", issuerEnd.UTC().Format(time.RFC3339))
	}
	return nil
}

// continuing takes over the previous CRL: its entries stay, its number is returned. Entries
// stay for good: the CRL of a root is short, and RFC 5280 section 5 lets an entry go
// only after one more CRL than the certificate's life.
func (j *crlJob) continuing(order CRLOrder, previous *x509.RevocationList, root *x509.Certificate, now time.Time) (cert.CRLNumber, error) {
	if err := crl.CheckForeign(previous, root); err != nil {
		return cert.CRLNumber{}, err
	}
	if err := checkScope(previous); err != nil {
		return cert.CRLNumber{}, err
	}
	if previous.ThisUpdate.After(now) {
		return cert.CRLNumber{}, fault.New(fault.Conflict, "was issued at %s, which is in the future: set the clock", previous.ThisUpdate.UTC().Format(time.RFC3339))
	}
	entries, err := crl.Carry(previous)
	if err != nil {
		return cert.CRLNumber{}, err
	}
	j.entries = entries
	for i, old := range previous.RevokedCertificateEntries {
		j.show(old.SerialNumber, j.entries[i])
	}
	j.previous = previous
	if previous.Number == nil {
		if order.Number.IsZero() {
			return cert.CRLNumber{}, fault.New(fault.Invalid, "has no CRL number (RFC 5280 section 5.2.3); give the number of the new CRL in the order, above all that were ever used")
		}
		return cert.CRLNumber{}, nil
	}
	number, err := cert.CRLNumberOf(previous.Number)
	if err != nil {
		return cert.CRLNumber{}, err
	}
	return number, number.CheckRoom()
}

// show notes an entry for the plan.
func (j *crlJob) show(serial *big.Int, e crl.Entry) {
	text := serialText(serial)
	j.listed[text] = e
	j.shown = append(j.shown, Fact{"revoked", fmt.Sprintf("%s since %s, %s", text, e.RevokedAt.UTC().Format(time.RFC3339), e.Reason)})
}

// serialText writes the serial number of a CRL entry, also one that RFC 5280 does not
// allow: negative or 0.
func serialText(n *big.Int) string {
	switch n.Sign() {
	case 0:
		return "00"
	case -1:
		return "-" + cert.SerialOf(n).String()
	}
	return cert.SerialOf(n).String()
}

// revoke adds the newly revoked certificates. One that is listed already must agree
// with its entry: nothing on a CRL is rewritten.
func (j *crlJob) revoke(revoked []Revocation, root *x509.Certificate, record *record, now time.Time) error {
	for i, r := range revoked {
		field := fmt.Sprintf("revoked[%d]", i)
		e, err := r.entry(now)
		if err != nil {
			return fault.Field(field, "%w", err)
		}
		switch {
		case e.Serial == cert.SerialOf(root.SerialNumber):
			return fault.Field(field, "a root does not list itself: remove it from the trust stores")
		case e.RevokedAt.Before(root.NotBefore):
			return fault.Field(field, "date %s is before the root's notBefore", e.RevokedAt.Format(time.RFC3339))
		}
		if old, found := j.listed[e.Serial.String()]; found {
			if !old.RevokedAt.Equal(e.RevokedAt) || old.Reason != e.Reason {
				return fault.FieldOf(fault.Conflict, field, "serial number %s is listed already, with another date or reason", e.Serial)
			}
			continue
		}
		if !r.Unrecorded && !record.issued(e.Serial) {
			return fault.FieldOf(fault.Conflict, field, "the record knows no certificate with serial number %s; check the number, and say unrecorded: true in this entry if the root issued it without this record", e.Serial)
		}
		j.entries = append(j.entries, e)
		j.show(e.Serial.Big(), e)
	}
	return nil
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

// encode signs the list in the name of the root. It carries no
// issuingDistributionPoint: it covers everything that the root issued, and some relying
// parties, NSS and GnuPG among them, refuse a CRL with that critical extension.
func (j *crlJob) encode(root *x509.Certificate, signer crypto.Signer) ([]byte, error) {
	config := sign.Config{Certificate: root, Signer: signer}
	if spec, err := cert.KeySpecOf(signer.Public()); err == nil && cert.SuitsKey(root.SignatureAlgorithm, spec.Type) {
		config.Algorithm = root.SignatureAlgorithm
	}
	authority, err := sign.NewAuthority(config)
	if err != nil {
		return nil, err
	}
	var der bytes.Buffer
	list := crl.List{Number: j.number, ThisUpdate: j.thisUpdate, NextUpdate: j.nextUpdate}
	err = crl.Encode(&der, authority, list, slices.Values(j.entries))
	return der.Bytes(), err
}

// signCRL records the intent, signs, writes and records the result.
func (c *Ceremony) signCRL(record *record, root *x509.Certificate, signer crypto.Signer, job *crlJob, to *output) error {
	intent := entry{Time: c.now(), Event: eventIntent, Kind: kindCRL, Number: job.number, Entries: len(job.entries)}
	if err := record.append(intent); err != nil {
		return err
	}
	c.report("intent recorded", Fact{"CRL number", job.number.String()})
	der, err := job.encode(root, signer)
	if err != nil {
		return err
	}
	c.report("CRL signed", append(job.describe(), Fact{"CRL SHA-256", sha256Hex(der)})...)
	if err := to.write(der); err != nil {
		return err
	}
	done := intent
	done.Time, done.Event, done.SHA256 = c.now(), eventSigned, sha256Hex(der)
	if err := record.append(done); err != nil {
		return err
	}
	return c.announce("CRL", to.path)
}

func (j *crlJob) describe() []Fact {
	return append([]Fact{
		{"CRL number", j.number.String()},
		{"this update", j.thisUpdate.Format(time.RFC3339)},
		{"next update", j.nextUpdate.Format(time.RFC3339)},
		{"entries", fmt.Sprint(len(j.entries))},
	}, j.shown...)
}
