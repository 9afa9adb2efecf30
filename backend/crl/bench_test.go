package crl_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"io"
	"iter"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

const million = 1_000_000

// manySerials holds serial numbers as the ledger makes them: 20 octets.
func manySerials() []cert.Serial {
	serials := make([]cert.Serial, million)
	octets := make([]byte, cert.MaxSerialOctets)
	octets[0] = 1
	for i := range serials {
		binary.BigEndian.PutUint64(octets[1:], uint64(i)*0x9e3779b97f4a7c15)
		serials[i] = cert.Serial(octets)
	}
	return serials
}

// many yields a million entries, half of which give a reason.
func many(serials []cert.Serial) iter.Seq[crl.Entry] {
	return func(yield func(crl.Entry) bool) {
		for i, serial := range serials {
			if !yield(crl.Entry{Serial: serial, RevokedAt: noon.Add(time.Duration(i) * time.Second), Reason: cert.Reason(i % 2)}) {
				return
			}
		}
	}
}

func BenchmarkEncodeMillion(b *testing.B) {
	authority := newCA(b, algorithms[0])
	serials := manySerials()
	list := crl.List{Number: cert.CRLNumberFrom(1), ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, crl.Encode(io.Discard, authority.Authority, list, many(serials)))
	}
}

func BenchmarkStandardLibraryMillion(b *testing.B) {
	authority := newCA(b, algorithms[0])
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
	for entry := range many(manySerials()) {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: entry.Serial.Big(), RevocationTime: entry.RevokedAt, ReasonCode: int(entry.Reason),
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		_, err := x509.CreateRevocationList(rand.Reader, template, authority.Certificate(), authority.key)
		require.NoError(b, err)
	}
}

// BenchmarkRebuild makes all lists of an issuer with 100,000 revoked certificates: the
// complete one alone, and with 128 shards.
func BenchmarkRebuild(b *testing.B) {
	for name, urls := range map[string][]string{"complete": {fullURL}, "128 shards": {shardURL}} {
		b.Run(name, func(b *testing.B) {
			m := newMount(b, (&clock{now: noon}).Now)
			m.add(b, 100_000, &ledger.Revocation{At: noon, Reason: cert.Superseded})
			m.source.point(crl.Points{CRL: urls})
			m.configure(b, func(s *crl.Settings) { s.Shards = 128 })
			b.ReportAllocs()
			for b.Loop() {
				m.rebuild(b)
			}
		})
	}
}
