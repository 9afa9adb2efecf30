package crl_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/crl"
)

func TestBaseOfAnIllFormedDeltaIsNoNumber(t *testing.T) {
	for _, test := range []struct {
		value []byte
		want  int64
	}{{[]byte{2, 1, 7}, 7}, {[]byte{2, 1, 7, 0}, -1}, {[]byte{4, 1, 7}, -1}, {nil, -1}} {
		list := &x509.RevocationList{Extensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 20}, Value: []byte{2, 1, 9}}, {Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Value: test.value, Critical: true},
		}}
		require.Equal(t, test.want, crl.BaseOf(list), "%x", test.value)
	}
	require.Zero(t, crl.BaseOf(&x509.RevocationList{}))
}
