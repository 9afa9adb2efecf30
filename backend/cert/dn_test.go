package cert_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// nameAttribute is one RDN of one attribute, its value in a string type of choice.
type nameAttribute struct {
	oid   asn1.ObjectIdentifier
	tag   int
	value string
}

var (
	commonName = asn1.ObjectIdentifier{2, 5, 4, 3}
	orgName    = asn1.ObjectIdentifier{2, 5, 4, 10}
)

// name makes a Name with one RDN for each list of attributes.
func name(t testing.TB, rdns ...[]nameAttribute) []byte {
	t.Helper()
	var sequence pkix.RDNSequence
	for _, rdn := range rdns {
		var set pkix.RelativeDistinguishedNameSET
		for _, a := range rdn {
			set = append(set, pkix.AttributeTypeAndValue{Type: a.oid, Value: asn1.RawValue{Tag: a.tag, Bytes: []byte(a.value)}})
		}
		sequence = append(sequence, set)
	}
	der, err := asn1.Marshal(sequence)
	require.NoError(t, err)
	return der
}

func cn(tag int, value string) []nameAttribute { return []nameAttribute{{commonName, tag, value}} }

func TestNamesAreComparedAsRFC5280Section71Says(t *testing.T) {
	const teletex, bmp, universal = 20, 30, 28
	text := name(t, cn(asn1.TagUTF8String, "Odd Root"))
	for what, other := range map[string][]byte{
		"PrintableString": name(t, cn(asn1.TagPrintableString, "Odd Root")),
		"IA5String":       name(t, cn(asn1.TagIA5String, "Odd Root")),
		"TeletexString":   name(t, cn(teletex, "Odd Root")),
		"BMPString":       name(t, cn(bmp, "\x00O\x00d\x00d\x00 \x00R\x00o\x00o\x00t")),
		"UniversalString": name(t, cn(universal, "\x00\x00\x00O\x00\x00\x00d\x00\x00\x00d\x00\x00\x00 \x00\x00\x00R\x00\x00\x00o\x00\x00\x00o\x00\x00\x00t")),
		"case":            name(t, cn(asn1.TagUTF8String, "ODD root")),
		"white space":     name(t, cn(asn1.TagUTF8String, "  Odd \t Root ")),
		"soft hyphen":     name(t, cn(asn1.TagUTF8String, "Odd Ro\u00adot")),
		"full width":      name(t, cn(asn1.TagUTF8String, "Odd Root")),
	} {
		require.True(t, cert.SameName(text, other), what)
		require.Equal(t, cert.NameKey(text), cert.NameKey(other), what)
	}
	for what, other := range map[string][]byte{
		"another text":      name(t, cn(asn1.TagUTF8String, "Odd Root 2")),
		"no space":          name(t, cn(asn1.TagUTF8String, "OddRoot")),
		"another attribute": name(t, []nameAttribute{{orgName, asn1.TagUTF8String, "Odd Root"}}),
		"one more":          name(t, cn(asn1.TagUTF8String, "Odd Root"), cn(asn1.TagUTF8String, "x")),
		"no text":           name(t, cn(asn1.TagOctetString, "Odd Root")),
		"empty":             name(t),
		"ill-formed":        text[:len(text)-1],
	} {
		require.False(t, cert.SameName(text, other), what)
	}
	require.True(t, cert.SameName(name(t, cn(asn1.TagUTF8String, "Straße É")), name(t, cn(asn1.TagUTF8String, "STRASSE e\u0301"))))
}

func TestNoValueLooksLikeAnotherName(t *testing.T) {
	one := name(t, cn(asn1.TagUTF8String, `a",2.5.4.10="b`))
	two := name(t, cn(asn1.TagUTF8String, "a"), []nameAttribute{{orgName, asn1.TagUTF8String, "b"}})
	joined := name(t, []nameAttribute{{commonName, asn1.TagUTF8String, "a"}, {orgName, asn1.TagUTF8String, "b"}})
	turned := name(t, []nameAttribute{{orgName, asn1.TagUTF8String, "b"}, {commonName, asn1.TagUTF8String, "a"}})
	keys := map[string]bool{}
	for _, raw := range [][]byte{one, two, joined} {
		keys[cert.NameKey(raw)] = true
	}
	require.Len(t, keys, 3)
	require.Equal(t, cert.NameKey(joined), cert.NameKey(turned), "an RDN is a set")
	require.NotEqual(t, cert.NameKey(two), cert.NameKey(name(t, []nameAttribute{{orgName, asn1.TagUTF8String, "b"}}, cn(asn1.TagUTF8String, "a"))), "a name is a sequence")
}

func FuzzNameKey(f *testing.F) {
	f.Add(name(f, cn(asn1.TagUTF8String, "Root")), name(f, cn(asn1.TagPrintableString, "ROOT")))
	f.Add(name(f), []byte{0x30, 0x00})
	f.Add(name(f, cn(asn1.TagOctetString, "\xff")), []byte{0x30, 0x02, 0x31, 0x00})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		same := cert.SameName(a, b)
		if same != cert.SameName(b, a) || !cert.SameName(a, a) {
			t.Fatal("equality of names must be symmetric and reflexive")
		}
		if same != (cert.NameKey(a) == cert.NameKey(b)) {
			t.Fatal("SameName and NameKey differ")
		}
	})
}
