package issuer

import (
	"context"
	"slices"
	"strings"
)

// issuerID stands in a URL for the issuer that signs the certificate, caID for its CA,
// which stays the same when the certificate of the CA is renewed.
const (
	issuerID = "{{issuer_id}}"
	caID     = "{{ca_id}}"
)

// SharedURLs returns the fields of config/urls that name one URL for the CRLs or
// certificates of several CAs. At such a URL, relying parties find at most one CA's.
func (s *Set) SharedURLs(ctx context.Context) ([]string, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	fixed := func(text string) bool {
		return !snap.urls.EnableTemplating || !strings.Contains(text, issuerID) && !strings.Contains(text, caID)
	}
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
		cas := map[string]bool{}
		for _, view := range snap.byID {
			if slices.Contains(allowed[view.State()], CRLSigning) && len(field.own(view.Settings())) == 0 {
				cas[view.CA()] = true
			}
		}
		if len(cas) > 1 && slices.ContainsFunc(field.urls, fixed) {
			fields = append(fields, field.name)
		}
	}
	return fields, nil
}
