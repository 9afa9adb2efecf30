package crl

import (
	"crypto/x509"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// The extensions that say which certificates a list covers and how.
const (
	oidDistributionPoint = "\x55\x1d\x1c" // 2.5.29.28
	oidDeltaIndicator    = "\x55\x1d\x1b" // 2.5.29.27
	oidFreshest          = "\x55\x1d\x2e" // 2.5.29.46
)

// appendScope appends the extensions of shards, deltas and lists that have deltas.
func (l List) appendScope(dst []byte) []byte {
	if len(l.Points) > 0 {
		var b cryptobyte.Builder
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { cert.AddPoint(b, l.Points) })
		dst = appendCritical(dst, oidDistributionPoint, b.BytesOrPanic())
	}
	if !l.Base.IsZero() {
		var b cryptobyte.Builder
		b.AddASN1BigInt(l.Base.Big())
		dst = appendCritical(dst, oidDeltaIndicator, b.BytesOrPanic())
	}
	if len(l.Freshest) > 0 {
		dst = appendExtension(dst, oidFreshest, cert.MarshalPoints(l.Freshest))
	}
	return dst
}

// appendCritical appends an Extension that is critical.
func appendCritical(dst []byte, oid string, value []byte) []byte {
	content := appendValue(nil, 0x06, []byte(oid))
	content = append(content, 0x01, 1, 0xff)
	content = appendValue(content, tagOctetString, value)
	return appendValue(dst, tagSequence, content)
}

// BaseOf returns the number of the complete list that a delta is about, 0 for a list
// that is none.
func BaseOf(list *x509.RevocationList) int64 {
	for _, e := range list.Extensions {
		if e.Id.String() != "2.5.29.27" {
			continue
		}
		var base int64
		if value := cryptobyte.String(e.Value); !value.ReadASN1Integer(&base) || !value.Empty() {
			return -1
		}
		return base
	}
	return 0
}
