package sign_test

import (
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

func TestSelfDraftRefusesAnAlgorithmOfAnotherKey(t *testing.T) {
	_, err := sign.SelfDraft(leafTemplate("a.example"), key(t, cert.P256), x509.SHA256WithRSA)
	require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
	_, err = sign.SelfDraft(leafTemplate("a.example"), key(t, cert.P256), x509.ECDSAWithSHA1)
	require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
}
