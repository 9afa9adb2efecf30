package lint

import (
	"crypto/x509"
	"sync"

	zx509 "github.com/zmap/zcrypto/x509"
	zlint "github.com/zmap/zlint/v3/lint"
	_ "github.com/zmap/zlint/v3/lints/apple" // registers its rules, as those below
	_ "github.com/zmap/zlint/v3/lints/cabf_br"
	_ "github.com/zmap/zlint/v3/lints/cabf_cs_br"
	_ "github.com/zmap/zlint/v3/lints/cabf_ev"
	_ "github.com/zmap/zlint/v3/lints/cabf_smime_br"
	_ "github.com/zmap/zlint/v3/lints/chrome"
	_ "github.com/zmap/zlint/v3/lints/community"
	_ "github.com/zmap/zlint/v3/lints/etsi"
	_ "github.com/zmap/zlint/v3/lints/mozilla"
	_ "github.com/zmap/zlint/v3/lints/rfc"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// noSuffixList: a rule that passes without judging must not be on offer.
const noSuffixList = "needs the Public Suffix List, which shims/publicsuffix-go does not carry"

// replaced are zlint rules that never run here, and why.
var replaced = map[string]string{
	"e_ext_san_uri_host_not_fqdn_or_ip":        "refuses SPIFFE trust domains; uriHost does the rest",
	"n_san_iana_pub_suffix_empty":              noSuffixList,
	"w_ian_iana_pub_suffix_empty":              noSuffixList,
	"n_dnsname_wildcard_left_of_public_suffix": noSuffixList,
}

// zlintSets holds zlint's rules by the name of our set. Zlint's registry is filled
// when its packages are initialised and does not change afterwards.
var zlintSets = sync.OnceValue(func() map[string][]*zlint.CertificateLint {
	sets := make(map[string][]*zlint.CertificateLint, len(setTable))
	for name, source := range setTable {
		if source == zlint.UnknownLintSource {
			continue
		}
		for _, found := range zlint.GlobalRegistry().CertificateLints().BySource(source) {
			if _, skip := replaced[found.Name]; !skip {
				sets[name] = append(sets[name], found)
			}
		}
	}
	return sets
})

// unconfigured leaves zlint's few configurable rules at their defaults.
var unconfigured = zlint.NewEmptyConfig()

// runZlint runs zlint's rules of the sets. The draft is parsed again, by the lenient
// parser that zlint's rules are written for.
func runZlint(drafted *x509.Certificate, sets []string) ([]Finding, error) {
	parsed, err := zx509.ParseCertificate(drafted.Raw)
	if err != nil {
		return nil, fault.New(fault.Invalid, "reading drafted certificate for lints: %w", err)
	}
	var findings []Finding
	known := zlintSets()
	for _, set := range sets {
		for _, rule := range known[set] {
			result := rule.Execute(parsed, unconfigured)
			if result.Status < zlint.Notice {
				continue // not applicable, not effective, or passed
			}
			detail := result.Details
			if detail == "" {
				detail = rule.Description
			}
			findings = append(findings, finding(rule.Name, severityOf(result.Status), rule.Citation, detail))
		}
	}
	return findings, nil
}

func severityOf(status zlint.LintStatus) Severity {
	switch status {
	case zlint.Notice:
		return Notice
	case zlint.Warn:
		return Warning
	case zlint.Error:
		return Error
	default:
		return Fatal
	}
}

// prefixSeverity reads the severity from zlint's naming rule: e_, w_ or n_.
func prefixSeverity(name string) Severity {
	switch name[0] {
	case 'n':
		return Notice
	case 'w':
		return Warning
	}
	return Error
}
