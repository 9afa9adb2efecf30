package revoke_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
)

// BenchmarkRevokePage is what a page of 256 costs this process, storage aside.
func BenchmarkRevokePage(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		m := start(b)
		serials := m.issue(b, ledger.MaxPage, ledger.Record{Issuer: "issuer", Role: "web"})
		require.NoError(b, m.ledger.Flush(context.Background()))
		b.StartTimer()
		_, err := m.ledger.RevokePage(context.Background(), serials, ledger.Revocation{At: now, Reason: cert.Superseded},
			func(*ledger.Record) (bool, error) { return true, nil })
		require.NoError(b, err)
	}
}

// BenchmarkBulkPreview looks through rows, ten pages of 256.
func BenchmarkBulkPreview(b *testing.B) {
	m := start(b)
	for range 10 {
		m.issue(b, ledger.MaxPage, ledger.Record{Issuer: "issuer", Role: "web"})
	}
	for b.Loop() {
		survey, _, err := m.bulk.Preview(context.Background(), order(revoke.Filter{Role: "web"}, cert.Superseded), 100)
		require.NoError(b, err)
		require.Equal(b, 10*ledger.MaxPage, survey.Matched)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(10*ledger.MaxPage), "ns/row")
}
