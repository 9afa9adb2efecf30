package hsm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/hsm"
)

func TestTrimPIN(t *testing.T) {
	for text, want := range map[string]string{
		"1234": "1234", "1234\n": "1234", "1234\r\n": "1234", "1234\n\n": "1234\n", "1234\r": "1234\r",
		" 12 34 ": " 12 34 ", "\n": "", "\r\n": "", "": "", "a\nb\n": "a\nb",
	} {
		require.Equal(t, want, hsm.TrimPIN(text), "%q", text)
	}
}
