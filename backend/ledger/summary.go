package ledger

import (
	"crypto/sha256"
	"encoding/asn1"
	"math/big"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// summary is what rows need of a certificate. Reading it costs a tenth of
// x509.ParseCertificate, which matters because each certificate passes here once
// when it is issued and pages pass here at a restart.
type summary struct {
	serial              cert.Serial
	notBefore, notAfter time.Time
	name                string
	keyHash             cert.Fingerprint
}

var (
	oidCommonName     = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
)

var errSummary = fault.New(fault.Internal, "certificate is not well-formed DER")

// summarise reads a certificate of RFC 5280 section 4.1. It checks only the
// structure that it walks.
func summarise(der []byte) (summary, error) {
	var s summary
	var certificate, tbs, issuer, validity, subject, spki cryptobyte.String
	input := cryptobyte.String(der)
	serial := new(big.Int)
	ok := input.ReadASN1(&certificate, cbasn1.SEQUENCE) && input.Empty() &&
		certificate.ReadASN1(&tbs, cbasn1.SEQUENCE) &&
		tbs.SkipOptionalASN1(cbasn1.Tag(0).Constructed().ContextSpecific()) &&
		tbs.ReadASN1Integer(serial) &&
		tbs.SkipASN1(cbasn1.SEQUENCE) &&
		tbs.ReadASN1(&issuer, cbasn1.SEQUENCE) &&
		tbs.ReadASN1(&validity, cbasn1.SEQUENCE) &&
		readTime(&validity, &s.notBefore) && readTime(&validity, &s.notAfter) &&
		tbs.ReadASN1(&subject, cbasn1.SEQUENCE) &&
		tbs.ReadASN1Element(&spki, cbasn1.SEQUENCE)
	if !ok || serial.Sign() <= 0 || len(serial.Bytes()) > cert.MaxSerialOctets {
		return summary{}, errSummary
	}
	s.serial = cert.SerialOf(serial)
	s.keyHash = sha256.Sum256(spki)
	if s.name, ok = commonName(subject); ok && s.name == "" {
		s.name, ok = firstName(tbs)
	}
	if !ok {
		return summary{}, errSummary
	}
	s.name = shorten(s.name)
	return s, nil
}

func readTime(s *cryptobyte.String, t *time.Time) bool {
	if s.PeekASN1Tag(cbasn1.UTCTime) {
		return s.ReadASN1UTCTime(t)
	}
	return s.ReadASN1GeneralizedTime(t)
}

// commonName returns the first common name of a subject, "" when there is none.
func commonName(subject cryptobyte.String) (string, bool) {
	for !subject.Empty() {
		var set cryptobyte.String
		if !subject.ReadASN1(&set, cbasn1.SET) {
			return "", false
		}
		for !set.Empty() {
			var attribute, value cryptobyte.String
			var oid asn1.ObjectIdentifier
			var tag cbasn1.Tag
			if !set.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&oid) ||
				!attribute.ReadAnyASN1(&value, &tag) {
				return "", false
			}
			if oid.Equal(oidCommonName) {
				return string(value), true
			}
		}
	}
	return "", true
}

// firstName returns the first alternative name that has a textual form. rest is
// what follows the public key in the TBS.
func firstName(rest cryptobyte.String) (string, bool) {
	var wrapper, extensions cryptobyte.String
	var present bool
	if !rest.SkipOptionalASN1(cbasn1.Tag(1).ContextSpecific()) || !rest.SkipOptionalASN1(cbasn1.Tag(2).ContextSpecific()) ||
		!rest.ReadOptionalASN1(&wrapper, &present, cbasn1.Tag(3).Constructed().ContextSpecific()) {
		return "", false
	}
	if !present {
		return "", true
	}
	if !wrapper.ReadASN1(&extensions, cbasn1.SEQUENCE) {
		return "", false
	}
	for !extensions.Empty() {
		var extension, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !extensions.ReadASN1(&extension, cbasn1.SEQUENCE) || !extension.ReadASN1ObjectIdentifier(&oid) ||
			!extension.SkipOptionalASN1(cbasn1.BOOLEAN) || !extension.ReadASN1(&value, cbasn1.OCTET_STRING) {
			return "", false
		}
		if oid.Equal(oidSubjectAltName) {
			return textualName(value)
		}
	}
	return "", true
}

func textualName(value cryptobyte.String) (string, bool) {
	var names cryptobyte.String
	if !value.ReadASN1(&names, cbasn1.SEQUENCE) {
		return "", false
	}
	for !names.Empty() {
		var name cryptobyte.String
		var tag cbasn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return "", false
		}
		switch tag {
		// rfc822Name, dNSName and uniformResourceIdentifier, RFC 5280 section 4.2.1.6.
		case cbasn1.Tag(1).ContextSpecific(), cbasn1.Tag(2).ContextSpecific(), cbasn1.Tag(6).ContextSpecific():
			return string(name), true
		case cbasn1.Tag(7).ContextSpecific():
			return net.IP(name).String(), true
		}
	}
	return "", true
}

// shorten cuts a name to MaxText octets of valid UTF-8.
func shorten(name string) string {
	name = strings.ToValidUTF8(name, "\uFFFD")
	if len(name) <= MaxText {
		return name
	}
	return strings.ToValidUTF8(name[:MaxText], "")
}

// RowOf returns the row of a record as the ledger keeps it, without a sequence
// number. The record must have a certificate.
func RowOf(r *Record) (Row, error) {
	s, err := summarise(r.DER)
	if err != nil {
		return Row{}, err
	}
	return rowOf(r, &s), nil
}

func rowOf(r *Record, s *summary) Row {
	row := Row{
		Serial: r.Serial, Issuer: r.Issuer, Role: r.Role, Profile: r.Profile, Owner: r.Owner,
		Name: s.name, NotBefore: whole(s.notBefore), NotAfter: whole(s.notAfter), KeyHash: [8]byte(r.KeyHash[:8]),
		Resumed: whole(r.Resumed),
	}
	if v := r.Revocation; v != nil {
		row.RevokedAt, row.Reason, row.Invalidity = whole(v.At), v.Reason, whole(v.InvalidityAt)
	}
	return row
}
