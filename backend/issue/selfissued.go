package issue

import (
	"context"
	"crypto/x509"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/catalog"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/lint"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// CrossRequest asks for a certificate of this mount's CA for another root, so that
// clients that trust only the CA accept what is below that root.
type CrossRequest struct {
	Issuer      string // who signs
	Certificate []byte // the self-signed certificate of the root, as cert.ParseCertificates reads it
	// SameAlgorithm refuses a root whose key is of another type than the issuer's.
	SameAlgorithm bool
}

// replaced are the extensions that the new certificate does not take from the root's:
// they speak about who signed it.
var replaced = []string{
	"2.5.29.35",         // authorityKeyIdentifier
	"2.5.29.31",         // cRLDistributionPoints
	"2.5.29.46",         // freshestCRL
	"1.3.6.1.5.5.7.1.1", // authorityInfoAccess
}

// SignSelfIssued signs the certificate of another root: subject, key, extensions and
// validity are the root's, as far as the issuer's own validity allows. The root's own
// signature proves possession of its key. The ledger knows the intent before the CA key
// is used.
func (s *Service) SignSelfIssued(ctx context.Context, request CrossRequest, who role.Identity) (*Result, error) {
	root, err := parseRoot(request.Certificate)
	if err != nil {
		return nil, err
	}
	parent, err := s.Issuers.Get(ctx, request.Issuer)
	if err != nil {
		return nil, err
	}
	if err := s.checkParent(parent); err != nil {
		return nil, err
	}
	if !parent.PermitsProfile(profile.SpelledSubCA) {
		return nil, fault.New(fault.Denied, "issuer %s does not permit profile %s (permitted_profiles)", parent.ID(), profile.SpelledSubCA)
	}
	key, release, err := s.claim(ctx, "certificate", root.PublicKey, profile.KindSubCA)
	if err != nil {
		return nil, err
	}
	defer release()
	switch {
	case key == parent.Key():
		return nil, fault.Field("certificate", "has the public key of the signing issuer %s itself", parent.ID())
	case request.SameAlgorithm && root.PublicKeyAlgorithm != parent.Certificate().PublicKeyAlgorithm:
		return nil, fault.Field("require_matching_certificate_algorithms", "the certificate has a key of type %s, issuer %s one of type %s",
			root.PublicKeyAlgorithm, parent.ID(), parent.Certificate().PublicKeyAlgorithm)
	}
	signed, warnings, err := s.cross(ctx, parent, root, who)
	if err != nil {
		return nil, err
	}
	return &Result{Certificate: signed, Serial: cert.SerialOf(signed.SerialNumber), Issuer: parent, Warnings: warnings}, nil
}

// parseRoot reads one self-signed CA certificate.
func parseRoot(raw []byte) (*x509.Certificate, error) {
	certs, others, err := cert.ParseCertificates(raw)
	if err != nil {
		return nil, fault.FieldOf(fault.Invalid, "certificate", "%w", err)
	}
	if len(certs) != 1 || len(others) > 0 {
		return nil, fault.Field("certificate", "must be one certificate and nothing else")
	}
	root := certs[0]
	switch {
	case !root.BasicConstraintsValid || !root.IsCA:
		return nil, fault.Field("certificate", "must be a CA certificate: basicConstraints must say CA:TRUE")
	case !cert.SelfIssued(root):
		return nil, fault.Field("certificate", "must be self-issued: its issuer is %q, its subject %q", root.Issuer, root.Subject)
	case root.CheckSignature(root.SignatureAlgorithm, root.RawTBSCertificate, root.Signature) != nil:
		return nil, fault.Field("certificate", "must be signed with its own key, which proves possession of the key")
	}
	return root, nil
}

// cross drafts, records and signs.
func (s *Service) cross(ctx context.Context, parent *issuer.Issuer, root *x509.Certificate, who role.Identity) (*x509.Certificate, []string, error) {
	compiled, err := profile.New(profile.SpelledSubCA, 0, profile.ForCA(profile.KindSubCA))
	if err != nil {
		return nil, nil, err
	}
	authority, err := s.Issuers.Authority(ctx, parent, issuer.Issuing, 0)
	if err != nil {
		return nil, nil, err
	}
	template, warnings, err := s.crossTemplate(ctx, parent, root)
	if err != nil {
		return nil, nil, err
	}
	record, err := s.caRecord(template, root.PublicKey, parent.ID(), compiled, who)
	if err != nil {
		return nil, nil, err
	}
	if err := s.place(ctx, template, parent, compiled); err != nil {
		return nil, nil, err
	}
	signed, err := s.redeemCA(ctx, record, func() (*sign.Draft, error) {
		return authority.Draft(template, root.PublicKey, parent.WithinChain(), lint.Check(catalog.LintPolicy(compiled)))
	})
	return signed, warnings, err
}

// crossTemplate is the root's certificate under the issuer. A certificate never
// outlives its issuer, so a validity that does is cut.
func (s *Service) crossTemplate(ctx context.Context, parent *issuer.Issuer, root *x509.Certificate) (*x509.Certificate, []string, error) {
	var warnings []string
	above := parent.Certificate()
	template := &x509.Certificate{
		Subject: root.Subject, RawSubject: root.RawSubject, NotBefore: root.NotBefore, NotAfter: root.NotAfter, SubjectKeyId: root.SubjectKeyId,
		IsCA: true, BasicConstraintsValid: true,
	}
	for _, extension := range root.Extensions {
		if !slices.Contains(replaced, extension.Id.String()) {
			template.ExtraExtensions = append(template.ExtraExtensions, extension)
		}
	}
	if template.NotBefore.Before(above.NotBefore) {
		template.NotBefore = above.NotBefore
	}
	if template.NotAfter.After(above.NotAfter) {
		template.NotAfter = above.NotAfter
		warnings = append(warnings, "The certificate expires with its issuer at "+above.NotAfter.UTC().Format(time.RFC3339)+", before the given one does.")
	}
	if !s.Now().Before(template.NotAfter) {
		return nil, nil, fault.Field("certificate", "has expired")
	}
	urls, err := s.urls(ctx, parent)
	if err != nil {
		return nil, nil, err
	}
	template.IssuingCertificateURL, template.CRLDistributionPoints, template.OCSPServer = urls.IssuingCertificates, urls.CRLDistributionPoints, urls.OCSPServers
	return template, warnings, nil
}
