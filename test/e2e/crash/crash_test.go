package crash_test

import (
	"math/big"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// clients is how many clients there are.
const clients = 6

func number(text string) *big.Int {
	n, _ := new(big.Int).SetString(text, 10)
	return n
}

// underLoad has the clients receive so many certificates more, then does something to
// the processes, while the load goes on, and waits until the engine signs again.
func (s *site) underLoad(d *dice, more int, kill func()) {
	s.t.Helper()
	goal := s.book.count() + more
	s.until("working", func() bool { return s.book.count() >= goal })
	time.Sleep(d.within(300 * time.Millisecond))
	killed := time.Now()
	kill()
	s.recover()
	s.t.Logf("works again %s after the kill", time.Since(killed).Round(time.Millisecond))
}

// recover waits until the engine signs again, which it has to by itself.
func (s *site) recover() { s.issueOne() }

func (s *site) issueOne() *issued {
	s.t.Helper()
	var made certificate
	s.must(http.MethodPost, mount+"/issue/web", fields{"common_name": "one.example.com"}).decode(s.t, &made)
	return s.book.received(made.Serial, made.Certificate)
}

// lastWord has something acknowledged, to be followed by a kill at once: what the engine
// had answered and not yet written would be lost. An answer is a fraction of a
// millisecond old then, and a write takes several. A certificate, a revocation, a batch
// and nothing take turns.
func (s *site) lastWord(d *dice) {
	s.t.Helper()
	s.kills++
	switch s.kills % 4 {
	case 1:
		s.issueOne()
	case 2:
		if entry := s.issueOne(); entry != nil && !entry.kept {
			s.revokeFor(entry, reasons[d.roll(len(reasons))])
		}
	case 3:
		(&client{site: s, name: "last", dice: d}).batch(2 + d.roll(7))
	}
}

// killPlugin ends the plugin's process when it has answered a request, which may be
// before it has loaded anything. One that is killed before, between being started and
// being initialised, can leave Vault (1.21.1) with a connection to nobody that it does
// not give up: there is no process any more, every request gets a 500 and only `vault
// plugin reload` helps. That is not for a plugin to mend.
func (s *site) killPlugin(node *harness.Server, d *dice) {
	s.t.Helper()
	s.must(http.MethodGet, mount+"/ca", nil)
	ids := node.Plugins(s.t, plugin)
	require.NotEmpty(s.t, ids)
	s.lastWord(d)
	for _, id := range ids {
		require.NoError(s.t, syscall.Kill(id, syscall.SIGKILL))
	}
	s.until("ending", func() bool {
		left := node.Plugins(s.t, plugin)
		return !slices.ContainsFunc(ids, func(id int) bool { return slices.Contains(left, id) })
	})
}

// killNode ends a node; its plugin has to end by itself, which Kill waits for.
func (s *site) killNode(node *harness.Server, d *dice) {
	s.t.Helper()
	s.lastWord(d)
	require.NoError(s.t, s.cluster.Kill(node))
	require.Empty(s.t, node.Children())
}

// restart starts a node again and unseals it: all that an operator does.
func (s *site) restart(node *harness.Server) {
	s.t.Helper()
	require.NoError(s.t, s.cluster.Restart(node))
}

func seeded(t *testing.T) *dice {
	t.Helper()
	d := &dice{seed: newSeed()}
	t.Logf("seed %s", d.seed)
	return d
}

// ended stops the load and kills once more at once, so that no later request puts in
// order what the kill left. Then it checks everything.
func (s *site) ended(l *load, kill func()) {
	s.t.Helper()
	l.stop()
	kill()
	s.recover()
	s.check(0)
	s.whole(l.dice)
	if !s.t.Failed() { // it would wait for what will not happen
		s.last()
	}
}

func TestCrash1_KilledPluginUnderLoad(t *testing.T) {
	d := seeded(t)
	s := newSite(t, 1)
	kill := func() { s.killPlugin(s.active(), d) }
	l := s.begin(d, clients, 3000)
	s.underLoad(d, 150, kill)
	s.underLoad(d, 150, func() {
		kill()
		for range 3 { // while it starts, loads and puts things in order
			time.Sleep(d.within(300 * time.Millisecond))
			kill()
		}
	})
	s.underLoad(d, 150, kill)
	s.ended(l, kill)
}

func TestCrash1_KilledVaultUnderLoad(t *testing.T) {
	d := seeded(t)
	s := newSite(t, 1)
	node := s.cluster.Nodes[0]
	kill := func() {
		require.NotEmpty(t, node.Plugins(t, plugin))
		s.killNode(node, d)
		s.restart(node)
	}
	l := s.begin(d, clients, 3000)
	s.underLoad(d, 150, kill)
	s.underLoad(d, 150, kill)
	s.ended(l, kill)
}

func TestCrash1_KilledActiveNodeAndTheNext(t *testing.T) {
	d := seeded(t)
	s := newSite(t, 3)
	var killed *harness.Server
	kill := func() {
		killed = s.active()
		s.killNode(killed, d)
	}
	l := s.begin(d, clients, 3000)
	s.underLoad(d, 150, kill)
	require.NotEqual(t, killed.Address, s.active().Address)
	s.restart(killed)
	s.underLoad(d, 150, func() {})
	s.ended(l, kill)
}
