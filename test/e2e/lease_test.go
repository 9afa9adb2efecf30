package e2e_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// softwareRoot mounts the engine with a root of its own, whose key is in storage, and
// a role "web" for any name; settings are further fields of the role.
func softwareRoot(t testing.TB, settings fields) string {
	t.Helper()
	mount := vault.Mount(t)
	write(t, mount+"/issuers/generate/root/internal", fields{"common_name": "Test Root", "key_type": "ec", "issuer_name": "root"})
	role := fields{"allow_any_name": true, "key_type": "ec", "ttl": "1h"}
	for name, value := range settings {
		role[name] = value
	}
	write(t, mount+"/roles/web", role)
	return mount
}

// leased issues a certificate under a lease.
func leased(t testing.TB, mount, format string) (lease, serial string) {
	t.Helper()
	secret, err := vault.Client().Logical().Write(mount+"/issue/web", fields{"common_name": "lease.example.com", "format": format})
	require.NoError(t, err)
	require.NotEmpty(t, secret.LeaseID)
	require.InDelta(t, time.Hour.Seconds(), secret.LeaseDuration, 60)
	require.False(t, secret.Renewable)
	return secret.LeaseID, text(t, secret.Data, "serial_number")
}

func revokedAt(t testing.TB, mount, serial string) int64 {
	t.Helper()
	seconds, err := read(t, mount+"/cert/"+serial)["revocation_time"].(json.Number).Int64()
	require.NoError(t, err)
	return seconds
}

func TestRev4_LeaseRevokeRevokesTheCertificate(t *testing.T) {
	mount := softwareRoot(t, fields{"generate_lease": true})
	for _, format := range []string{"pem", "der", "pem_bundle"} {
		t.Run(format, func(t *testing.T) {
			lease, serial := leased(t, mount, format)
			require.Zero(t, revokedAt(t, mount, serial))
			vault.CLI(t, "lease", "revoke", "-sync", lease)
			require.WithinDuration(t, time.Now(), time.Unix(revokedAt(t, mount, serial), 0), time.Minute)
			vault.CLI(t, "lease", "revoke", "-sync", lease)
		})
	}
}

func TestRev4_LeaseOfARevokedCertificateCanBeRevoked(t *testing.T) {
	mount := softwareRoot(t, fields{"generate_lease": true})
	lease, serial := leased(t, mount, "pem")
	write(t, mount+"/revoke", fields{"serial_number": serial, "reason": "keyCompromise"})
	vault.CLI(t, "lease", "revoke", "-sync", lease)
	require.Equal(t, "keyCompromise", read(t, mount+"/cert/"+serial)["revocation_reason"], "the first reason stays")
}

func TestRev4_LeasesByPrefixAndWithTheirToken(t *testing.T) {
	mount := softwareRoot(t, fields{"generate_lease": true})
	_, first := leased(t, mount, "pem")
	_, second := leased(t, mount, "der")
	vault.CLI(t, "lease", "revoke", "-sync", "-prefix", mount+"/issue/web")
	for _, serial := range []string{first, second} {
		require.NotZero(t, revokedAt(t, mount, serial))
	}

	token := tokenWith(t, `path "`+mount+`/issue/web" { capabilities = ["update"] }`)
	issued := post(t, token, mount+"/issue/web", fields{"common_name": "token.example.com"}).data(t)
	require.NoError(t, vault.Client().Auth().Token().RevokeTree(token))
	until(t, "revoking with the token", func() bool { return revokedAt(t, mount, text(t, issued, "serial_number")) != 0 })
}

func TestRev4_MountWithLeasesCanBeDisabled(t *testing.T) {
	const path = "leased"
	require.NoError(t, vault.Client().Sys().Mount(path, &api.MountInput{Type: harness.PluginName}))
	write(t, path+"/issuers/generate/root/internal", fields{"common_name": "Test Root", "key_type": "ec"})
	write(t, path+"/roles/web", fields{"allow_any_name": true, "key_type": "ec", "ttl": "1h", "generate_lease": true})
	leased(t, path, "pem")
	vault.CLI(t, "secrets", "disable", path)
	leases, err := vault.Client().Logical().List("sys/leases/lookup/" + path + "/issue/web")
	require.NoError(t, err)
	require.Nil(t, leases)
}

func TestRolesWithoutLeaseGiveNone(t *testing.T) {
	mount := softwareRoot(t, nil)
	secret, err := vault.Client().Logical().Write(mount+"/issue/web", fields{"common_name": "no-lease.example.com"})
	require.NoError(t, err)
	require.Empty(t, secret.LeaseID)
}
