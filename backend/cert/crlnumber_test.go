package cert_test

import (
	"encoding/json"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// power returns 2^n.
func power(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }

func TestCRLNumberHoldsTwentyOctets(t *testing.T) {
	largest := new(big.Int).Sub(power(159), big.NewInt(1))
	for _, n := range []*big.Int{big.NewInt(0), big.NewInt(1), power(63), power(64), power(151), largest} {
		number, err := cert.CRLNumberOf(n)
		require.NoError(t, err)
		require.Equal(t, n.String(), number.String())
		require.Zero(t, n.Cmp(number.Big()))
		same, err := cert.ParseCRLNumber(n.String())
		require.NoError(t, err)
		require.Equal(t, number, same)
		encoded, err := json.Marshal(map[string]cert.CRLNumber{"number": number})
		require.NoError(t, err)
		require.JSONEq(t, `{"number": "`+n.String()+`"}`, string(encoded))
		for _, text := range []string{string(encoded), `{"number": ` + n.String() + `}`} {
			var read struct{ Number cert.CRLNumber }
			require.NoError(t, json.Unmarshal([]byte(text), &read))
			require.Equal(t, number, read.Number)
		}
	}
	for _, n := range []*big.Int{big.NewInt(-1), power(159), power(160)} {
		_, err := cert.CRLNumberOf(n)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", n, err)
		_, err = cert.ParseCRLNumber(n.String())
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", n, err)
	}
	for _, text := range []string{"", "-1", "+1", "0x10", "1e3", "1.0", " 1", "1_000"} {
		_, err := cert.ParseCRLNumber(text)
		require.True(t, fault.Is(err, fault.Invalid), "%q: %v", text, err)
	}
}

func TestCRLNumberCounts(t *testing.T) {
	require.True(t, cert.CRLNumber{}.IsZero())
	require.Equal(t, cert.CRLNumber{}, cert.CRLNumberFrom(-5))
	seven := cert.CRLNumberFrom(7)
	require.Equal(t, "8", seven.Next().String())
	require.Equal(t, "7", seven.String(), "Next changes nothing")
	large, err := cert.CRLNumberOf(power(64))
	require.NoError(t, err)
	require.Equal(t, []int{-1, 0, 1}, []int{seven.Compare(large), seven.Compare(cert.CRLNumberFrom(7)), large.Compare(seven)})
	require.Equal(t, []cert.CRLNumber{large, large}, []cert.CRLNumber{seven.Max(large), large.Max(seven)})
	largest, err := cert.CRLNumberOf(new(big.Int).Sub(power(159), big.NewInt(1)))
	require.NoError(t, err)
	require.Equal(t, largest, largest.Next())
}

func TestCRLNumberLeavesRoomForTheListsThatFollow(t *testing.T) {
	for left, allowed := range map[int64]bool{0: false, 1<<32 - 1: false, 1 << 32: true} {
		number, err := cert.CRLNumberOf(new(big.Int).Sub(power(159), big.NewInt(1+left)))
		require.NoError(t, err)
		err = number.CheckRoom()
		require.Equal(t, allowed, err == nil, "%d: %v", left, err)
		if err != nil {
			require.ErrorContains(t, err, "2^32")
		}
	}
}
