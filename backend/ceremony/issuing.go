package ceremony

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// issuingPlan is an IssuingOrder that passed every check that needs no token.
type issuingPlan struct {
	order       IssuingOrder
	preset      string
	issuer      *x509.Certificate
	record      *record
	request     *cert.Request
	profile     *profile.Profile
	template    *x509.Certificate
	certificate *output
}

// SignIssuing signs a PKCS#10 request, PEM or DER, as an issuing CA below the root.
func (c *Ceremony) SignIssuing(ctx context.Context, order IssuingOrder, csr []byte) error {
	plan, err := c.planIssuing(order, csr)
	if err != nil {
		return err
	}
	tbs, err := c.rehearseIssuing(plan)
	if err != nil {
		return err
	}
	if err := reserve(plan.certificate); err != nil {
		return err
	}
	defer release(plan.certificate)
	c.report("outputs reserved", Fact{"certificate", plan.certificate.path})
	if err := c.confirm(); err != nil {
		return err
	}
	token, err := c.open(ctx, order.Token)
	if err != nil {
		return err
	}
	defer token.Close()
	signer, err := c.find(ctx, token, order.Key, plan.issuer)
	if err != nil || c.config.CheckOnly {
		return err
	}
	draft, err := plan.draft(plan.issuer, signer)
	if err != nil {
		return err
	}
	if !bytes.Equal(draft.Certificate().RawTBSCertificate, tbs) {
		return fault.New(fault.Internal, "the certificate to be signed differs from the one that was checked")
	}
	if _, err := c.redeem(plan.record, draft, plan.certificate); err != nil {
		return err
	}
	signed := Artefacts{Root: order.Issuer, ExistingRoot: true}
	if plan.preset == intermediatePreset {
		signed.Intermediates = []string{plan.certificate.path}
	} else {
		signed.CAs = []string{plan.certificate.path}
	}
	return c.Verify(signed)
}

// planIssuing checks order and request.
func (c *Ceremony) planIssuing(order IssuingOrder, csr []byte) (*issuingPlan, error) {
	now := c.now()
	plan := &issuingPlan{order: order, certificate: &output{field: "outputs.certificate", path: order.Outputs.Certificate}}
	if err := order.Token.check(); err != nil {
		return nil, err
	}
	if err := order.Key.existing(); err != nil {
		return nil, err
	}
	var err error
	if plan.preset, err = order.preset(); err != nil {
		return nil, err
	}
	if err := checkValidity(plan.preset, order.Validity, now); err != nil {
		return nil, err
	}
	if err := order.URLs.check(); err != nil {
		return nil, err
	}
	if plan.issuer, plan.record, err = c.root(order.Issuer, order.Outputs.Record, now); err != nil {
		return nil, err
	}
	if plan.request, err = c.request(csr, order.RequestKey, plan.issuer); err != nil {
		return nil, err
	}
	if plan.profile, err = order.Profile.compile(plan.preset); err != nil {
		return nil, err
	}
	if err := fitsBelow(plan.issuer, plan.profile.Config().MaxPathLength); err != nil {
		return nil, err
	}
	ask := profile.AskOf(plan.request)
	ask.Subject, ask.Names = plan.request.Subject, plan.request.Names
	if order.Subject != nil {
		ask.Subject = order.Subject.name()
	}
	ask.Issuer, ask.NotAfter = plan.issuer, order.Validity.From(now)
	ask.URLs = profile.URLs{IssuingCertificates: order.URLs.CAIssuers, CRLDistributionPoints: order.URLs.CRL, OCSPServers: order.URLs.OCSP}
	planned, err := plan.profile.Template(ask, now)
	if err != nil {
		return nil, err
	}
	if given := ask.Subject.String(); planned.Certificate.Subject.String() != given {
		return nil, fault.Field("subject", "%q has attributes that preset %s does not know; give the subject in the order", given, plan.preset)
	}
	if len(planned.Warnings) > 0 {
		return nil, fault.New(fault.Invalid, "the order cannot be carried out as it is written: %s", strings.Join(planned.Warnings, "; "))
	}
	serial, err := cert.NewSerial()
	if err != nil {
		return nil, err
	}
	plan.template = planned.Certificate
	plan.template.SerialNumber = serial.Big()
	return plan, nil
}

// preset returns the name of the preset that the order narrows.
func (o IssuingOrder) preset() (string, error) {
	switch o.Tier {
	case "", tierIssuing:
		return issuingPreset, nil
	case tierIntermediate:
		return intermediatePreset, nil
	}
	return "", fault.Field("tier", "must be %s or %s, not %q", tierIssuing, tierIntermediate, o.Tier)
}

