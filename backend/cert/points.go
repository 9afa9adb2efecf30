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

// ParsePoints returns the URLs in CRLDistributionPoints in DER, whatever their order, and
// none when it is malformed.
func ParsePoints(value []byte) []string {
	var points cryptobyte.String
	input := cryptobyte.String(value)
	if !input.ReadASN1(&points, asn1.SEQUENCE) {
		return nil
	}
	constructed := asn1.Tag(0).ContextSpecific().Constructed()
	var urls []string
	for !points.Empty() {
		var point, name, full cryptobyte.String
		if !points.ReadASN1(&point, asn1.SEQUENCE) {
			return nil
		}
		if !point.ReadASN1(&name, constructed) || !name.ReadASN1(&full, constructed) {
			continue // a name of another form
		}
		for !full.Empty() {
			var general cryptobyte.String
			var tag asn1.Tag
			if !full.ReadAnyASN1(&general, &tag) {
				return nil
			}
			if tag == asn1.Tag(6).ContextSpecific() {
				urls = append(urls, string(general))
			}
		}
	}
	return urls
}
