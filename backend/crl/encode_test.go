package crl_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"iter"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// entries are the shapes that an entry can have.
var entries = []crl.Entry{
	{Serial: serial(1), RevokedAt: noon},
	{Serial: serial(0x7f, 0xff), RevokedAt: noon.In(time.FixedZone("", 3*3600)), Reason: cert.KeyCompromise},
	{Serial: serial(0x80), RevokedAt: noon.Add(-time.Hour), InvalidityAt: noon.AddDate(0, 0, -3)},
	{Serial: serial(slices.Repeat([]byte{0xfe}, 20)...), RevokedAt: time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC), Reason: cert.AACompromise, InvalidityAt: noon},
	{Serial: serial(0x30, 2), RevokedAt: time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), Reason: cert.CertificateHold},
	{Serial: serial(0x30, 3), RevokedAt: time.Date(1949, 7, 1, 0, 0, 0, 0, time.UTC), Reason: cert.Superseded},
}

func encode(t testing.TB, ca ca, list crl.List, entries []crl.Entry) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, crl.Encode(&out, ca.Authority, list, slices.Values(entries)))
	return out.Bytes()
}

// template returns what makes x509.CreateRevocationList write the same list.
func template(t testing.TB, list crl.List, signature x509.SignatureAlgorithm, entries []crl.Entry) *x509.RevocationList {
	t.Helper()
	want := &x509.RevocationList{
		SignatureAlgorithm: signature, Number: list.Number.Big(),
		ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate,
	}
	for _, e := range entries {
		entry := x509.RevocationListEntry{SerialNumber: e.Serial.Big(), RevocationTime: e.RevokedAt, ReasonCode: int(e.Reason)}
		if !e.InvalidityAt.IsZero() {
			value, err := asn1.MarshalWithParams(e.InvalidityAt.UTC(), "generalized")
			require.NoError(t, err)
			entry.ExtraExtensions = []pkix.Extension{extension([]int{2, 5, 29, 24}, value)}
		}
		want.RevokedCertificateEntries = append(want.RevokedCertificateEntries, entry)
	}
	return want
}

func TestEncode_TBSEqualsTheStandardLibrary(t *testing.T) {
	lists := map[string]crl.List{
		"today":      {Number: cert.CRLNumberFrom(1772366400), ThisUpdate: noon, NextUpdate: noon.Add(72 * time.Hour)},
		"number 0":   {Number: cert.CRLNumberFrom(0), ThisUpdate: noon, NextUpdate: noon.Add(72 * time.Hour)},
		"number 128": {Number: cert.CRLNumberFrom(128), ThisUpdate: noon, NextUpdate: noon.Add(72 * time.Hour)},
		"largest":    {Number: cert.CRLNumberFrom(math.MaxInt64), ThisUpdate: noon, NextUpdate: time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)},
	}
	for _, a := range algorithms {
		authority := newCA(t, a)
		for name, list := range lists {
			for _, revoked := range [][]crl.Entry{nil, entries[:1], entries} {
				der := encode(t, authority, list, revoked)
				parsed, err := x509.ParseRevocationList(der)
				require.NoError(t, err, "%s, %s", a.name, name)
				require.NoError(t, parsed.CheckSignatureFrom(authority.Certificate()), "%s, %s", a.name, name)
				require.Equal(t, a.signature, parsed.SignatureAlgorithm)

				wanted, err := x509.CreateRevocationList(rand.Reader, template(t, list, a.signature, revoked), authority.Certificate(), authority.key)
				require.NoError(t, err)
				oracle, err := x509.ParseRevocationList(wanted)
				require.NoError(t, err)
				require.Equal(t, oracle.RawTBSRevocationList, parsed.RawTBSRevocationList, "%s, %s", a.name, name)
			}
		}
	}
}