// fitsBelow refuses a path length that the root's own does not leave room for (RFC 5280
// section 4.2.1.9).
func fitsBelow(root *x509.Certificate, pathLength int) error {
	if root.MaxPathLen >= 0 && pathLength >= root.MaxPathLen && pathLength > 0 {
		return fault.Field("profile.max_path_length", "must be below %d, the path length of the root; a root for three tiers has a path length of 2 or none", root.MaxPathLen)
	}
	return nil
}

// request reads a CSR: its signature proves possession of the key, its key is not
// the root's and is the one that the order expects, if it says so.
func (c *Ceremony) request(csr []byte, expected string, issuer *x509.Certificate) (*cert.Request, error) {
	request, err := cert.ParseCACSR(csr)
	if err != nil {
		return nil, err
	}
	hash, err := cert.KeyFingerprint(request.PublicKey)
	if err != nil {
		return nil, err
	}
	spec, err := cert.KeySpecOf(request.PublicKey)
	if err != nil {
		return nil, err
	}
	c.report("request read, its key's possession proven",
		Fact{"subject", request.Subject.String()},
		Fact{"algorithm", spec.String()},
		Fact{"public key SHA-256", hash.String()},
		Fact{"request SHA-256", sha256Hex(request.Raw)},
	)
	if cert.Equal(request.PublicKey, issuer.PublicKey) {
		return nil, fault.Field("csr", "the public key is the root's own")
	}
	wanted := strings.ToLower(strings.ReplaceAll(expected, ":", ""))
	if wanted != "" && wanted != hash.Hex() {
		return nil, fault.Field("request_key_sha256", "the request has the public key %s, not the one that the order expects", hash)
	}
	return request, nil
}

// root reads the root's certificate and the record of its key.
func (c *Ceremony) root(path, recordPath string, now time.Time) (*x509.Certificate, *record, error) {
	root, err := readCertificate("issuer", path)
	if err != nil {
		return nil, nil, err
	}
	if err := isRoot(root, now); err != nil {
		return nil, nil, fault.FieldOf(fault.KindOf(err), "issuer", "%s: %w", path, err)
	}
	facts := append(describe(root), Fact{"certificate SHA-256", sha256Hex(root.Raw)})
	if err := fits(rootPreset)(root, root); err != nil {
		facts = append(facts, Fact{"note", "not as preset " + rootPreset + " makes it: " + err.Error()})
	}
	c.report("root read", facts...)
	hash, err := cert.KeyFingerprint(root.PublicKey)
	if err != nil {
		return nil, nil, err
	}
	record, err := openRecord(recordPath, hash)
	if err != nil {
		return nil, nil, err
	}
	c.showRecord(record)
	return root, record, nil
}

// isRoot refuses a certificate in whose name nothing may be signed now.
func isRoot(root *x509.Certificate, now time.Time) error {
	if err := selfSigned(root); err != nil {
		return err
	}
	return current(root, now)
}

func (u URLOrder) check() error {
	if len(u.CRL) == 0 {
		return fault.Field("urls.crl", "must name at least one place of the root's CRL")
	}
	for field, list := range map[string][]string{"urls.ca_issuers": u.CAIssuers, "urls.crl": u.CRL, "urls.ocsp": u.OCSP} {
		for _, text := range list {
			parsed, err := cert.ParseURI(text)
			if err != nil {
				return fault.Field(field, "%w", err)
			}
			if err := plain(parsed); err != nil {
				return fault.Field(field, "%w", err)
			}
		}
	}
	return nil
}

// plain refuses schemes with which a relying party would need a certificate to check
// a certificate (RFC 5280 section 8).
func plain(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "ldap" {
		return fault.New(fault.Invalid, "%s must be an http or ldap URL", u)
	}
	return nil
}

// describe says what a certificate is.
func describe(certificate *x509.Certificate) []Fact {
	facts := []Fact{
		{"subject", certificate.Subject.String()},
		{"issuer", certificate.Issuer.String()},
		{"serial number", cert.SerialOf(certificate.SerialNumber).String()},
		{"not before", certificate.NotBefore.UTC().Format(time.RFC3339)},
		{"not after", certificate.NotAfter.UTC().Format(time.RFC3339)},
		{"signature", certificate.SignatureAlgorithm.String()},
		{"key usage", strings.Join(profile.KeyUsageNames(certificate.KeyUsage), ", ")},
	}
	if certificate.MaxPathLen >= 0 {
		facts = append(facts, Fact{"path length", fmt.Sprint(certificate.MaxPathLen)})
	}
	for _, list := range []struct {
		name   string
		values []string
	}{
		{"permitted DNS domains", certificate.PermittedDNSDomains},
		{"excluded DNS domains", certificate.ExcludedDNSDomains},
		{"CA issuers", certificate.IssuingCertificateURL},
		{"CRL", certificate.CRLDistributionPoints},
		{"OCSP", certificate.OCSPServer},
	} {
		if len(list.values) > 0 {
			facts = append(facts, Fact{list.name, strings.Join(list.values, ", ")})
		}
	}
	return facts
}
