package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

var divergentRequests = map[string]divergence{
	"unknown fields in a request": {
		probe: request(http.MethodPost, "roles/misspelled", fields{"allowed_domain": "example.com"}), builtin: taken, ours: refused,
	},
	"`null` in a field of a `PATCH`": {
		probe: request(http.MethodPatch, "roles/any", fields{"allow_ip_sans": nil}), builtin: taken, ours: refused,
	},
	"an empty text or list element (`\"\"`, `[\"\"]`)": {
		probe: emptyElements, builtin: "1", ours: "0",
	},
	"names of roles, profiles, issuers and keys that differ only in case": {
		probe: otherCase, builtin: taken, ours: refused,
	},
	"`issuer_ref` in the body of `sign` and `issue`": {
		probe: request(http.MethodPost, "issue/any", fields{"common_name": "a.example.com", "issuer_ref": "nobody"}), builtin: taken, ours: refused,
	},
	"`exported` for keys of CAs, as in `root/generate/exported`": {
		probe: request(http.MethodPost, "issuers/generate/root/exported", fields{"common_name": "Exported", "key_type": "ec"}), builtin: taken, ours: refused,
	},
	"`ttl`, `not_after`, `not_before_duration` of a request for an intermediate": {
		probe: intermediateTTL, builtin: "silent", ours: "warned",
	},
	"`config/issuers` with an empty `default`":                                               {shownBy: "TestTerraformDefaultIssuerAndKey"},
	"`allow_token_displayname` of a role":                                                    {probe: field("roles/any", "allow_token_displayname"), builtin: "false", ours: "absent"},
	"deleting a revoked issuer; importing, or making, a CA with the key of a revoked issuer": {shownBy: "TestCA4_NoWayBackForARevokedIssuer"},
	"revoking an issuer": {shownBy: "TestId1_RevokingACAStopsEveryIssuerOfItsKey"},
	"a key that was revoked as compromised (`keyCompromise`, `cACompromise`, `aACompromise`)": {
		probe: compromisedKey, builtin: taken, ours: refused,
	},
	"one key for certificates of different kinds (CA, server, OCSP responder)": {
		probe: keyOfACA, builtin: taken, ours: refused,
	},
	"a CSR or certificate whose public key is not in canonical DER (unused bits, further bytes)": {shownBy: "TestId1_AKeyInAnotherEncodingIsRefusedWhereCertificatesEnter"},
	"URL templates that do not exist, such as `{{issuer}}`": {
		probe:   request(http.MethodPost, "config/urls", fields{"enable_templating": true, "issuing_certificates": "http://a.example.com/{{issuer}}"}),
		builtin: taken, ours: refused,
	},
	"deleting a key": {shownBy: "TestCa6_AKeyThatLiveCertificatesNeedStays"},
	"a bundle with the certificate of a CA whose key is here, and others that are not above it":  {shownBy: "TestCA3_CertificatesOffTheChainAreRefused"},
	"a CA certificate whose `authorityKeyIdentifier` is not its issuer's `subjectKeyIdentifier`": {shownBy: "TestCA3_ChainsThatOthersRejectAreRefused"},
	"certificates in PKCS#7 (.p7b), with a byte order mark, in DER as base64":                    {shownBy: "TestCertificatesInTheFormsThatCAsSend"},
	"issuer names `Default`, `SELF` (any case of a keyword) or in the form of a UUID": {
		probe:   request(http.MethodPost, "issuers/generate/root/internal", fields{"common_name": "Self", "key_type": "ec", "issuer_name": "SELF"}),
		builtin: taken, ours: refused,
	},
	"a bundle of more than 100 certificates":               {probe: bundleOf("", 101), builtin: taken, ours: refused},
	"`root/sign-self-issued`":                              {shownBy: "TestSelfIssued_ANewRootUnderTheOldOne"},
	"`use_csr_values` with a CSR that has no subject":      {shownBy: "TestSubordinateWithAURIAlone"},
	"`issuer/:ref` written without `issuer_name`":          {shownBy: "TestAnIssuersNameStays"},
	"`crl-signing` for a CA without the key usage cRLSign": {shownBy: "TestUsageFollowsKeyUsage"},
	"a bundle with a damaged PEM block": {
		probe: bundleOf("-----BEGIN CERTIFICATE-----\nMIIB!\n-----END CERTIFICATE-----\n", 1), builtin: taken, ours: refused,
	},
	"subject attributes of a role that no certificate can have, such as `country=Germany`": {
		probe: request(http.MethodPost, "roles/country", fields{"country": "Germany"}), builtin: taken, ours: refused,
	},
	"durations in years, such as `10y`": {
		probe: request(http.MethodPost, "roles/years", fields{"max_ttl": "10y"}), builtin: refused, ours: taken,
	},
	"missing keys and roles": {probe: status(http.MethodGet, "key/nobody", nil), builtin: "500", ours: "404"},
}

func emptyElements(t testing.TB, mount string) string {
	write(t, mount+"/roles/empty", fields{"allowed_domains": []string{""}})
	return fmt.Sprint(len(texts(t, read(t, mount+"/roles/empty"), "allowed_domains")))
}

func otherCase(t testing.TB, mount string) string {
	write(t, mount+"/roles/case", fields{"key_type": "ec"})
	return outcome(post(t, rootClient, mount+"/roles/CASE", fields{"key_type": "ec"}))
}

func intermediateTTL(t testing.TB, mount string) string {
	a := post(t, rootClient, mount+"/intermediate/generate/internal", fields{"common_name": "Sub", "key_type": "ec", "ttl": "10h"})
	if warned := warnings(t, a); strings.Contains(warned, "ttl") {
		return "warned"
	}
	return "silent"
}

func compromisedKey(t testing.TB, mount string) string {
	body := fields{"csr": csr(t, "a.example.com")}
	serial := write(t, mount+"/sign/any", body)["serial_number"]
	// The built-in engine has no reasons.
	revoke := fields{"serial_number": serial}
	if _, ours := read(t, mount+"/roles/any")["profile"]; ours {
		revoke["reason"] = "keyCompromise"
	}
	write(t, mount+"/revoke", revoke)
	return outcome(post(t, rootClient, mount+"/sign/any", body))
}

func keyOfACA(t testing.TB, mount string) string {
	return outcome(post(t, rootClient, mount+"/sign/any", fields{"csr": requested(t, mount, "sub.example.com"), "common_name": "a.example.com"}))
}

// bundleOf imports a text and copies of the root's certificate after it.
func bundleOf(head string, copies int) func(testing.TB, string) string {
	return func(t testing.TB, mount string) string {
		root := text(t, read(t, mount+"/cert/ca"), "certificate") + "\n"
		return outcome(post(t, rootClient, mount+"/issuers/import/cert", fields{"pem_bundle": head + strings.Repeat(root, copies)}))
	}
}

// warnings returns the warnings of an answer as one text.
func warnings(t testing.TB, a answer) string {
	t.Helper()
	var envelope struct{ Warnings []string }
	a.decode(t, &envelope)
	return strings.Join(envelope.Warnings, "\n")
}
