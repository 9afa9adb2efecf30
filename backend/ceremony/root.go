package ceremony

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/backend/lint"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// rootPlan is a RootOrder that passed every check that needs no token.
type rootPlan struct {
	order   RootOrder
	spec    cert.KeySpec
	profile *profile.Profile
	serial  cert.Serial
	now     time.Time

	certificate, crl, record *output
}

// CreateRoot makes a root: its key in the token, its certificate, its first CRL.
// The order is first carried out with a throwaway key, so that whatever profile and
// rules refuse is refused before a key exists. When it fails later, the key stays in
// the token: nothing here destroys a root's key.
func (c *Ceremony) CreateRoot(ctx context.Context, order RootOrder) error {
	plan, err := c.planRoot(order)
	if err != nil {
		return err
	}
	if err := reserve(plan.certificate, plan.crl, plan.record); err != nil {
		return err
	}
	defer release(plan.certificate, plan.crl, plan.record)
	c.report("outputs reserved", Fact{"certificate", plan.certificate.path}, Fact{"crl", plan.crl.path}, Fact{"record", plan.record.path})
	if err := c.confirm(); err != nil {
		return err
	}
	token, err := c.open(ctx, order.Token)
	if err != nil {
		return err
	}
	defer token.Close()
	if err := c.unused(ctx, token, order.Key); err != nil || c.config.CheckOnly {
		return err
	}
	signer, err := c.generate(ctx, token, plan.spec, order.Key)
	if err != nil {
		return err
	}
	if err := c.signRoot(ctx, plan, token, signer); err != nil {
		id, _ := order.Key.id() // read before
		return fmt.Errorf("the new key stays in the token under CKA_ID %x, without a certificate or CRL that may be used: %w", id, err)
	}
	return nil
}

// signRoot signs with the new key, writes, and verifies what was written.
func (c *Ceremony) signRoot(ctx context.Context, plan *rootPlan, token *hsm.Token, signer crypto.Signer) error {
	hash, err := cert.KeyFingerprint(signer.Public())
	if err != nil {
		return err
	}
	record := newRecord(plan.record.path, hash)
	plan.record.written = true // from here on it may hold an intent, and stays
	draft, err := plan.draft(signer)
	if err != nil {
		return err
	}
	root, err := c.redeem(record, draft, plan.certificate)
	if err != nil {
		return err
	}
	if err := c.signCRL(record, root, signer, plan.firstCRL(), plan.crl); err != nil {
		return err
	}
	id, err := plan.order.Key.id()
	if err != nil {
		return err
	}
	if err := c.showKey(ctx, token, "key read back from the token", id, signer.Public()); err != nil {
		return err
	}
	return c.Verify(Artefacts{Root: plan.certificate.path, CRL: plan.crl.path})
}

// planRoot checks the order and carries it out with a throwaway key.
func (c *Ceremony) planRoot(order RootOrder) (*rootPlan, error) {
	plan := &rootPlan{
		order: order, now: c.now(),
		certificate: &output{field: "outputs.certificate", path: order.Outputs.Certificate},
		crl:         &output{field: "outputs.crl", path: order.Outputs.CRL},
		record:      &output{field: "outputs.record", path: order.Outputs.Record},
	}
	if err := order.Token.check(); err != nil {
		return nil, err
	}
	if _, err := order.Key.id(); err != nil {
		return nil, err
	}
	if err := checkValidity(rootPreset, order.Validity, plan.now); err != nil {
		return nil, err
	}
	if err := order.CRL.Number.CheckRoom(); err != nil {
		return nil, fault.Field("crl.number", "%w", err)
	}
	if err := checkNextUpdate("crl.next_update", order.CRL.NextUpdate, plan.now, order.Validity.From(plan.now)); err != nil {
		return nil, err
	}
	var err error
	if plan.spec, err = cert.ParseKeySpec(order.Key.Algorithm); err != nil {
		return nil, fault.Field("key.algorithm", "%w", err)
	}
	if plan.profile, err = order.Profile.compile(rootPreset); err != nil {
		return nil, err
	}
	if plan.serial, err = cert.NewSerial(); err != nil {
		return nil, err
	}
	return plan, c.rehearseRoot(plan)
}

// firstCRL is the root's first CRL.
func (p *rootPlan) firstCRL() *crlJob {
	number := p.order.CRL.Number
	if number.IsZero() {
		number = number.Next()
	}
	return &crlJob{number: number, thisUpdate: p.now, nextUpdate: p.order.CRL.NextUpdate.From(p.now)}
}

// draft makes the checked draft of the root's certificate for a key.
func (p *rootPlan) draft(signer crypto.Signer) (*sign.Draft, error) {
	planned, err := p.profile.Template(profile.Ask{
		Subject: p.order.Subject.name(), PublicKey: signer.Public(), NotAfter: p.order.Validity.From(p.now), EngineKey: true,
	}, p.now)
	if err != nil {
		return nil, err
	}
	planned.Certificate.SerialNumber = p.serial.Big()
	// RFC 5280 section 4.2.1.1 lets a root omit it. But lints tell a root by its own
	// signature, which a draft does not have yet, and take it for a CA below another.
	planned.Certificate.AuthorityKeyId = planned.Certificate.SubjectKeyId
	return sign.SelfDraft(planned.Certificate, signer, planned.Certificate.SignatureAlgorithm,
		fits(rootPreset), lint.Check(checked(p.profile)))
}

// redeem records the intent, signs, writes and records the result. If the machine
// fails in between, the record tells of an intent, and either there is no signature
// or its certificate is in the output.
func (c *Ceremony) redeem(record *record, draft *sign.Draft, to *output) (*x509.Certificate, error) {
	drafted := draft.Certificate()
	intent := entry{
		Time: c.now(), Event: eventIntent, Kind: kindCertificate, Serial: cert.SerialOf(drafted.SerialNumber).String(),
		Subject: drafted.Subject.String(), TBS: sha256Hex(drafted.RawTBSCertificate),
	}
	if err := record.append(intent); err != nil {
		return nil, err
	}
	c.report("intent recorded", Fact{"serial number", intent.Serial}, Fact{"tbsCertificate SHA-256", intent.TBS})
	signed, err := draft.Sign()
	if err != nil {
		return nil, fmt.Errorf("signing certificate %s: %w", intent.Serial, err)
	}
	c.report("certificate signed", append(describe(signed), Fact{"certificate SHA-256", sha256Hex(signed.Raw)})...)
	if err := to.write([]byte(cert.CertificatePEM(signed.Raw) + "\n")); err != nil {
		return nil, err
	}
	done := intent
	done.Time, done.Event, done.SHA256 = c.now(), eventSigned, sha256Hex(signed.Raw)
	if err := record.append(done); err != nil {
		return nil, err
	}
	return signed, c.announce("certificate", to.path)
}