func TestEncode_OpenSSLVerifies(t *testing.T) {
	list := crl.List{Number: cert.CRLNumberFrom(7), ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
	for _, a := range algorithms {
		authority := newCA(t, a)
		path := file(t, "X509 CRL", encode(t, authority, list, entries))
		issuer := file(t, "CERTIFICATE", authority.Certificate().Raw)
		out := openssl(t, "crl", "-in", path, "-CAfile", issuer, "-verify", "-text", "-noout")
		require.Contains(t, out, "verify OK", a.name)
		require.Contains(t, out, "Key Compromise", a.name)
		require.Contains(t, out, "Invalidity Date", a.name)
	}
}

func TestEncode_IssuerNameIsTheCAsOctets(t *testing.T) {
	authority := newCA(t, algorithms[0])
	parsed, err := x509.ParseRevocationList(encode(t, authority, crl.List{ThisUpdate: noon, NextUpdate: noon.Add(1)}, nil))
	require.NoError(t, err)
	require.Equal(t, authority.Certificate().RawSubject, parsed.RawIssuer)
	require.Contains(t, string(parsed.RawIssuer), "\x14\x07Root CA", "a TeletexString stays one")
}

func TestEncode_DistributionPointIsCriticalAndSaysWhichCertificates(t *testing.T) {
	authority := newCA(t, algorithms[0])
	list := crl.List{ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
	for text, edit := range map[string]func(*crl.List){
		"Only User Certificates": func(l *crl.List) { l.OnlyUserCerts = true },
		"Only CA Certificates":   func(l *crl.List) { l.OnlyCACerts = true },
	} {
		some := list
		edit(&some)
		der := encode(t, authority, some, entries)
		parsed, err := x509.ParseRevocationList(der)
		require.NoError(t, err)
		last := parsed.Extensions[len(parsed.Extensions)-1]
		require.True(t, last.Critical)
		require.Equal(t, "2.5.29.28", last.Id.String())
		require.Contains(t, openssl(t, "crl", "-in", file(t, "X509 CRL", der), "-text", "-noout"), text)
	}
	parsed, err := x509.ParseRevocationList(encode(t, authority, list, nil))
	require.NoError(t, err)
	require.Len(t, parsed.Extensions, 2, "a list of everything has no IssuingDistributionPoint")
}

func TestEncode_CAWithoutKeyIdentifierGetsOne(t *testing.T) {
	authority := newCA(t, algorithms[0])
	bare := *authority.Certificate()
	bare.SubjectKeyId = nil
	authority = withCertificate(t, authority, &bare)
	parsed, err := x509.ParseRevocationList(encode(t, authority, crl.List{ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}, nil))
	require.NoError(t, err)
	require.Len(t, parsed.AuthorityKeyId, 20)
}

func TestEncode_RefusesWhatTheRFCHasNoPlaceFor(t *testing.T) {
	authority := newCA(t, algorithms[0])
	good := crl.List{Number: cert.CRLNumberFrom(1), ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
	entry := crl.Entry{Serial: serial(1), RevokedAt: noon}
	cases := map[string]func(*crl.List, *crl.Entry){
		"serial 0":                  func(_ *crl.List, e *crl.Entry) { e.Serial = "" },
		"serial with leading zero":  func(_ *crl.List, e *crl.Entry) { e.Serial = serial(0, 1) },
		"serial of 21 octets":       func(_ *crl.List, e *crl.Entry) { e.Serial = serial(bytes.Repeat([]byte{1}, 21)...) },
		"no revocation time":        func(_ *crl.List, e *crl.Entry) { e.RevokedAt = time.Time{} },
		"revocation in year 10000":  func(_ *crl.List, e *crl.Entry) { e.RevokedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"invalidity in year 10000":  func(_ *crl.List, e *crl.Entry) { e.InvalidityAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"removeFromCRL":             func(_ *crl.List, e *crl.Entry) { e.Reason = cert.RemoveFromCRL },
		"reason 7":                  func(_ *crl.List, e *crl.Entry) { e.Reason = 7 },
		"no life":                   func(l *crl.List, _ *crl.Entry) { l.NextUpdate = l.ThisUpdate },
		"both kinds of certificate": func(l *crl.List, _ *crl.Entry) { l.OnlyCACerts, l.OnlyUserCerts = true, true },
	}
	for name, edit := range cases {
		list, e := good, entry
		edit(&list, &e)
		err := crl.Encode(io.Discard, authority.Authority, list, slices.Values([]crl.Entry{e}))
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", name, err)
	}
	require.NoError(t, crl.Encode(io.Discard, authority.Authority, good, slices.Values([]crl.Entry{entry})))

	silent := newCA(t, algorithms[0], func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
	err := crl.Encode(io.Discard, silent.Authority, good, slices.Values([]crl.Entry{entry}))
	require.True(t, fault.Is(err, fault.Denied), "a CA without cRLSign: %v", err)
}

func TestEncode_NoticesEntriesThatChangeBetweenWalks(t *testing.T) {
	authority := newCA(t, algorithms[0])
	list := crl.List{ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
	for walk := 2; walk <= 3; walk++ {
		for name, second := range map[string]crl.Entry{
			"longer":      {Serial: serial(1, 2, 3), RevokedAt: noon},
			"same length": {Serial: serial(2), RevokedAt: noon},
		} {
			walks := 0
			var changing iter.Seq[crl.Entry] = func(yield func(crl.Entry) bool) {
				if walks++; walks == walk {
					yield(second)
					return
				}
				yield(crl.Entry{Serial: serial(1), RevokedAt: noon})
			}
			err := crl.Encode(io.Discard, authority.Authority, list, changing)
			require.ErrorContains(t, err, "changed between two walks", "%s in walk %d", name, walk)
		}
	}
}

// TestEncode_EveryDayOfUTCTime compares the dates of a century with package time,
// at both ends of each day.
func TestEncode_EveryDayOfUTCTime(t *testing.T) {
	var days []time.Time
	for at := time.Date(1949, 12, 31, 0, 0, 0, 0, time.UTC); at.Year() < 2051; at = at.AddDate(0, 0, 1) {
		days = append(days, at, at.Add(24*time.Hour-1))
	}
	requireTimes(t, days)
}

// TestEncode_EverySecondOfADay also jumps between years, whose days are remembered in
// the same places.
func TestEncode_EverySecondOfADay(t *testing.T) {
	var seconds []time.Time
	for second := range 24 * 60 * 60 {
		seconds = append(seconds, time.Date(1960+second%200, 2, 28, 0, 0, second, 0, time.UTC))
	}
	requireTimes(t, seconds)
}

// requireTimes has crypto/x509 read a list of certificates revoked at these times.
func requireTimes(t *testing.T, times []time.Time) {
	t.Helper()
	revoked := make([]crl.Entry, len(times))
	for i, at := range times {
		revoked[i] = crl.Entry{Serial: cert.SerialOf(big.NewInt(int64(i + 1))), RevokedAt: at}
	}
	list, err := x509.ParseRevocationList(encode(t, newCA(t, algorithms[0]), crl.List{ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}, revoked))
	require.NoError(t, err)
	require.Len(t, list.RevokedCertificateEntries, len(times))
	for i, entry := range list.RevokedCertificateEntries {
		if !entry.RevocationTime.Equal(times[i].Truncate(time.Second)) {
			t.Fatalf("%s was written as %s", times[i], entry.RevocationTime)
		}
	}
}

var errFull = errors.New("disk full")

// full is a writer that takes no more than its value in octets.
type full int

func (f *full) Write(octets []byte) (int, error) {
	if *f -= full(len(octets)); *f < 0 {
		return 0, errFull
	}
	return len(octets), nil
}

func TestEncode_PassesOnWhatTheWriterSays(t *testing.T) {
	authority := newCA(t, algorithms[0])
	list := crl.List{ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
	whole := len(encode(t, authority, list, entries))
	for room := range whole - 8 { // a signature may be up to 8 octets shorter
		writer := full(room)
		require.ErrorIs(t, crl.Encode(&writer, authority.Authority, list, slices.Values(entries)), errFull, "room for %d octets", room)
	}
}

// TestEncode_LengthsAtEverySize draws lists of all sizes around the steps at which
// DER lengths grow, and lists larger than one block.
func TestEncode_LengthsAtEverySize(t *testing.T) {
	authority := newCA(t, algorithms[0])
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, 12), rapid.IntRange(1500, 4000)).Draw(t, "entries")
		drawn := make([]crl.Entry, size)
		for i := range drawn {
			drawn[i] = crl.Entry{
				Serial:    cert.SerialOf(big.NewInt(int64(i)<<uint(i%30) + 1)),
				RevokedAt: noon.Add(time.Duration(i) * time.Hour),
				Reason:    cert.Reason(i % 7),
			}
		}
		list := crl.List{Number: cert.CRLNumberFrom(rapid.Int64Min(0).Draw(t, "number")), ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
		var out bytes.Buffer
		require.NoError(t, crl.Encode(&out, authority.Authority, list, slices.Values(drawn)))
		parsed, err := x509.ParseRevocationList(out.Bytes())
		require.NoError(t, err)
		require.NoError(t, parsed.CheckSignatureFrom(authority.Certificate()))
		require.Zero(t, list.Number.Big().Cmp(parsed.Number))
		require.Len(t, parsed.RevokedCertificateEntries, size)
		for i, entry := range parsed.RevokedCertificateEntries {
			require.Equal(t, drawn[i].Serial, cert.SerialOf(entry.SerialNumber))
			require.True(t, drawn[i].RevokedAt.Equal(entry.RevocationTime))
			require.Equal(t, int(drawn[i].Reason), entry.ReasonCode)
		}
	})
}
