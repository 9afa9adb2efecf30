package issuer

import (
	"context"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// issuerID stands in a URL for the issuer that signs the certificate.
const issuerID = "{{issuer_id}}"

// SharedURLs returns the fields of config/urls that name one URL for the CRLs or
// certificates of several CAs. At such a URL, relying parties find at most one CA's.
func (s *Set) SharedURLs(ctx context.Context) ([]string, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	fixed := func(text string) bool { return !snap.urls.EnableTemplating || !strings.Contains(text, issuerID) }
	var fields []string
	for _, field := range []struct {
		name string
		urls []string
		own  func(Settings) []string
	}{
		{"issuing_certificates", snap.urls.IssuingCertificates, func(o Settings) []string { return o.IssuingCertificates }},
		{crlField, snap.urls.CRLDistribution, func(o Settings) []string { return o.CRLDistribution }},
		{"delta_crl_distribution_points", snap.urls.DeltaCRLs, func(o Settings) []string { return o.DeltaCRLs }},
	} {
		keys := map[cert.Fingerprint]bool{}
		for _, view := range snap.byID {
			if slices.Contains(allowed[view.State()], CRLSigning) && len(field.own(view.Settings())) == 0 {
				keys[view.Key()] = true
			}
		}
		if len(keys) > 1 && slices.ContainsFunc(field.urls, fixed) {
			fields = append(fields, field.name)
		}
	}
	return fields, nil
}
