package paths_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// spellings are how programs print one serial number.
func spellings(t *testing.T, serial string) map[string]string {
	t.Helper()
	parsed, err := cert.ParseSerial(serial)
	require.NoError(t, err)
	number := parsed.Big().Text(16)
	return map[string]string{
		"the engine": serial, "hyphens": parsed.Hyphenated(), "openssl": strings.ToUpper(strings.ReplaceAll(serial, ":", "")),
		"keytool": number, "Python": "0x" + number, "Windows": strings.ReplaceAll(serial, ":", " "),
		"upper colons": strings.ToUpper(serial), "DER": "00:" + serial,
	}
}

// The hour and the format octet begin a serial number, so its first octet has a leading
// zero: that is what programs which print a number leave out.
func TestSerialNumbersAreTakenAsProgramsPrintThem(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "profiles/holding", map[string]any{"preset": "tls-server", "allowed_revocation_reasons": "superseded,certificateHold"}).Expect(http.StatusOK)
	m.Write(t, "roles/holding", map[string]any{"profile": "holding", "allow_any_name": true}).Expect(http.StatusOK)
	issue := func(more map[string]any) string {
		ask := map[string]any{"common_name": "a.example.com", "key_type": "ec", "ttl": "1h"}
		for name, value := range more {
			ask[name] = value
		}
		return m.Write(t, "issue/holding", ask).Expect(http.StatusOK).Text("serial_number")
	}
	for program := range spellings(t, "01:02") {
		serial := issue(nil)
		text := spellings(t, serial)[program]
		for _, path := range []string{"cert/" + text, "cert/" + text + "/raw", "cert/" + text + "/raw/pem"} {
			m.Read(t, path, nil).Expect(http.StatusOK)
		}
		require.NotEqual(t, http.StatusBadRequest, m.List(t, "certs", map[string]any{"after": text}).Status, program)
		require.NotEmpty(t, issue(map[string]any{"replaces": text}), program)
		m.Write(t, "suspend", map[string]any{"serial_number": text}).Expect(http.StatusOK)
		m.Write(t, "resume", map[string]any{"serial_number": text}).Expect(http.StatusOK)
		m.Write(t, "revoke", map[string]any{"serial_number": text, "reason": "superseded"}).Expect(http.StatusOK)
		require.Equal(t, "superseded", m.Read(t, "cert/"+serial, nil).Expect(http.StatusOK).Text("revocation_reason"), program)
	}
}
