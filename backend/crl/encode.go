package crl

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// blockSize is how many octets of entries are gathered before they are handed on.
const blockSize = 64 << 10

// Encode streams a signed CRL in DER to w: entries is walked three times (to
// measure, to hash, to write) because DER puts every length, that of the signature
// included, in front. It must yield the same entries in the same order each time;
// Encode notices when it does not and fails. What was written before an error is
// worthless. Beyond what w keeps, memory does not grow with the list (an Ed25519
// key is the exception: it signs the message, not a digest). One signature is made.
// When w has a method Grow(int), it is told the size in octets first.
func Encode(w io.Writer, authority *sign.Authority, list List, entries iter.Seq[Entry]) error {
	measured, err := measure(entries)
	if err != nil {
		return err
	}
	return encode(w, authority, list, measured, entries)
}

// extent says how much room entries take.
type extent struct {
	entries int
	length  int // octets
}

// measure walks the entries for the first time.
func measure(entries iter.Seq[Entry]) (extent, error) {
	var all extent
	for entry := range entries {
		size, err := entry.size()
		if err != nil {
			return extent{}, err
		}
		all.entries++
		all.length += size
	}
	return all, nil
}

// encode is Encode for entries that have been measured.
func encode(w io.Writer, authority *sign.Authority, list List, measured extent, entries iter.Seq[Entry]) error {
	var first uint32
	walks := 0
	return assemble(w, authority, list, measured.length, func(w io.Writer) error {
		length, sum, err := walk(w, entries)
		if err != nil {
			return err
		}
		if walks++; walks == 1 {
			first = sum
		}
		if length != measured.length || sum != first {
			return fault.New(fault.Internal, "the entries changed between two walks")
		}
		return nil
	})
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// walk writes the DER of all entries to w, one block at a time, and returns what two
// walks over the same entries have in common.
func walk(w io.Writer, entries iter.Seq[Entry]) (length int, sum uint32, err error) {
	var days calendar
	block := make([]byte, 0, blockSize+maxEntrySize)
	flush := func() error {
		length += len(block)
		sum = crc32.Update(sum, castagnoli, block)
		_, err := w.Write(block)
		block = block[:0]
		return err
	}
	for entry := range entries {
		if block, err = entry.append(block, &days); err != nil {
			return 0, 0, err
		}
		if len(block) < blockSize {
			continue
		}
		if err = flush(); err != nil {
			return 0, 0, err
		}
	}
	if len(block) > 0 {
		err = flush()
	}
	return length, sum, err
}

// assemble signs and writes a CertificateList around entries whose DER has the
// given length: octets writes exactly that DER and is called twice.
func assemble(w io.Writer, authority *sign.Authority, list List, length int, octets func(io.Writer) error) error {
	if err := list.check(authority.Certificate()); err != nil {
		return err
	}
	algorithm, err := authority.AlgorithmIdentifier()
	if err != nil {
		return fmt.Errorf("encoding crl %s: %w", list.Number, err)
	}
	head, tail, err := list.frame(authority.Certificate(), algorithm, length)
	if err != nil {
		return fmt.Errorf("encoding crl %s: %w", list.Number, err)
	}
	stream := authority.Stream()
	if err := emit(stream, head, octets, tail); err != nil {
		return fmt.Errorf("hashing crl %s: %w", list.Number, err)
	}
	signature, err := stream.Sign()
	if err != nil {
		return fmt.Errorf("signing crl %s: %w", list.Number, err)
	}
	end := slices.Concat(tail, algorithm)
	end = appendHeader(end, tagBitString, len(signature)+1)
	end = append(append(end, 0), signature...)
	size := len(head) + length + len(end)
	start := append(appendHeader(nil, tagSequence, size), head...)
	if growing, ok := w.(interface{ Grow(n int) }); ok {
		growing.Grow(len(start) - len(head) + size)
	}
	if err := emit(w, start, octets, end); err != nil {
		return fmt.Errorf("writing crl %s: %w", list.Number, err)
	}
	return nil
}

func emit(w io.Writer, head []byte, octets func(io.Writer) error, tail []byte) error {
	if _, err := w.Write(head); err != nil {
		return err
	}
	if err := octets(w); err != nil {
		return err
	}
	_, err := w.Write(tail)
	return err
}

// check refuses a list that RFC 5280 sections 5.1 and 5.2 do not allow.
func (l List) check(issuer *x509.Certificate) error {
	switch {
	case issuer.KeyUsage != 0 && issuer.KeyUsage&x509.KeyUsageCRLSign == 0:
		return fault.New(fault.Denied, "encoding crl %s: the key usage of the issuer's certificate has no cRLSign", l.Number)
	case !encodable(l.ThisUpdate) || !encodable(l.NextUpdate) || !l.NextUpdate.After(l.ThisUpdate):
		return fault.New(fault.Invalid, "encoding crl %s: nextUpdate must be after thisUpdate", l.Number)
	case !l.Base.IsZero() && (l.Base.Compare(l.Number) >= 0 || len(l.Freshest) > 0):
		return fault.New(fault.Invalid, "encoding crl %s: a delta is about an older list than itself, %s, and has no delta", l.Number, l.Base)
	case len(l.Points) > 0 && (l.OnlyCACerts || l.OnlyUserCerts):
		return fault.New(fault.Invalid, "encoding crl %s: a shard covers certificates of every kind", l.Number)
	case l.OnlyCACerts && l.OnlyUserCerts:
		return fault.New(fault.Invalid, "encoding crl %s: a list is for CA certificates only or for user certificates only, not both", l.Number)
	}
	return nil
}

// frame returns the octets of the tbsCertList before and after its entries. An
// empty revokedCertificates is absent (RFC 5280 section 5.1.2.6).
func (l List) frame(issuer *x509.Certificate, algorithm []byte, entries int) (head, tail []byte, err error) {
	tail, err = l.extensions(issuer)
	if err != nil {
		return nil, nil, err
	}
	const version2 = 1
	fields := append([]byte{tagInteger, 1, version2}, algorithm...)
	fields = append(fields, issuer.RawSubject...)
	fields = appendTime(fields, l.ThisUpdate)
	fields = appendTime(fields, l.NextUpdate)
	if entries > 0 {
		fields = appendHeader(fields, tagSequence, entries)
	}
	head = appendHeader(nil, tagSequence, len(fields)+entries+len(tail))
	return append(head, fields...), tail, nil
}

// extensions returns crlExtensions in DER: authorityKeyIdentifier, cRLNumber and,
// for a list that covers only some certificates, issuingDistributionPoint.
func (l List) extensions(issuer *x509.Certificate) ([]byte, error) {
	keyID, err := keyIdentifier(issuer)
	if err != nil {
		return nil, err
	}
	var aki, number cryptobyte.Builder
	aki.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(keyID) })
	})
	number.AddASN1BigInt(l.Number.Big())
	var all []byte
	if !l.AnyKeyID {
		all = appendExtension(nil, "\x55\x1d\x23", aki.BytesOrPanic())
	}
	all = appendExtension(all, "\x55\x1d\x14", number.BytesOrPanic())
	switch {
	case l.OnlyUserCerts:
		all = append(all, distributionHead+"\x81\x01\xff"...)
	case l.OnlyCACerts:
		all = append(all, distributionHead+"\x82\x01\xff"...)
	}
	all = l.appendScope(all)
	return appendValue(nil, tagExtensions, appendValue(nil, tagSequence, all)), nil
}

