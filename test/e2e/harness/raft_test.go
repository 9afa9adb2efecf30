package harness_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

func TestRaftClusterSurvivesTheLossOfItsLeader(t *testing.T) {
	cluster, err := harness.StartRaft(harness.Config{}, 3)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, cluster.Stop())
		require.NoDirExists(t, cluster.Dir)
	})
	leader, err := cluster.Active()
	require.NoError(t, err)
	leader.CLI(t, "secrets", "enable", "-version=1", "kv")
	leader.CLI(t, "write", "kv/word", "value=kept")

	require.NoError(t, cluster.Kill(leader))
	next, err := cluster.Active()
	require.NoError(t, err)
	require.NotEqual(t, leader.Address, next.Address)
	require.Equal(t, "kept", next.CLI(t, "read", "-field=value", "kv/word"))
	require.FileExists(t, cluster.AuditLog)

	require.NoError(t, cluster.Restart(leader))
	health, err := leader.Client().Sys().Health()
	require.NoError(t, err)
	require.True(t, health.Standby)
}

func TestRaftClusterSaysWhatItCannotBe(t *testing.T) {
	_, err := harness.StartRaft(harness.Config{}, 0)
	require.ErrorContains(t, err, "1 to 9")
}
