// Package harness promises a real Vault server with the engine in it, for the
// length of one test package: started from bin/vault in dev mode, the plugin
// registered under the SHA-256 of bin/vault-plugin-secrets-enterprise-pki, SoftHSM
// tokens of its own, and nothing left behind when it is stopped, neither processes
// nor files. A missing binary or tool is a failure that says how to get it.
//
// A test package starts one server in TestMain and mounts the engine once per test:
//
//	var vault *harness.Server
//
//	func TestMain(m *testing.M) {
//		os.Exit(harness.Main(m, &vault, harness.Config{Tokens: []string{"pki"}}))
//	}
//
//	func TestRoles(t *testing.T) {
//		mount := vault.Mount(t)
//		vault.CLI(t, "write", mount+"/roles/web", "allowed_domains=example.com")
//	}
package harness
