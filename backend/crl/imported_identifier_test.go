package crl_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

func TestImport_RefusesTheKeyIdentifierOfAnotherCA(t *testing.T) {
	root := offline{newCA(t, algorithms[0])}
	der := root.list(t, 3)
	_, err := crl.ParseImported(der, root.Certificate(), noon)
	require.NoError(t, err)
	renamed := *root.Certificate()
	renamed.SubjectKeyId = []byte{1, 2, 3}
	_, err = crl.ParseImported(der, &renamed, noon)
	require.Equal(t, "crl", fault.FieldOfError(err))
	require.ErrorContains(t, err, "010203")
}
