package cert_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

func TestNewSerialIsPositiveOfTwentyOctetsAndNew(t *testing.T) {
	seen := map[cert.Serial]bool{}
	for range 1000 {
		serial, err := cert.NewSerial()
		require.NoError(t, err)
		require.Len(t, string(serial), cert.MaxSerialOctets)
		require.Less(t, serial[0], byte(0x80), "negative in DER")
		require.GreaterOrEqual(t, serial[0], byte(0x40), "fewer than 20 octets could be written")
		require.False(t, seen[serial])
		seen[serial] = true
		back, err := cert.ParseSerial(serial.String())
		require.NoError(t, err)
		require.Equal(t, serial, back)
	}
}
