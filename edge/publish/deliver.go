package publish

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

// destination is where a publisher puts things.
type destination interface {
	// place names where an item goes: an address that is the same for two items when
	// one would replace the other. Invalid when there is no such place.
	place(i item) (string, error)
	// open connects, and reads secrets from their files, so that a rotated one is used at
	// once. It comes before read and write, and only when there is something to do.
	open(ctx context.Context) error
	// read returns what is in the item's place now; nil when there is nothing.
	read(ctx context.Context, i item) ([]byte, error)
	// write puts content in the item's place: another reader sees what was there
	// before or all of the content.
	write(ctx context.Context, i item, content []byte) error
	// close ends what open began, if it did.
	close()
}

// maxContent is the most that is read from a place, in octets: four times the largest
// list that is likely. What is larger is none of ours.
const maxContent = 512 << 20

// delivered says what a place holds after a delivery.
type delivered struct {
	number int64
	digest string
	wrote  bool
}

// deliver makes a place hold an item: it looks, writes only if something else is
// there, and looks again. If we crash in between, the next delivery finds what is
// there by looking.
func deliver(ctx context.Context, to destination, i item, content func() ([]byte, error)) (delivered, error) {
	there, err := to.read(ctx, i)
	if err != nil {
		return delivered{}, err
	}
	if there != nil && digestOf(there) == i.digest {
		return delivered{number: i.number, digest: i.digest}, nil
	}
	if number, newer := newerThan(there, i); newer {
		return delivered{number: number, digest: digestOf(there)}, nil
	}
	octets, err := content()
	if err != nil {
		return delivered{}, err
	}
	if digestOf(octets) != i.digest {
		return delivered{}, fault.New(fault.Internal, "%s of issuer %s is not what the manifest says", i.list, i.issuer)
	}
	if err := to.write(ctx, i, octets); err != nil {
		return delivered{}, err
	}
	there, err = to.read(ctx, i)
	if err != nil {
		return delivered{}, err
	}
	if !bytes.Equal(there, octets) {
		return delivered{}, fault.New(fault.Unavailable, "the target returned other content than was written: %d bytes instead of %d", len(there), len(octets))
	}
	return delivered{number: i.number, digest: i.digest, wrote: true}, nil
}

// newerThan reports whether what is in a place is a list of the same CA with a higher
// number than the item's: another edge knows more than this one. Only a list that the
// CA has signed counts, or whoever can write there could keep new ones away.
func newerThan(there []byte, i item) (number int64, newer bool) {
	if len(there) == 0 || i.kind == certificate {
		return 0, false
	}
	issuer, found, ok := numberOf(there)
	if !ok || !bytes.Equal(issuer, i.authority.RawSubject) || i.crl == nil || found.Cmp(i.crl) <= 0 {
		return 0, false
	}
	list, err := x509.ParseRevocationList(there)
	if err != nil || list.CheckSignatureFrom(i.authority) != nil {
		return 0, false
	}
	if !found.IsInt64() {
		return feed.MaxNumber, true // reports hold no more
	}
	return found.Int64(), true
}

var (
	oidCRLNumber = asn1.ObjectIdentifier{2, 5, 29, 20}
	timeTags     = []cryptobyteasn1.Tag{cryptobyteasn1.UTCTime, cryptobyteasn1.GeneralizedTime}
)

// numberOf reads issuer and number out of a CRL without looking at its entries (RFC
// 5280 sections 5.1 and 5.2.3), of which there may be a million.
func numberOf(der []byte) (issuer []byte, number *big.Int, ok bool) {
	input := cryptobyte.String(der)
	var list, tbs, name, extensions cryptobyte.String
	var wrapped bool
	if !input.ReadASN1(&list, cryptobyteasn1.SEQUENCE) || !input.Empty() || !list.ReadASN1(&tbs, cryptobyteasn1.SEQUENCE) ||
		!tbs.SkipOptionalASN1(cryptobyteasn1.INTEGER) || !tbs.SkipASN1(cryptobyteasn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&name, cryptobyteasn1.SEQUENCE) {
		return nil, nil, false
	}
	for range 2 { // thisUpdate and nextUpdate
		for _, tag := range timeTags {
			if !tbs.SkipOptionalASN1(tag) {
				return nil, nil, false
			}
		}
	}
	if !tbs.SkipOptionalASN1(cryptobyteasn1.SEQUENCE) ||
		!tbs.ReadOptionalASN1(&extensions, &wrapped, cryptobyteasn1.Tag(0).Constructed().ContextSpecific()) || !wrapped ||
		!extensions.ReadASN1(&extensions, cryptobyteasn1.SEQUENCE) {
		return nil, nil, false
	}
	for !extensions.Empty() {
		var extension, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !extensions.ReadASN1(&extension, cryptobyteasn1.SEQUENCE) || !extension.ReadASN1ObjectIdentifier(&oid) ||
			!extension.SkipOptionalASN1(cryptobyteasn1.BOOLEAN) || !extension.ReadASN1(&value, cryptobyteasn1.OCTET_STRING) {
			return nil, nil, false
		}
		if oid.Equal(oidCRLNumber) {
			number = new(big.Int)
			return name, number, value.ReadASN1Integer(number)
		}
	}
	return nil, nil, false
}
