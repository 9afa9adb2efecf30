package issue

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// urls returns what a certificate of the issuer points to. A delta is about the complete
// CRL: certificates that only name shards have no use for one (RFC 5280 section 5.2.4: a
// delta and its base have the same scope).
func (s *Service) urls(ctx context.Context, i *issuer.Issuer) (profile.URLs, error) {
	urls, err := s.Issuers.URLsFor(ctx, i)
	if !slices.ContainsFunc(urls.CRLDistributionPoints, func(url string) bool { return !strings.Contains(url, issuer.CRLShard) }) {
		urls.DeltaCRLs = nil
	}
	return urls, err
}

// place sets the CRL distribution points of a certificate that has its serial number.
func (s *Service) place(ctx context.Context, template *x509.Certificate, i *issuer.Issuer, p *profile.Profile) error {
	if len(template.CRLDistributionPoints) == 0 {
		return nil
	}
	points, err := s.Lists.Place(ctx, i.ID(), cert.SerialOf(template.SerialNumber), template.CRLDistributionPoints, template.NotAfter.Add(p.CRLRetention()))
	if err != nil {
		return fmt.Errorf("placing the certificate on the CRLs of issuer %s: %w", i.ID(), err)
	}
	template.CRLDistributionPoints = points
	return nil
}
