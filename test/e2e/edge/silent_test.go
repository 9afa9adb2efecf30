package edge_test

import (
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Vault and its plugin stop without a word, which is worse than a refusal: connections
// stay open and nothing comes. Then Vault is sealed. Relying parties notice neither, and
// the edge says how old what it knows is, and catches up when Vault is back.
func TestEdgeOutlivesASilentAndASealedVault(t *testing.T) {
	p := newPlant(t)
	p.start(p.settings)
	p.ready()
	known, first, second := p.issue(), p.issue(), p.issue()
	p.revoke(known)
	for _, path := range []string{"/crl/root.crl", "/ca/root.cer"} {
		p.until(path, func() bool { status, _ := p.get(path); return status == http.StatusOK })
	}
	p.follows(known, "revoked")
	p.follows(second, "good")

	var failed atomic.Pointer[string] // the first answer that was not what it should be
	expect := func(what, got, want string) {
		if got != want {
			text := what + ": " + got
			failed.CompareAndSwap(nil, &text)
		}
	}
	asked := meanwhile(func() {
		expect("revoked", p.says(known), "revoked")
		expect("good", p.says(second), "good")
		for _, path := range []string{"/crl/root.crl", "/ca/root.cer", "/readyz", "/"} {
			status, _ := p.get(path)
			expect(path, http.StatusText(status), http.StatusText(http.StatusOK))
		}
	})

	group := -p.node.Process()
	require.NoError(t, syscall.Kill(group, syscall.SIGSTOP))
	defer func() { _ = syscall.Kill(group, syscall.SIGCONT) }() // the server has to end
	p.until("the edge says how stale it is", func() bool { return p.metric("pki_edge_staleness_seconds") > 4 })
	_, words := p.get("/readyz")
	require.Regexp(t, `^ready: in step with the mount [4-9]s ago`, string(words))
	require.NoError(t, syscall.Kill(group, syscall.SIGCONT))
	back := time.Now()
	p.revoke(first)
	p.follows(first, "revoked")
	t.Logf("caught up %s after Vault went on", time.Since(back).Round(time.Millisecond))

	require.NoError(t, p.node.Client().Sys().Seal())
	p.until("polls fail", func() bool { return p.metric("pki_edge_poll_failures_total") > 2 })
	p.until("the edge says how stale it is", func() bool { return p.metric("pki_edge_staleness_seconds") > 2 })
	require.Contains(t, p.logged(), "following the mount failed: serving the copies")
	require.NoError(t, cluster.Unseal(p.node))
	_, err := cluster.Active()
	require.NoError(t, err)
	back = time.Now()
	p.until("the mount answers", func() bool {
		_, err := p.node.Client().Logical().Read(p.mount + "/edge/manifest")
		return err == nil
	})
	third := p.issue()
	p.follows(third, "good")
	t.Logf("caught up %s after Vault was unsealed", time.Since(back).Round(time.Millisecond))
	p.until("the edge is in step", func() bool { return p.metric("pki_edge_staleness_seconds") < 1 })
	require.Contains(t, p.logged(), "following the mount again")
	times := asked()
	if text := failed.Load(); text != nil {
		t.Fatalf("a relying party noticed: %s", *text)
	}
	require.Greater(t, times, 100)
	t.Logf("%d times asked meanwhile", times)
	require.NotContains(t, p.logged(), "panic")
}
