package issue

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/places"
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

// place sets the CRL distribution points of a certificate that has its serial number,
// and notes every URL that the certificate names: it must answer until the certificate
// has expired.
func (s *Service) place(ctx context.Context, template *x509.Certificate, i *issuer.Issuer, p *profile.Profile) error {
	until := template.NotAfter.Add(p.CRLRetention())
	named := places.URLs{
		places.CRL: template.CRLDistributionPoints, places.Delta: freshest(template),
		places.OCSP: template.OCSPServer, places.CAIssuers: template.IssuingCertificateURL,
	}
	if len(template.CRLDistributionPoints) > 0 {
		points, err := s.Lists.Place(ctx, i.ID(), cert.SerialOf(template.SerialNumber), template.CRLDistributionPoints, until)
		if err != nil {
			return fmt.Errorf("placing the certificate on the CRLs of issuer %s: %w", i.ID(), err)
		}
		named[places.CRL] = same(template.CRLDistributionPoints, points) // the crl package knows those of shards
		template.CRLDistributionPoints = points
	}
	if err := s.Places.Note(ctx, i.CA(), named, until); err != nil {
		return fmt.Errorf("noting the URLs of issuer %s: %w", i.ID(), err)
	}
	return nil
}

// oidFreshestCRL is id-ce-freshestCRL (RFC 5280 section 4.2.1.15).
var oidFreshestCRL = asn1.ObjectIdentifier{2, 5, 29, 46}

// freshest returns the URLs of delta CRLs that a template names.
func freshest(template *x509.Certificate) []string {
	for _, extension := range template.ExtraExtensions {
		if extension.Id.Equal(oidFreshestCRL) {
			return cert.ParsePoints(extension.Value)
		}
	}
	return nil
}

// same returns the URLs that placing has not changed: those of complete lists.
func same(before, after []string) []string {
	return slices.DeleteFunc(slices.Clone(before), func(url string) bool { return !slices.Contains(after, url) })
}
