//go:build cgo

package hsm_test

import (
	"testing"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/backend/hsm/hsmtest"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

// config opens a token made by the fixture.
func config(made *token.Token) hsm.Config {
	return hsm.Config{Module: made.Module, TokenSerial: made.Serial, PIN: made.PIN}
}

func TestSoftHSM(t *testing.T) {
	hsmtest.Run(t, hsmtest.Token{
		Fresh: func(t *testing.T) hsm.Config { return config(token.New(t, "suite")) },
		Specs: cert.KeySpecs(),
	})
}
