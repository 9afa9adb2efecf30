package edge_test

import (
	"crypto/x509"
	"io"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Vault is restored from a snapshot. What was issued and revoked since is gone from the
// mount; the edge notices, takes what the mount says now, and never goes back to a
// list with a lower number while the higher one is valid.
func TestCrash1_EdgeOfARestoredVault(t *testing.T) {
	p := newPlant(t)
	p.start(p.settings)
	p.ready()
	always, before := p.issue(), p.issue()
	p.follows(before, "good")
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	p.node.CLI(t, "operator", "raft", "snapshot", "save", snapshot)
	restored := p.published()

	lost, revokedAndLost := p.issue(), p.issue()
	p.revoke(before)
	p.revoke(revokedAndLost)
	for serial, word := range map[*big.Int]string{lost: "good", before: "revoked", revokedAndLost: "revoked"} {
		p.follows(serial, word)
	}
	highest := p.published()
	require.Equal(t, 1, highest.Number.Cmp(restored.Number))
	p.until("the edge serves the newest list", func() bool { return p.list("/crl/root.crl").Number.Cmp(highest.Number) == 0 })
	require.True(t, lists(p.list("/crl/root.crl"), before))
	p.flush()

	var failed atomic.Pointer[string] // the first answer that was not good
	asked := meanwhile(func() {
		if word := p.says(always); word != "good" {
			failed.CompareAndSwap(nil, &word)
		}
	})
	lowest := highest.Number // that the edge may serve from here on
	p.node.CLI(t, "operator", "raft", "snapshot", "restore", "-force", snapshot)
	p.follows(lost, "unknown")
	p.follows(revokedAndLost, "unknown")
	p.follows(before, "good") // as the mount says: it was not revoked, as far as it knows
	require.Contains(t, p.logged(), "the mount's history is another")
	require.Equal(t, -1, p.published().Number.Cmp(highest.Number), "the mount has the old list again")
	for range 20 { // several polls
		require.Equal(t, lowest, p.list("/crl/root.crl").Number)
		time.Sleep(50 * time.Millisecond)
	}
	p.until("it says why", func() bool { return strings.Contains(p.logged(), "number "+lowest.String()+" is served until") })

	_, err := p.node.Client().Logical().ReadWithContext(t.Context(), p.mount+"/crl/rotate")
	require.NoError(t, err)
	next := p.published()
	require.Equal(t, 1, next.Number.Cmp(highest.Number), "%s after %s", next.Number, highest.Number)
	p.until("the edge serves the next list", func() bool {
		served := p.list("/crl/root.crl").Number
		require.NotEqual(t, -1, served.Cmp(lowest))
		return served.Cmp(next.Number) == 0
	})
	require.False(t, lists(p.list("/crl/root.crl"), before))

	p.revoke(before)
	p.follows(before, "revoked")
	p.until("the list has it again", func() bool { return lists(p.list("/crl/root.crl"), before) })
	t.Logf("%d answers meanwhile", asked())
	require.Nil(t, failed.Load(), "no answer failed meanwhile")
	p.end(syscall.SIGKILL)
	p.start(p.away())
	p.ready()
	require.Equal(t, "unknown", p.says(lost), "the disk has the new history, too")
	require.Equal(t, "revoked", p.says(before))
}

// published returns the CRL that the mount serves.
func (p *plant) published() *x509.RevocationList {
	p.t.Helper()
	response, err := p.node.Client().Logical().ReadRawWithContext(p.t.Context(), p.mount+"/crl")
	require.NoError(p.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(p.t, err)
	list, err := x509.ParseRevocationList(body)
	require.NoError(p.t, err)
	require.NoError(p.t, list.CheckSignatureFrom(p.ca))
	return list
}

// flush has the ledger write a segment, which it does every minute, and waits until the
// edge knows of it: by its segments a mount tells that storage went back.
func (p *plant) flush() {
	p.t.Helper()
	epoch := func() any {
		secret, err := p.node.Client().Logical().ReadWithContext(p.t.Context(), p.mount+"/edge/manifest")
		require.NoError(p.t, err)
		return secret.Data["epoch"]
	}
	before := epoch()
	p.write("tidy", map[string]any{"tidy_cert_store": true, "safety_buffer": "24h"})
	p.until("a segment is written", func() bool { return epoch() != before })
	polls := p.metric("pki_edge_polls_total")
	p.until("the edge knows of it", func() bool { return p.metric("pki_edge_polls_total") > polls+2 })
}

func lists(list *x509.RevocationList, serial *big.Int) bool {
	return slices.ContainsFunc(list.RevokedCertificateEntries, func(entry x509.RevocationListEntry) bool { return entry.SerialNumber.Cmp(serial) == 0 })
}