// distributionHead is a critical issuingDistributionPoint up to its one BOOLEAN
// (RFC 5280 section 5.2.5).
const distributionHead = "\x30\x0f\x06\x03\x55\x1d\x1c\x01\x01\xff\x04\x05\x30\x03"

// appendExtension appends an Extension that is not critical.
func appendExtension(dst []byte, oid string, value []byte) []byte {
	content := appendValue(nil, 0x06, []byte(oid))
	content = appendValue(content, tagOctetString, value)
	return appendValue(dst, tagSequence, content)
}

// keyIdentifier returns what the issuer's certificate says; RFC 5280 section 5.2.1
// wants the key identifier method also of one that says nothing, which then gets
// RFC 7093 section 2, method 1.
func keyIdentifier(issuer *x509.Certificate) ([]byte, error) {
	if len(issuer.SubjectKeyId) > 0 {
		return issuer.SubjectKeyId, nil
	}
	spki := cryptobyte.String(issuer.RawSubjectPublicKeyInfo)
	var key []byte
	if !spki.ReadASN1(&spki, asn1.SEQUENCE) || !spki.SkipASN1(asn1.SEQUENCE) || !spki.ReadASN1BitStringAsBytes(&key) {
		return nil, fault.New(fault.Invalid, "reading the issuer's subjectPublicKeyInfo: malformed")
	}
	digest := sha256.Sum256(key)
	return digest[:20], nil
}
