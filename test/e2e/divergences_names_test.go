package e2e_test

import (
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"
)

var (
	anyName  = fields{"allow_any_name": true}
	freeText = fields{"allowed_domains": "example.org", "cn_validations": "disabled"}
)

var divergentNames = map[string]divergence{
	"names from CSR and parameters": {shownBy: "TestNames1_OneGateForEverySourceAndType"},
	"case and the trailing dot of host names": {
		probe:   certificate(fields{"common_name": "WWW.Example.com"}, func(c *x509.Certificate) string { return c.Subject.CommonName }),
		builtin: "WWW.Example.com", ours: "www.example.com",
	},
	"globs": {
		probe:   issuing(fields{"allowed_domains": "*.example.com", "allow_glob_domains": true}, fields{"common_name": "a.b.example.com"}),
		builtin: taken, ours: refused,
	},
	"wildcards `*.com`, `f*.example.com`": {
		probe: issuing(anyName, fields{"common_name": "f*.example.com"}), builtin: taken, ours: refused,
	},
	"a common name that is an IP address": {
		probe: certificate(fields{"common_name": "192.0.2.1"}, func(c *x509.Certificate) string {
			if len(c.IPAddresses) == 1 {
				return "IP address"
			}
			return "not an IP address"
		}), builtin: "not an IP address", ours: "IP address",
	},
	"DNS names that end in a number, such as `10.1`, `0x7f.1`, `2130706433`": {
		probe: issuing(anyName, fields{"common_name": "10.1"}), builtin: taken, ours: refused,
	},
	"`denied_domains`": {
		probe:   issuing(fields{"allow_any_name": true, "denied_domains": "example.com"}, fields{"common_name": "a.example.com"}),
		builtin: taken, ours: refused,
	},
	"`cn_validations=disabled`": {
		probe: issuing(freeText, fields{"common_name": "a.example.com", "exclude_cn_from_sans": true}), builtin: taken, ours: refused,
	},
	"`enforce_hostnames=false`": {
		probe:   issuing(fields{"allowed_domains": "example.org", "enforce_hostnames": false, "allow_subdomains": true}, fields{"common_name": "box one.example.org"}),
		builtin: taken, ours: refused,
	},
	"the common name of a CA": {probe: nameOfACA, builtin: "1", ours: "0"},
	"invisible characters in the subject (formatting, bidirectional controls)": {
		probe: issuing(freeText, fields{"common_name": "Box \u202e1", "exclude_cn_from_sans": true}), builtin: taken, ours: refused,
	},
	"lengths in the subject": {
		probe:   issuing(fields{"allow_any_name": true, "organization": strings.Repeat("a", 65)}, fields{"common_name": "a.example.com"}),
		builtin: taken, ours: refused,
	},
	"invisible characters in other names, such as a user principal name": {
		probe: issuing(fields{"allow_any_name": true, "allowed_other_sans": "*"}, fields{
			"common_name": "a.example.com", "other_sans": "1.3.6.1.4.1.311.20.2.3;utf8:a\u200b@example.com",
		}),
		builtin: taken, ours: refused,
	},
	"a certificate with neither subject nor alternative name": {
		probe: issuing(fields{"allow_any_name": true, "require_cn": false}, fields{}), builtin: taken, ours: refused,
	},
}

var divergentCertificates = map[string]divergence{
	"keyEncipherment in certificates for RSA keys": {shownBy: "TestTLSServersEncipherKeysOnRequestOnly"},
	"key usages that the key does not support, such as KeyEncipherment with EC": {
		probe: certificate(fields{"common_name": "a.example.com"}, func(c *x509.Certificate) string {
			if c.KeyUsage&x509.KeyUsageKeyEncipherment != 0 {
				return "written"
			}
			return "omitted"
		}), builtin: "written", ours: "omitted",
	},
	"`CertSign`, `CRLSign` in a role; `OCSPSigning` beside other usages": {
		probe: request(http.MethodPost, "roles/usages", fields{"key_usage": "CertSign"}), builtin: taken, ours: refused,
	},
	"`key_bits` 224 and 8192": {
		probe: request(http.MethodPost, "roles/small", fields{"key_type": "ec", "key_bits": 224}), builtin: taken, ours: refused,
	},
	"`key_bits=0`, `signature_bits=0` in a role": {
		probe: func(t testing.TB, mount string) string {
			write(t, mount+"/roles/zero", fields{"key_type": "ec", "key_bits": 0})
			return field("roles/zero", "key_bits")(t, mount)
		}, builtin: "256", ours: "0",
	},
	"`leaf_not_after_behavior=permit`; `enforce_leaf_not_after_behavior`": {
		probe: func(t testing.TB, mount string) string {
			write(t, mount+"/issuers/generate/root/internal", fields{"common_name": "Permit", "key_type": "ec", "issuer_name": "permit", "ttl": "1h"})
			return request(http.MethodPatch, "issuer/permit", fields{"leaf_not_after_behavior": "permit"})(t, mount)
		}, builtin: taken, ours: refused,
	},
	"`not_after` beyond `max_ttl` or the mount's `max_lease_ttl`": {
		probe: func(t testing.TB, mount string) string {
			return issuing(fields{"allow_any_name": true, "max_ttl": "1h"}, fields{
				"common_name": "a.example.com", "not_after": time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339),
			})(t, mount)
		}, builtin: taken, ours: refused,
	},
	"a CSR that asks for CA:TRUE": {
		probe: func(t testing.TB, mount string) string {
			return outcome(post(t, rootClient, mount+"/sign/any", fields{"csr": csrWith(t, "basicConstraints=critical,CA:TRUE")}))
		}, builtin: taken, ours: refused,
	},
	"other extensions in a CSR": {shownBy: "TestNames6_TheProfileSaysWhatBecomesOfTheRest"},
	"`manual_chain`":            {shownBy: "TestManualChainOfTwoTrustPaths"},
	"serial numbers":            {shownBy: "TestSerialNamesItsPage"},
}

// certificate is the probe of something in a certificate with any name.
func certificate(body fields, of func(*x509.Certificate) string) func(testing.TB, string) string {
	return func(t testing.TB, mount string) string {
		return of(certificateOf(t, text(t, issueUnder(t, mount, anyName, body).data(t), "certificate")))
	}
}

func nameOfACA(t testing.TB, mount string) string {
	ca := certificateOf(t, text(t, read(t, mount+"/cert/ca"), "certificate"))
	return string(rune('0' + len(ca.DNSNames)))
}

// csrWith makes a CSR for a.example.com with one more extension.
func csrWith(t testing.TB, extension string) string {
	t.Helper()
	return vault.Tool(t, "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", "/dev/null", "-subj", "/CN=a.example.com", "-addext", extension)
}
