package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// stateListen is TCP_LISTEN, as /proc/net/tcp writes it.
const stateListen = "0A"

// inetSockets returns the local addresses of the TCP listeners and UDP sockets of a
// process, and of its TCP connections, as /proc/net writes them.
func inetSockets(t testing.TB, id int) (listening, connected []string) {
	t.Helper()
	own := map[string]bool{}
	descriptors, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", id))
	require.NoError(t, err)
	require.NotEmpty(t, descriptors)
	for _, descriptor := range descriptors {
		if target, err := os.Readlink(descriptor); err == nil && strings.HasPrefix(target, "socket:[") {
			own[strings.Trim(target, "socket:[]")] = true
		}
	}
	for _, protocol := range []string{"tcp", "tcp6", "udp", "udp6"} {
		for line := range strings.Lines(string(contents(t, "/proc/net/"+protocol))) {
			columns := strings.Fields(line) // sl local remote state queues timer retransmits uid timeout inode
			if len(columns) < 10 || !own[columns[9]] {
				continue
			}
			address, _, _ := strings.Cut(columns[1], ":")
			if columns[3] == stateListen || strings.HasPrefix(protocol, "udp") {
				listening = append(listening, address)
			} else {
				connected = append(connected, address)
			}
		}
	}
	return listening, connected
}

func TestOnlyTheServerListensAndOnlyOnLoopback(t *testing.T) {
	h := shared(t)
	h.issue(t, "network")
	loopback := []string{"0100007F", "00000000000000000000000001000000"}
	for _, id := range vault.Plugins(t, plugin) {
		listening, connected := inetSockets(t, id)
		require.Empty(t, listening, "the plugin talks to nobody but Vault, over a socket of the file system")
		require.Empty(t, connected)
	}
	listening, _ := inetSockets(t, vault.Process())
	require.NotEmpty(t, listening)
	require.Subset(t, loopback, listening)
}

func TestPluginEndsWhenItsServerIsKilled(t *testing.T) {
	other, err := harness.Start(harness.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, other.Stop()) })
	require.NoError(t, other.Register(harness.PluginName, plugin))
	require.NoError(t, other.Client().Sys().Mount("pki", &api.MountInput{Type: harness.PluginName}))
	other.CLI(t, "write", "pki/roles/web", "allow_any_name=true") // starts the plugin
	ids := other.Plugins(t, plugin)
	require.Len(t, ids, 1)
	require.NoError(t, syscall.Kill(other.Process(), syscall.SIGKILL))
	until(t, "ending after its server", func() bool { return len(other.Plugins(t, plugin)) == 0 })
}
