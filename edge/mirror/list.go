package mirror

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

// download writes the octets of a list, no more of them than were announced.
func (m *Mirror) download(ctx context.Context, issuer string, wanted *state.List, w io.Writer) error {
	left := wanted.Size
	for index := 0; ; index++ {
		part, last, err := m.config.Client.Chunk(ctx, issuer, wanted.Name(), wanted.Number, index)
		if err != nil {
			return err
		}
		if left -= int64(len(part)); left < 0 || len(part) == 0 {
			return fault.New(fault.Invalid, "the list has another length than announced")
		}
		if _, err := w.Write(part); err != nil {
			return fault.New(fault.Unavailable, "writing a list: %w", err)
		}
		if last {
			return nil
		}
	}
}

// deltaIndicator is the OID of the extension deltaCRLIndicator.
const deltaIndicator = "2.5.29.27"

// verify checks that a list is what the manifest says and that the issuer has signed
// it. A list may have a million entries, which nothing here asks about: they are left
// out of what is parsed, and only their octets hashed.
func verify(der []byte, wanted *state.List, issuer *x509.Certificate) error {
	tbs, bare, signature, err := split(der)
	if err != nil {
		return err
	}
	list, err := x509.ParseRevocationList(bare)
	if err != nil {
		return fault.New(fault.Invalid, "the list is malformed: %w", err)
	}
	if !bytes.Equal(list.RawIssuer, issuer.RawSubject) {
		return fault.New(fault.Invalid, "the list was issued by another CA")
	}
	if issuer.KeyUsage != 0 && issuer.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return fault.New(fault.Invalid, "the issuer's certificate has no key usage cRLSign")
	}
	if err := issuer.CheckSignature(list.SignatureAlgorithm, tbs, signature); err != nil {
		return fault.New(fault.Invalid, "the issuer has not signed the list: %w", err)
	}
	if list.Number == nil || list.Number.String() != wanted.CRL() {
		return fault.New(fault.Invalid, "the list has another number than announced")
	}
	if !sameSecond(list.ThisUpdate, wanted.ThisUpdate) || !sameSecond(list.NextUpdate, wanted.NextUpdate) {
		return fault.New(fault.Invalid, "the list has other times than announced")
	}
	return verifyBase(list, wanted)
}

func sameSecond(a, b time.Time) bool { return a.Unix() == b.Unix() }

// verifyBase checks that a delta is one, of the announced base, and nothing else is.
func verifyBase(list *x509.RevocationList, wanted *state.List) error {
	isDelta := false
	for _, extension := range list.Extensions {
		if extension.Id.String() != deltaIndicator {
			continue
		}
		isDelta = true
		base, value := new(big.Int), cryptobyte.String(extension.Value)
		if !value.ReadASN1Integer(base) || !base.IsInt64() || base.Int64() != wanted.BaseNumber {
			return fault.New(fault.Invalid, "the delta list has another base than announced")
		}
	}
	if isDelta != (wanted.Kind == feed.Delta) {
		return fault.New(fault.Invalid, "a delta list was announced as another, or another as a delta list")
	}
	return nil
}

// split takes a CRL apart: what is signed, the CRL without its revokedCertificates,
// and the signature (RFC 5280 section 5.1).
func split(der []byte) (tbs, bare, signature []byte, err error) {
	malformed := fault.New(fault.Invalid, "the list is malformed")
	input, body := cryptobyte.String(der), cryptobyte.String(nil)
	var signed, fields, rest cryptobyte.String
	if !input.ReadASN1(&body, asn1.SEQUENCE) || !input.Empty() || !body.ReadASN1Element(&signed, asn1.SEQUENCE) {
		return nil, nil, nil, malformed
	}
	rest = body
	if !body.SkipASN1(asn1.SEQUENCE) || !body.ReadASN1BitStringAsBytes(&signature) || !body.Empty() {
		return nil, nil, nil, malformed
	}
	tbs = signed
	if !signed.ReadASN1(&fields, asn1.SEQUENCE) {
		return nil, nil, nil, malformed
	}
	kept, ok := withoutEntries(fields)
	if !ok {
		return nil, nil, nil, malformed
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(kept) })
		b.AddBytes(rest)
	})
	bare, err = b.Bytes()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("taking a list apart: %w", err)
	}
	return tbs, bare, signature, nil
}

// withoutEntries returns the fields of a tbsCertList without revokedCertificates: the
// sequence that follows the times.
func withoutEntries(fields cryptobyte.String) ([]byte, bool) {
	var kept []byte
	times := 0
	for !fields.Empty() {
		var element cryptobyte.String
		var tag asn1.Tag
		if !fields.ReadAnyASN1Element(&element, &tag) {
			return nil, false
		}
		if tag == asn1.UTCTime || tag == asn1.GeneralizedTime {
			times++
		}
		if tag == asn1.SEQUENCE && times > 0 {
			continue
		}
		kept = append(kept, element...)
	}
	return kept, true
}
