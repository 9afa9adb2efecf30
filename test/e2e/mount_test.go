package e2e_test

import (
	"testing"

	"github.com/stretchr/testify/require"
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
	vault.KillPlugins(t, plugin)
	until(t, "coming back", func() bool {
		return vault.RunCLI(t, "path-help", mount+"/").Code == 0 && len(vault.Plugins(t, plugin)) == 1
	})
}
