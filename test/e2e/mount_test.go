package e2e_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

func TestEngineMountsAndDescribesItself(t *testing.T) {
	mount := vault.Mount(t)
	help := vault.CLI(t, "path-help", mount+"/")
	require.Contains(t, help, "roles/")
	require.NotContains(t, help, "panic")
}

func TestAllMountsShareOneProcess(t *testing.T) {
	first, second := vault.Mount(t), vault.Mount(t)
	vault.CLI(t, "path-help", first+"/")
	vault.CLI(t, "path-help", second+"/")
	require.Len(t, vault.Plugins(t, plugin), 1)
}

func TestKilledPluginComesBack(t *testing.T) {
	mount := vault.Mount(t)
	vault.CLI(t, "path-help", mount+"/")
	crash(t)
	until(t, "coming back", func() bool {
		return vault.RunCLI(t, "path-help", mount+"/").Code == 0 && len(vault.Plugins(t, plugin)) == 1
	})
}

func TestMovedMountKeepsItsKeys(t *testing.T) {
	mount, moved := vault.Mount(t), "moved-pki"
	tokenRoot(t, mount, vault.Module(), issuingToken)
	before := text(t, write(t, mount+"/issue/web", fields{"common_name": "a.example.com"}), "serial_number")
	move(t, mount, moved)
	defer move(t, moved, mount) // where the mount's cleanup expects it
	write(t, moved+"/issue/web", fields{"common_name": "b.example.com"})
	require.Equal(t, before, read(t, moved+"/cert/"+before)["serial_number"])
}

// move does what `vault secrets move` does, which asks for the state every five
// seconds.
func move(t testing.TB, from, to string) {
	t.Helper()
	migration := text(t, write(t, "sys/remount", fields{"from": from, "to": to}), "migration_id")
	until(t, "moving "+from, func() bool {
		info := read(t, "sys/remount/status/"+migration)["migration_info"].(fields)
		require.NotEqual(t, "failure", info["status"])
		return info["status"] == "success"
	})
}

func TestReloadedPluginSignsOn(t *testing.T) {
	h := shared(t)
	before := h.newLeaf(t, "before-reload")
	ids := vault.Plugins(t, plugin)
	vault.CLI(t, "plugin", "reload", "-plugin="+harness.PluginName)
	h.newLeaf(t, "after-reload")
	require.NotEqual(t, ids, vault.Plugins(t, plugin))
	require.Equal(t, before.serial, read(t, h.mount+"/cert/"+before.serial)["serial_number"])
}
