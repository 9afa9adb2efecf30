package e2e_test

import (
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"
)

var divergentStatus = map[string]divergence{
	"thisUpdate of CRLs and OCSP responses": {
		probe: func(t testing.TB, mount string) string {
			before := time.Now()
			read(t, mount+"/crl/rotate")
			list, err := x509.ParseRevocationList(get(t, anonymous, mount+"/crl").Body)
			require.NoError(t, err)
			if before.Sub(list.ThisUpdate) > 30*time.Second {
				return "a minute earlier"
			}
			return "now"
		}, builtin: "now", ours: "a minute earlier",
	},
	"OCSP for a serial that was never issued": {
		probe: func(t testing.TB, mount string) string {
			return map[int]string{ocsp.Good: "good", ocsp.Unknown: "unknown"}[ocspOf(t, mount, big.NewInt(0x7a11)).Status]
		}, builtin: "good", ours: "unknown",
	},
	"OCSP signer": {
		probe: func(t testing.TB, mount string) string {
			serial, _ := new(big.Int).SetString(strings.ReplaceAll(text(t, issueUnder(t, mount, anyName, fields{"common_name": "a.example.com"}).data(t), "serial_number"), ":", ""), 16)
			if signer := ocspOf(t, mount, serial).Certificate; signer == nil || signer.IsCA {
				return "the CA"
			}
			return "a delegated responder"
		}, builtin: "the CA", ours: "a delegated responder",
	},
	"`certs`": {shownBy: "TestEveryListIsPaged"},
	"`generate_lease` with `no_store`": {
		probe: func(t testing.TB, mount string) string {
			write(t, mount+"/roles/leased", fields{"generate_lease": true, "no_store": true})
			return field("roles/leased", "generate_lease")(t, mount)
		}, builtin: "false", ours: "true",
	},
	"`max_crl_entries`":                                {probe: field("config/crl", "max_crl_entries"), builtin: "100000", ours: "-1"},
	"`auto_rebuild=false`":                             {shownBy: "TestTick_RenewsAtHalfOfTheLife"},
	"`tidy` of a revoked certificate that has expired": {shownBy: "TestRev2_TidyWaitsForOneMoreCRL"},
	"revoked certificates that have expired":           {shownBy: "TestExpiredCertificatesLeaveAfterOneMoreList"},
	"`enable_delta`": {
		probe: func(t testing.TB, mount string) string {
			before := request(http.MethodPost, "config/crl", fields{"enable_delta": true})(t, mount)
			write(t, mount+"/config/crl", fields{"enable_delta": false})
			return before
		}, builtin: refused, ours: taken,
	},
	"`delta_rebuild_interval`": {
		probe: func(t testing.TB, mount string) string {
			before := read(t, mount+"/config/crl")
			a := post(t, rootClient, mount+"/config/crl", fields{"auto_rebuild": true, "enable_delta": true, "delta_rebuild_interval": "1s"})
			write(t, mount+"/config/crl", fields{"enable_delta": false, "auto_rebuild": false, "delta_rebuild_interval": before["delta_rebuild_interval"]})
			return outcome(a)
		}, builtin: taken, ours: refused,
	},
	"the base of a delta CRL": {shownBy: "TestDelta_ServesEveryCompleteListThatIsStillValid"},
	"`crl/rotate-delta` while delta CRLs are not enabled": {
		probe: status(http.MethodGet, "crl/rotate-delta", nil), builtin: "200", ours: "409",
	},
	"`issuer/:ref/crl/delta` while there is none": {
		probe: status(http.MethodGet, "issuer/root/crl/delta", nil), builtin: "200", ours: "500",
	},
	"`tidy_cert_store`": {shownBy: "TestRev2_TidyRemovesWhatEndedLongAgo"},
	"`tidy_revoked_cert_issuer_associations`, `tidy_move_legacy_ca_bundle`, `tidy_acme` and fields of Vault Enterprise": {
		probe: request(http.MethodPost, "config/auto-tidy", fields{"tidy_acme": true}), builtin: taken, ours: refused,
	},
	"`tidy`: status code": {
		probe: status(http.MethodPost, "tidy", fields{"tidy_cert_store": true}), builtin: "202", ours: "200",
	},
	"`revoke` of a serial number that is not on record": {
		probe: status(http.MethodPost, "revoke", fields{"serial_number": "7a:11"}), builtin: "400", ours: "404",
	},
	"`crl/delta` while there is no delta CRL": {probe: status(http.MethodGet, "crl/delta", nil), builtin: "200", ours: "204"},
	"`last_auto_tidy_finished` of `tidy-status` before the first run": {
		probe: func(t testing.TB, mount string) string {
			if field("tidy-status", "last_auto_tidy_finished")(t, mount) == "" {
				return "empty"
			}
			return "a time"
		}, builtin: "a time", ours: "empty",
	},
	"revoking a certificate that has expired": {probe: revokeExpired, builtin: "null", ours: "object"},
	"`ca_chain`: content type": {
		probe: func(t testing.TB, mount string) string {
			return get(t, anonymous, mount+"/ca_chain").Header.Get("Content-Type")
		}, builtin: "application/pkix-cert", ours: "application/pem-certificate-chain",
	},
	"`usage` of an issuer": {
		probe: func(t testing.TB, mount string) string {
			write(t, mount+"/issuers/generate/root/internal", fields{"common_name": "Usage", "key_type": "ec", "issuer_name": "usage", "ttl": "1h"})
			require.Equal(t, "crl-signing,issuing-certificates,ocsp-signing,read-only", read(t, mount+"/issuer/usage")["usage"], "the default is the same")
			write(t, mount+"/issuer/usage", fields{"issuer_name": "usage", "usage": "read-only,crl-signing"})
			return field("issuer/usage", "usage")(t, mount)
		}, builtin: "crl-signing,read-only", ours: "read-only,crl-signing",
	},
	"pending issuers in `issuers`": {shownBy: "TestPendingIssuersAreListedWithTheirState"},
	"`crl_status` of a revocation": {
		probe: func(t testing.TB, mount string) string { return kind(revoked(t, mount)["crl_status"]) }, builtin: "null", ours: "string",
	},
	"deleting an issuer": {shownBy: "TestDeletingAnIssuerHidesIt"},
	"`revocation_time_rfc3339`": {
		probe: func(t testing.TB, mount string) string {
			if strings.Contains(text(t, revoked(t, mount), "revocation_time_rfc3339"), ".") {
				return "nanoseconds"
			}
			return "seconds"
		}, builtin: "nanoseconds", ours: "seconds",
	},
}

