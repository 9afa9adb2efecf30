package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// TestBulkRevocationAndSuspensionShowOnTheCRL looks at the CRL with openssl.
func TestBulkRevocationAndSuspensionShowOnTheCRL(t *testing.T) {
	mount := vault.Mount(t)
	root := file(t, "root.pem", []byte(text(t, write(t, mount+"/root/generate/internal", fields{
		"common_name": "Trial Root", "issuer_name": "root", "key_type": "ec", "ttl": "720h",
	}), "certificate")))
	write(t, mount+"/roles/web", fields{"allowed_domains": "example.com", "allow_subdomains": true, "key_type": "ec", "max_ttl": "24h"})
	write(t, mount+"/profiles/badge", fields{"preset": "tls-server", "allowed_revocation_reasons": "certificateHold,superseded"})
	write(t, mount+"/roles/badge", fields{"profile": "badge", "allowed_domains": "example.com", "allow_subdomains": true})
	answered := rows(t, write(t, mount+"/sign/web/batch", fields{"requests": csrs(t, 20)}))
	require.Len(t, answered, 20)
	held := text(t, write(t, mount+"/issue/badge", fields{"common_name": "badge.example.com", "ttl": "1h"}), "serial_number")

	suspended := write(t, mount+"/suspend", fields{"serial_number": held})
	require.Equal(t, "suspended", suspended["state"])
	require.Equal(t, http.StatusForbidden, post(t, rootClient, mount+"/suspend", fields{"serial_number": answered[0]["serial_number"]}).Status)

	dry := write(t, mount+"/revoke/bulk", fields{"role": "web", "reason": "keyCompromise", "dry_run": true})
	require.Len(t, texts(t, dry, "serial_numbers"), 20)
	write(t, mount+"/revoke/bulk", fields{"role": "web", "reason": "keyCompromise"})
	until(t, "the end of the bulk revocation", func() bool {
		return read(t, mount+"/revoke/bulk/status")["state"] == "Finished"
	})

	listed := func() string {
		require.Equal(t, http.StatusOK, send(t, rootClient, http.MethodPost, mount+"/crl/rotate", nil).Status)
		crl := file(t, "list.crl", get(t, anonymous, mount+"/crl").Body)
		verified := vault.Run(t, harness.Command{Name: "openssl", Args: []string{"crl", "-inform", "DER", "-in", crl, "-noout", "-CAfile", root}})
		require.Contains(t, verified.Stdout+verified.Stderr, "verify OK")
		return vault.Tool(t, "openssl", "crl", "-inform", "DER", "-in", crl, "-noout", "-text")
	}
	text := listed()
	require.Equal(t, 21, strings.Count(text, "Serial Number: "))
	require.Equal(t, 20, strings.Count(text, "Key Compromise"))
	require.Equal(t, 1, strings.Count(text, "Certificate Hold"))
	for _, row := range answered {
		require.Contains(t, text, serialOf(row))
	}
	require.Equal(t, "active", write(t, mount+"/resume", fields{"serial_number": held})["state"])
	text = listed()
	require.Equal(t, 20, strings.Count(text, "Serial Number: "))
	require.NotContains(t, text, "Certificate Hold")
}

// serialOf returns a serial number as openssl writes it.
func serialOf(row fields) string {
	serial, _ := row["serial_number"].(string)
	return strings.ToUpper(strings.ReplaceAll(serial, ":", ""))
}
