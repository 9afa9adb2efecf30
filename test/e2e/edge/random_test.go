package edge_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// More certificates than a page of the status feed has, so that a kill can be between two.
const (
	batches   = 33
	batchSize = 256
)

// ledger is what clients of a mount and relying parties of its edge wrote down.
type ledger struct {
	mu      sync.Mutex // guards what follows
	good    []*big.Int // not revoked, and not asked to be
	revoked []*big.Int // acknowledged by the mount
	told    map[string]*big.Int
}

// take takes a certificate that is to be revoked.
func (l *ledger) take() *big.Int {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.good[len(l.good)-1]
	l.good = l.good[:len(l.good)-1]
	return last
}

// newest returns some of the certificates that were revoked last.
func (l *ledger) newest(count int) []*big.Int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*big.Int{}, l.revoked[max(0, len(l.revoked)-count):]...)
}

// everybody returns who was called revoked by the edge.
func (l *ledger) everybody() []*big.Int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*big.Int
	for _, serial := range l.told {
		all = append(all, serial)
	}
	return all
}

// TestRev3_KilledEdgeNeverTakesARevocationBack kills an edge at random moments: while it
// fetches ten thousand rows at first, while it writes, while it answers. What it called
// revoked it never calls good after it says that it is ready again, without Vault
// neither, and in the end it knows what the mount knows.
func TestRev3_KilledEdgeNeverTakesARevocationBack(t *testing.T) {
	p := newPlant(t)
	l := &ledger{good: p.batches(t, batches, batchSize), told: map[string]*big.Int{}}
	for _, pause := range []int{40, 80, 120, 160, 250} { // milliseconds: it starts anew with an empty folder, or goes on
		p.start(p.settings)
		time.Sleep(time.Duration(pause)*time.Millisecond + chance(t, 30*time.Millisecond))
		p.end(syscall.SIGKILL)
		require.NotContains(t, p.logged(), "damaged")
	}
	p.start(p.settings)
	p.ready()
	p.until("all rows are there", func() bool { return p.metric("pki_edge_rows") >= batches*batchSize })

	revoking := meanwhile(func() { p.revokeOne(l) })
	asking := meanwhile(func() {
		for _, serial := range l.newest(10) {
			if p.says(serial) == "revoked" {
				l.mu.Lock()
				l.told[serial.String()] = serial
				l.mu.Unlock()
			}
		}
	})
	for kill := range 8 {
		time.Sleep(150*time.Millisecond + chance(t, 300*time.Millisecond))
		p.end(syscall.SIGKILL)
		told := l.everybody()
		settings := p.settings
		if kill%2 == 0 {
			settings = p.away()
		}
		p.start(settings)
		p.ready()
		for _, serial := range told {
			require.Equal(t, "revoked", p.says(serial), "%x was called revoked before the edge was killed, and Vault away: %t", serial, kill%2 == 0)
		}
		t.Logf("kill %d: %d certificates were called revoked and are", kill+1, len(told))
	}
	p.end(syscall.SIGTERM)
	p.start(p.settings)
	t.Logf("%d revocations", revoking())
	asking()
	for _, serial := range l.newest(1 << 20) {
		p.follows(serial, "revoked")
	}
	for _, serial := range l.good[:100] {
		require.Equal(t, "good", p.says(serial))
	}
	require.Greater(t, len(l.told), 10)
	list, err := os.ReadDir(p.dir)
	require.NoError(t, err)
	for _, entry := range list {
		require.NotContains(t, entry.Name(), ".new", "what a killed process was writing is gone")
	}
}

// chance returns a duration by chance.
func chance(t testing.TB, below time.Duration) time.Duration {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(int64(below)))
	require.NoError(t, err)
	return time.Duration(n.Int64())
}

// revokeOne has one certificate revoked.
func (p *plant) revokeOne(l *ledger) {
	serial := l.take()
	secret, err := p.node.Client().Logical().Write(p.mount+"/revoke", map[string]any{"serial_number": colons(serial), "reason": "superseded"})
	if err != nil || secret == nil {
		p.t.Errorf("revoking %x: %v", serial, err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revoked = append(l.revoked, serial)
}

// batches has many certificates signed and returns their serial numbers.
func (p *plant) batches(t testing.TB, count, size int) []*big.Int {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"www.example.com"}}, key)
	require.NoError(t, err)
	csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	requests := make([]map[string]any, size)
	for i := range requests {
		requests[i] = map[string]any{"csr": csr}
	}
	var serials []*big.Int
	for range count {
		encoded, err := json.Marshal(p.write("sign/web/batch", map[string]any{"requests": requests}))
		require.NoError(t, err)
		var answer struct {
			Responses []struct {
				Serial string `json:"serial_number"`
				Error  string `json:"error"`
			} `json:"responses"`
		}
		require.NoError(t, json.Unmarshal(encoded, &answer))
		for _, one := range answer.Responses {
			require.Empty(t, one.Error)
			serials = append(serials, number(one.Serial))
		}
	}
	require.Len(t, serials, count*size)
	return serials
}
