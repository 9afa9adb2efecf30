package backend

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/places"
)

// present returns the URLs that a certificate of an issuer would name now.
func (b *Backend) present(ctx context.Context, i *issuer.Issuer) (places.URLs, error) {
	urls, err := b.Issuers.URLsFor(ctx, i)
	if fault.Is(err, fault.Invalid) {
		return places.URLs{}, nil // nothing is issued with such URLs
	}
	whole := slices.DeleteFunc(slices.Clone(urls.CRLDistributionPoints), func(url string) bool { return strings.Contains(url, issuer.CRLShard) })
	return places.URLs{
		places.CRL: whole, places.Delta: urls.DeltaCRLs,
		places.OCSP: urls.OCSPServers, places.CAIssuers: urls.IssuingCertificates,
	}, err
}

// locate adds to what an edge is told of an issuer the URLs that live certificates name,
// behind those of the present settings.
func (b *Backend) locate(ctx context.Context, i *issuer.Issuer, told *feed.Issuer) error {
	present, err := b.present(ctx, i)
	if err != nil {
		return err
	}
	named, err := b.Places.Of(ctx, i.CA())
	if err != nil {
		return err
	}
	earlier := map[string]bool{}
	join := func(kind places.Kind) []string {
		urls := slices.Clone(present[kind])
		for _, url := range named[kind] {
			if !slices.Contains(urls, url) {
				urls = append(urls, url)
				earlier[url] = true
			}
		}
		return urls
	}
	told.OCSPURLs, told.CAIssuersURLs = join(places.OCSP), join(places.CAIssuers)
	complete, delta := join(places.CRL), join(places.Delta)
	for at := range told.Lists {
		list := &told.Lists[at]
		for kind, urls := range map[feed.ListKind][]string{feed.Complete: complete, feed.Delta: delta} {
			if list.Kind != string(kind) {
				continue
			}
			for _, url := range urls {
				if earlier[url] && !slices.Contains(list.URLs, url) {
					list.URLs = append(list.URLs, url)
				}
			}
		}
	}
	told.EarlierURLs = slices.Sorted(maps.Keys(earlier))
	return nil
}

// adoptPlaces notes the URLs of the present settings for CAs whose certificates were
// issued before URLs were noted: until the last of these certificates expires. It looks
// through the ledger once for each CA.
func (b *Backend) adoptPlaces(ctx context.Context) error {
	all, err := b.Issuers.List(ctx)
	if err != nil {
		return err
	}
	missing := map[string]*issuer.Issuer{}
	for _, i := range all {
		ca := i.CA()
		if i.KeyID() == "" || b.background.adopted[i.ID()] {
			continue
		}
		known, err := b.Places.Known(ctx, ca)
		if err != nil {
			return err
		}
		if b.background.adopted[i.ID()] = known; !known {
			missing[i.ID()] = i
		}
	}
	if len(missing) == 0 {
		return nil
	}
	latest := map[string]time.Time{}
	rows, err := b.Ledger.Rows("")
	if err != nil {
		return err
	}
	for row := range rows {
		if missing[row.Issuer] != nil && row.NotAfter.After(latest[row.Issuer]) {
			latest[row.Issuer] = row.NotAfter
		}
	}
	for id, i := range missing {
		urls, err := b.present(ctx, i)
		if err != nil {
			return err
		}
		if until := latest[id]; !until.IsZero() {
			if err := b.Places.Note(ctx, i.CA(), urls, until); err != nil {
				return err
			}
		}
		b.background.adopted[id] = true
	}
	return nil
}
