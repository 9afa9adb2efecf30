package cert

import (
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// MarshalPoints returns CRLDistributionPoints in DER in which each URL is a distribution
// point of its own: the value of freshestCRL in certificates and CRLs (RFC 5280 sections
// 4.2.1.15 and 5.2.6).
func MarshalPoints(urls []string) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, url := range urls {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { AddPoint(b, []string{url}) })
		}
	})
	return b.BytesOrPanic()
}

// AddPoint adds the element distributionPoint [0] of a distribution point, or of an
// issuing distribution point, with a fullName [0] of URLs [6].
func AddPoint(b *cryptobyte.Builder, urls []string) {
	b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			for _, url := range urls {
				b.AddASN1(asn1.Tag(6).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(url)) })
			}
		})
	})
}
