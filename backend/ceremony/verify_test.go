package ceremony_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/ceremony"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

func TestVerifyPassesWhatIsSound(t *testing.T) {
	failed, err := newSet(t).verify(t)
	require.NoError(t, err)
	require.Empty(t, failed)
}

// A complete CRL needs no issuingDistributionPoint; one with onlyContainsCACerts, as
// earlier versions signed it, is as good. Both may follow each other.
func TestVerifyAcceptsACompleteCRLWithAndWithoutScope(t *testing.T) {
	for name, scopes := range map[string][2][]pkix.Extension{
		"without": {nil, nil}, "with": {{caOnly}, {caOnly}}, "no longer": {nil, {caOnly}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSet(t)
			s.list.ExtraExtensions = scopes[0]
			s.previous = &x509.RevocationList{
				Number: big.NewInt(6), ThisUpdate: start.AddDate(0, -1, 0), NextUpdate: start.AddDate(1, 0, 0), ExtraExtensions: scopes[1],
			}
			failed, err := s.verify(t)
			require.NoError(t, err)
			require.Empty(t, failed)
		})
	}
}

func revoked(serials ...*big.Int) []x509.RevocationListEntry {
	var entries []x509.RevocationListEntry
	for _, s := range serials {
		entries = append(entries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: start, ReasonCode: 2})
	}
	return entries
}