var notAvailable = map[string]divergence{
	"unified CRLs and other features of Vault Enterprise: `unified_crl`, `cross_cluster_revocation`, `cert_metadata`, `no_store_metadata`, `managed_key_id`": {
		probe: request(http.MethodPost, "roles/metadata", fields{"no_store_metadata": true}), builtin: taken, ours: refused,
	},
	"`sign-verbatim`": {
		probe: func(t testing.TB, mount string) string {
			return outcome(post(t, rootClient, mount+"/sign-verbatim", fields{"csr": csr(t, "a.example.com"), "ttl": "1h"}))
		}, builtin: taken, ours: refused,
	},
	"`issuer/:ref/sign-revocation-list`, `issuer/:ref/resign-crls`": {
		probe: request(http.MethodPost, "issuer/root/sign-revocation-list", fields{"crl_number": 9, "next_update": "72h"}), builtin: taken, ours: refused,
	},
	"`acme/...`, `eab`": {probe: request(http.MethodPost, "acme/new-eab", fields{}), builtin: taken, ours: refused},
	// The last row of the page: afterwards the mount has no CA.
	"`DELETE root`": {probe: request(http.MethodDelete, "root", nil), builtin: taken, ours: refused},
}

// revokeExpired revokes a certificate after its expiry, and returns the kind of data
// in the answer.
func revokeExpired(t testing.TB, mount string) string {
	issued := issueUnder(t, mount, anyName, fields{"common_name": "a.example.com", "ttl": "1s"}).data(t)
	expiry := certificateOf(t, text(t, issued, "certificate")).NotAfter
	until(t, "the certificate has expired", func() bool { return time.Now().After(expiry.Add(time.Second)) })
	a := post(t, rootClient, mount+"/revoke", fields{"serial_number": issued["serial_number"]})
	require.Contains(t, warnings(t, a), "expired")
	if a.data(t) == nil {
		return "null"
	}
	return "object"
}

// revoked issues and revokes a certificate, and returns the answer.
func revoked(t testing.TB, mount string) fields {
	t.Helper()
	serial := issueUnder(t, mount, anyName, fields{"common_name": "a.example.com"}).data(t)["serial_number"]
	return write(t, mount+"/revoke", fields{"serial_number": serial})
}

// ocspOf asks the mount for the status of a serial number.
func ocspOf(t testing.TB, mount string, serial *big.Int) *ocsp.Response {
	t.Helper()
	ca := certificateOf(t, text(t, read(t, mount+"/cert/ca"), "certificate"))
	request, err := ocsp.CreateRequest(&x509.Certificate{SerialNumber: serial}, ca, nil)
	require.NoError(t, err)
	a := get(t, anonymous, mount+"/ocsp/"+url.PathEscape(base64.StdEncoding.EncodeToString(request)))
	response, err := ocsp.ParseResponse(a.Body, ca)
	require.NoError(t, err, "%d %x", a.Status, a.Body)
	return response
}
