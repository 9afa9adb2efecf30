package sign_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// general wraps a Name as the GeneralName directoryName.
func general(t *testing.T, name pkix.Name) []byte {
	t.Helper()
	der, err := asn1.Marshal(name.ToRDNSequence())
	require.NoError(t, err)
	wrapped, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: der})
	require.NoError(t, err)
	return wrapped
}

func TestCA2_DirectoryNamesAmongTheAlternativeNames(t *testing.T) {
	corp := pkix.Name{Country: []string{"DE"}, Organization: []string{"Corp"}}
	permit := nameConstraints(t, general(t, corp), nil)
	leaf := func(name pkix.Name) *x509.Certificate {
		return with(leafTemplate(), func(c *x509.Certificate) {
			value, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: general(t, name)})
			require.NoError(t, err)
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value, Critical: true}}
		})
	}
	require.NoError(t, try(t, nil, permit, leaf(pkix.Name{Country: []string{"de"}, Organization: []string{"CORP"}, CommonName: "a"})))
	require.ErrorContains(t, try(t, nil, permit, leaf(pkix.Name{Country: []string{"DE"}, Organization: []string{"Other"}})), "not permitted")
	require.ErrorContains(t, try(t, nil, nameConstraints(t, nil, general(t, corp)), leaf(corp)), "excluded")
	require.ErrorContains(t, try(t, nil, nameConstraints(t, []byte{0x9e, 1, 0}, nil), leaf(corp)), "ill-formed nameConstraints")
}

func TestCA2_KindsOfConstraintsThatAreNotUnderstood(t *testing.T) {
	parent := root(t, key(t, cert.P256), 0, nil)
	for kind, subtree := range map[string][]byte{
		"":             general(t, pkix.Name{CommonName: "a"}),
		"otherName":    {0xa0, 8, 0x06, 2, 0x2a, 3, 0xa0, 2, 0x0c, 0},
		"registeredID": {0x88, 2, 0x2a, 3},
	} {
		err := sign.CheckConstraints(under(t, parent, nameConstraints(t, subtree, nil)).Certificate())
		if kind == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, kind)
	}
}

// TestCA2_IllFormedDirectoryNamesInConstraints: what cannot be read cannot be kept to.
func TestCA2_IllFormedDirectoryNamesInConstraints(t *testing.T) {
	for _, base := range [][]byte{{0xa4, 3, 0x30, 1, 0}, {0xa4, 2, 0x05, 0}, {0xa4, 4, 0x30, 2, 0x31, 1}} {
		require.ErrorContains(t, try(t, nil, nameConstraints(t, base, nil), leafTemplate("a.example")), "ill-formed nameConstraints", "%x", base)
	}
}

// TestCA2_MailboxesWithoutAHost: a mailbox whose host is none is not compared with what
// is excluded, but refused.
func TestCA2_MailboxesWithoutAHost(t *testing.T) {
	exclude := func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"evil.example"} }
	for mailbox, want := range map[string]string{"böse@good.example": "", "böse@evil.example": "excluded", "böse@evil example": "1.3.6.1.5.5.7.8.9", "böse@": "1.3.6.1.5.5.7.8.9"} {
		text, err := asn1.MarshalWithParams(mailbox, "utf8,explicit,tag:0")
		require.NoError(t, err)
		oid, err := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 9})
		require.NoError(t, err)
		value, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: append(oid, text...)}})
		require.NoError(t, err)
		err = try(t, nil, exclude, with(leafTemplate(), func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value, Critical: true}}
		}))
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want, mailbox)
	}
}
