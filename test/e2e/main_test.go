package e2e_test

import (
	"os"
	"testing"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// The labels of the tokens that the server of this package has.
const (
	rootToken    = "root-ca"
	issuingToken = "issuing-ca"
)

// vault is the one server of this package; each test mounts the engine for itself.
var vault *harness.Server

func TestMain(m *testing.M) {
	os.Exit(harness.Main(m, &vault, harness.Config{Tokens: []string{rootToken, issuingToken}}))
}
