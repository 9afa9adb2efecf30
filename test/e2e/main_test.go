package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// The labels of the tokens that the server of this package has.
const (
	rootToken    = "root-ca"
	issuingToken = "issuing-ca"
	remoteToken  = "remote" // behind a p11-kit server, see remote
)

const plugin = "vault-plugin-secrets-enterprise-pki"

// vault is the one server of this package; each test mounts the engine for itself.
var vault *harness.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "pki-e2e-p11-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	remoteSocket = filepath.Join(dir, "socket")
	return harness.Main(m, &vault, harness.Config{
		Tokens:      []string{rootToken, issuingToken, remoteToken},
		Modules:     []string{remoteModule()},
		Environment: []string{"P11_KIT_SERVER_ADDRESS=unix:path=" + remoteSocket},
	})
}