// Each row bends one thing, and that check must notice.
func TestVerifyNoticesEachFlaw(t *testing.T) {
	older := func(number int64, entries ...x509.RevocationListEntry) *x509.RevocationList {
		return &x509.RevocationList{
			Number: big.NewInt(number), ThisUpdate: start.AddDate(0, -1, 0), NextUpdate: start.AddDate(1, 0, 0),
			ExtraExtensions: []pkix.Extension{caOnly}, RevokedCertificateEntries: entries,
		}
	}
	for name, row := range map[string]struct {
		bend   func(*set)
		failed string // one of the checks that fail
		kind   fault.Kind
	}{
		"root: not a CA":         {func(s *set) { s.root.IsCA, s.root.KeyUsage = false, x509.KeyUsageDigitalSignature }, "root.pem signature", fault.Invalid},
		"root: extra key usage":  {func(s *set) { s.root.KeyUsage |= x509.KeyUsageDigitalSignature }, "root.pem profile root-ca", fault.Invalid},
		"root: ext key usage":    {func(s *set) { s.root.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, "root.pem profile root-ca", fault.Invalid},
		"root: too short":        {func(s *set) { s.root.NotAfter = start.AddDate(7, 0, 0) }, "root.pem profile root-ca", fault.Invalid},
		"root: too long":         {func(s *set) { s.root.NotAfter = start.AddDate(26, 0, 0) }, "root.pem profile root-ca", fault.Invalid},
		"root: no name":          {func(s *set) { s.root.Subject = pkix.Name{Organization: []string{"Nobody"}} }, "root.pem profile root-ca", fault.Invalid},
		"root: small serial":     {func(s *set) { s.root.SerialNumber = big.NewInt(1) }, "root.pem serial number", fault.Invalid},
		"root: foreign key id":   {func(s *set) { s.root.SubjectKeyId = []byte{1, 2, 3} }, "root.pem profile root-ca", fault.Invalid},
		"root: alternative name": {func(s *set) { s.root.DNSNames = []string{"example.com"} }, "root.pem profile root-ca", fault.Invalid},
		"root: ended":            {func(s *set) { s.now = start.AddDate(20, 0, 1) }, "root.pem validity", fault.Conflict},
		"root: not begun":        {func(s *set) { s.now = start.Add(-time.Hour) }, "root.pem validity", fault.Conflict},

		"crl: forged": {func(s *set) { s.signer = newKey(t, elliptic.P384()) }, "root.crl signature", fault.Invalid},
		"crl: users only": {func(s *set) {
			s.list.ExtraExtensions = []pkix.Extension{{Id: caOnly.Id, Critical: true, Value: []byte{0x30, 0x03, 0x81, 0x01, 0xff}}}
		}, "root.crl scope", fault.Invalid},
		"crl: not critical": {func(s *set) { s.list.ExtraExtensions = []pkix.Extension{{Id: caOnly.Id, Value: caOnly.Value}} }, "root.crl scope", fault.Invalid},
		"crl: a delta": {func(s *set) {
			s.list.ExtraExtensions = append(s.list.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}})
		}, "root.crl scope", fault.Invalid},
		"crl: stale":         {func(s *set) { s.now = start.AddDate(1, 0, 0) }, "root.crl freshness", fault.Conflict},
		"crl: of the future": {func(s *set) { s.list.ThisUpdate = s.now.Add(time.Hour) }, "root.crl freshness", fault.Conflict},
		"crl: same number":   {func(s *set) { s.previous = older(7) }, "root.crl number", fault.Conflict},
		"crl: number back":   {func(s *set) { s.previous = older(8) }, "root.crl number", fault.Conflict},
		"crl: entry dropped": {func(s *set) { s.previous = older(6, revoked(big.NewInt(99))...) }, "root.crl entries", fault.Conflict},
		"crl: entry twice":   {func(s *set) { s.list.RevokedCertificateEntries = revoked(big.NewInt(99), big.NewInt(99)) }, "root.crl entries", fault.Invalid},
		"crl: lists itself":  {func(s *set) { s.list.RevokedCertificateEntries = revoked(s.root.SerialNumber) }, "root.crl entries", fault.Invalid},

		"ca: forged":          {func(s *set) { s.signer = newKey(t, elliptic.P384()) }, "ca.pem signature", fault.Invalid},
		"ca: revoked":         {func(s *set) { s.list.RevokedCertificateEntries = revoked(s.ca.SerialNumber) }, "ca.pem revocation", fault.Conflict},
		"ca: outlives root":   {func(s *set) { s.root.NotAfter = start.AddDate(4, 0, 0) }, "ca.pem chain", fault.Invalid},
		"ca: below pathLen 0": {func(s *set) { s.root.MaxPathLen, s.root.MaxPathLenZero = 0, true }, "ca.pem chain", fault.Invalid},
		"ca: path length":     {func(s *set) { s.ca.MaxPathLen, s.ca.MaxPathLenZero = 1, false }, "ca.pem profile issuing-ca", fault.Invalid},
		"ca: no path length":  {func(s *set) { s.ca.MaxPathLen, s.ca.MaxPathLenZero = -1, false }, "ca.pem profile issuing-ca", fault.Invalid},
		"ca: any usage":       {func(s *set) { s.ca.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, "ca.pem profile issuing-ca", fault.Invalid},
		"ca: answers OCSP":    {func(s *set) { s.ca.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} }, "ca.pem profile issuing-ca", fault.Invalid},
		"ca: no usage":        {func(s *set) { s.ca.ExtKeyUsage = nil }, "ca.pem profile issuing-ca", fault.Invalid},
		"ca: no CRL":          {func(s *set) { s.ca.CRLDistributionPoints = nil }, "ca.pem profile issuing-ca", fault.Invalid},
		"ca: too long":        {func(s *set) { s.ca.NotAfter = start.AddDate(9, 0, 0) }, "ca.pem profile issuing-ca", fault.Invalid},
		"ca: curve":           {func(s *set) { s.caKey = newKey(t, elliptic.P256()) }, "ca.pem profile issuing-ca", fault.Invalid},
		"ca: the root's key":  {func(s *set) { s.caKey = s.rootKey }, "ca.pem profile issuing-ca", fault.Invalid},
		"ca: unknown extension": {func(s *set) {
			s.ca.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}}
		}, "ca.pem profile issuing-ca", fault.Invalid},
		"ca: small serial":        {func(s *set) { s.ca.SerialNumber = big.NewInt(1) }, "ca.pem serial number", fault.Invalid},
		"ca: name too long":       {func(s *set) { s.ca.Subject.CommonName = strings.Repeat("n", 65) }, "ca.pem lints", fault.Invalid},
		"root: name too long":     {func(s *set) { s.root.Subject.CommonName = strings.Repeat("n", 65) }, "root.pem lints", fault.Invalid},
		"root: foreign issuer id": {func(s *set) { s.root.AuthorityKeyId = []byte{1, 2, 3} }, "root.pem profile root-ca", fault.Invalid},
		"ca: ended":               {func(s *set) { s.now = start.AddDate(6, 0, 0) }, "ca.pem validity", fault.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSet(t)
			row.bend(s)
			failed, err := s.verify(t)
			require.Error(t, err)
			require.Contains(t, failed, row.failed)
			if len(failed) == 1 {
				require.Equal(t, row.kind, fault.KindOf(err))
			}
		})
	}
}

func TestVerifyNamesAFileThatIsNotThere(t *testing.T) {
	err := ceremony.New(ceremony.Config{Now: func() time.Time { return start }, Report: func(ceremony.Step) {}}).
		Verify(ceremony.Artefacts{Root: "/nonexistent/root.pem"})
	require.True(t, fault.Is(err, fault.NotFound), err)
	require.Equal(t, "root", fault.FieldOfError(err))
}
