package crl_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// parsed signs a list as other people's software does and reads it.
func (o offline) parsed(t testing.TB, edit ...func(*x509.RevocationList)) *x509.RevocationList {
	t.Helper()
	list, err := crl.ReadForeign(o.list(t, 3, edit...))
	require.NoError(t, err)
	return list
}

// The extensions of AD CS are not critical: CA version, next publish, published locations.
func TestForeign_ExtensionsThatAreNotCriticalDoNotMatter(t *testing.T) {
	root := offline{newCA(t, algorithms[0])}
	require.NoError(t, crl.CheckForeign(root.parsed(t, func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{
			{Id: []int{1, 3, 6, 1, 4, 1, 311, 21, 1}, Value: []byte{2, 1, 0}},
			{Id: []int{1, 3, 6, 1, 4, 1, 311, 21, 4}, Value: []byte("\x17\x0d270101000000Z")},
			{Id: []int{1, 3, 6, 1, 4, 1, 311, 21, 14}, Value: []byte{0x30, 0}},
		}
	}), root.Certificate()))
	require.ErrorContains(t, crl.CheckForeign(root.parsed(t, extended([]int{1, 3, 6, 1, 4, 1, 311, 21, 1}, true, []byte{2, 1, 0})), root.Certificate()), "critical")
}

func TestForeign_KeyIdentifierIsComparedWhenThereIsOne(t *testing.T) {
	root := offline{newCA(t, algorithms[0], func(c *x509.Certificate) { c.SubjectKeyId = []byte{1, 2, 3} })}
	other := *root.Certificate()
	other.SubjectKeyId = []byte{4, 5, 6}
	silent := other
	silent.SubjectKeyId = nil
	err := crl.CheckForeign(root.parsed(t), &other)
	require.True(t, fault.Is(err, fault.Invalid), err)
	require.ErrorContains(t, err, "010203")
	require.ErrorContains(t, err, "040506")
	require.NoError(t, crl.CheckForeign(root.parsed(t), &silent), "a CA without identifier")
	list := root.parsed(t)
	list.AuthorityKeyId = nil
	require.NoError(t, crl.CheckForeign(list, root.Certificate()), "a list without identifier")
}

func TestForeign_NumbersOfTwentyOctets(t *testing.T) {
	root := offline{newCA(t, algorithms[0])}
	for bits, accepted := range map[uint]bool{63: true, 64: true, 152: true, 158: true} {
		list := root.parsed(t, func(l *x509.RevocationList) { l.Number = new(big.Int).Lsh(big.NewInt(1), bits) })
		require.Equal(t, accepted, crl.CheckForeign(list, root.Certificate()) == nil, "%d", bits)
	}
	list := root.parsed(t)
	for _, number := range []*big.Int{big.NewInt(-1), new(big.Int).Lsh(big.NewInt(1), 159)} {
		list.Number = number
		require.True(t, fault.Is(crl.CheckComplete(list), fault.Invalid), "%s", number)
	}
}

// What a list says of a certificate is carried over as it is, whatever RFC 5280 allows a
// CA to write today: serial numbers below 1, extensions of entries.
func TestCarry_IsByteForByte(t *testing.T) {
	root := newCA(t, algorithms[0])
	old := x509.RevocationListEntry{RevocationTime: noon.AddDate(-1, 0, 0)}
	hold := pkix.Extension{Id: []int{2, 5, 29, 23}, Value: []byte{6, 7, 0x2a, 0x86, 0x48, 0xce, 0x38, 2, 1}}
	template := &x509.RevocationList{Number: big.NewInt(3), ThisUpdate: noon.Add(-time.Hour), NextUpdate: noon.Add(time.Hour)}
	for i, serial := range []int64{0x24, -0x24, 0, 0x1001} {
		e := old
		e.SerialNumber, e.ReasonCode = big.NewInt(serial), i
		if serial == 0x1001 {
			e.ExtraExtensions = []pkix.Extension{hold}
		}
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, e)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, root.Certificate(), root.key)
	require.NoError(t, err)
	before, err := crl.ReadForeign(der)
	require.NoError(t, err)
	entries, err := crl.Carry(before)
	require.NoError(t, err)
	news := crl.Entry{Serial: serial(7), RevokedAt: noon, Reason: cert.CACompromise}
	var out bytes.Buffer
	list := crl.List{Number: cert.CRLNumberFrom(4), ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
	require.NoError(t, crl.Encode(&out, root.Authority, list, slices.Values(append(entries, news))))
	after, err := x509.ParseRevocationList(out.Bytes())
	require.NoError(t, err)
	require.NoError(t, after.CheckSignatureFrom(root.Certificate()))
	require.Len(t, after.RevokedCertificateEntries, 5)
	for i, e := range before.RevokedCertificateEntries {
		require.Equal(t, e.Raw, after.RevokedCertificateEntries[i].Raw)
	}
}

func TestCarry_RefusesWhatACompleteListCannotHave(t *testing.T) {
	root := offline{newCA(t, algorithms[0])}
	for name, edit := range map[string]func(*x509.RevocationList){
		"one serial number twice": func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, l.RevokedCertificateEntries[0])
		},
		"removeFromCRL": func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ReasonCode = 8 },
		"reason 7":      func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ReasonCode = 7 },
		"reason 11":     func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ReasonCode = 11 },
	} {
		_, err := crl.Carry(root.parsed(t, edit))
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", name, err)
	}
}
