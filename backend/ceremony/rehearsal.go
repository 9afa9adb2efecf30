package ceremony

import (
	"crypto"
	"crypto/x509"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/lint"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// standIn returns the root with a throwaway key in place of its own, which signs what
// is checked before the real key may.
func standIn(root *x509.Certificate) (*x509.Certificate, crypto.Signer, error) {
	spec, err := cert.KeySpecOf(root.PublicKey)
	if err != nil {
		return nil, nil, fault.Field("issuer", "%w", err)
	}
	// One small key of each family is enough: only its signature differs.
	switch spec.Type {
	case cert.RSA:
		spec = cert.RSA2048
	case cert.EC:
		spec = cert.P256
	}
	key, err := cert.GenerateKey(spec)
	if err != nil {
		return nil, nil, err
	}
	stand := *root
	stand.PublicKey = key.Public()
	return &stand, key, nil
}

// rehearseCRL makes the checks of Verify on the list, signed by a throwaway key, before
// anything is recorded or signed.
func (c *Ceremony) rehearseCRL(root *x509.Certificate, job *crlJob, path string) error {
	stand, key, err := standIn(root)
	if err != nil {
		return err
	}
	der, err := job.encode(stand, key)
	if err != nil {
		return err
	}
	v := &verification{files: Artefacts{CRL: path}, now: c.now(), anchor: stand, previous: job.previous}
	if v.list, err = x509.ParseRevocationList(der); err != nil {
		return fault.New(fault.Invalid, "reading the CRL that would be signed: %w", err)
	}
	v.crl()
	return c.rehearsed("CRL checked with a throwaway key", v)
}

// rehearseIssuing drafts the certificate, signs it with a throwaway key and makes the
// checks of Verify on it. It returns what the real key has to sign.
func (c *Ceremony) rehearseIssuing(plan *issuingPlan) (tbs []byte, err error) {
	stand, key, err := standIn(plan.issuer)
	if err != nil {
		return nil, err
	}
	draft, err := plan.draft(stand, key)
	if err != nil {
		return nil, err
	}
	trial, err := draft.Sign()
	if err != nil {
		return nil, err
	}
	v := &verification{files: Artefacts{}, now: c.now(), anchor: stand}
	v.ca(plan.preset, plan.certificate.path, trial)
	return trial.RawTBSCertificate, c.rehearsed("certificate checked with a throwaway key", v, describe(trial)...)
}

// rehearseRoot does the same for a root and its first CRL, with a throwaway key of the
// root's own algorithm.
func (c *Ceremony) rehearseRoot(plan *rootPlan) error {
	key, err := cert.GenerateKey(plan.spec)
	if err != nil {
		return err
	}
	draft, err := plan.draft(key)
	if err != nil {
		return err
	}
	trial, err := draft.Sign()
	if err != nil {
		return err
	}
	der, err := plan.firstCRL().encode(trial, key)
	if err != nil {
		return err
	}
	v := &verification{files: Artefacts{Root: plan.certificate.path, CRL: plan.crl.path}, now: plan.now, anchor: trial}
	if v.list, err = x509.ParseRevocationList(der); err != nil {
		return fault.New(fault.Invalid, "reading the CRL that would be signed: %w", err)
	}
	v.root()
	v.crl()
	return c.rehearsed("order checked with a throwaway key", v, describe(trial)...)
}

// rehearsed reports the checks of a rehearsal and what failed.
func (c *Ceremony) rehearsed(step string, v *verification, facts ...Fact) error {
	c.config.Report(Step{Name: step, Facts: facts, Checks: v.checks})
	if err := v.verdict(); err != nil {
		return fault.New(fault.KindOf(err), "nothing was signed: %w", err)
	}
	return nil
}

// draft makes the checked draft of the certificate under the issuer.
func (p *issuingPlan) draft(issuer *x509.Certificate, signer crypto.Signer) (*sign.Draft, error) {
	authority, err := sign.NewAuthority(sign.Config{Certificate: issuer, Signer: signer, Algorithm: p.template.SignatureAlgorithm})
	if err != nil {
		return nil, err
	}
	return authority.Draft(p.template, p.request.PublicKey,
		sign.WithinChain([]*x509.Certificate{issuer}), fits(p.preset), lint.Check(checked(p.profile)))
}
