package lint

import (
	"cmp"
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"sync"

	zlint "github.com/zmap/zlint/v3/lint"
)

// setTable says which zlint source a set takes its rules from; rules of ours join
// the set that they name.
var setTable = map[string]zlint.LintSource{
	"rfc3279":       zlint.RFC3279,
	"rfc5280":       zlint.RFC5280,
	"rfc5480":       zlint.RFC5480,
	"rfc5891":       zlint.RFC5891,
	"rfc6960":       zlint.RFC6960,
	"rfc6962":       zlint.RFC6962,
	"rfc8410":       zlint.UnknownLintSource,
	"rfc8813":       zlint.RFC8813,
	"rfc9608":       zlint.UnknownLintSource,
	"cabf_br":       zlint.CABFBaselineRequirements,
	"cabf_cs_br":    zlint.CABFCSBaselineRequirements,
	"cabf_ev":       zlint.CABFEVGuidelines,
	"cabf_smime_br": zlint.CABFSMIMEBaselineRequirements,
	"apple":         zlint.AppleRootStorePolicy,
	"chrome":        zlint.ChromeRootStorePolicy,
	"mozilla":       zlint.MozillaRootStorePolicy,
	"etsi":          zlint.EtsiEsi,
	"community":     zlint.Community,
}

// defaultSets are the RFC sets, which hold for every certificate.
var defaultSets = slices.DeleteFunc(Sets(), func(name string) bool { return !strings.HasPrefix(name, "rfc") })

// Sets lists the names of all sets in order.
func Sets() []string { return slices.Sorted(maps.Keys(setTable)) }

// Rule describes one rule, for documentation and for policies.
type Rule struct {
	Name        string   // as Finding.Rule and Policy.Ignore have it
	Set         string   // one of Sets
	Severity    Severity // of a violation; zlint's rules say it by their prefix e, w or n
	Citation    string   // where the requirement is written
	Description string   // the requirement in a sentence
}

// rule is one of our own; check returns what is wrong, or "".
type rule struct {
	Rule
	check func(drafted, issuer *x509.Certificate) string
}

// rules is the table of our own rules, in the order of their files.
var rules = []rule{
	authorityKeyID,
	caKeyCertSign,
	ed25519KeyUsage,
	extKeyUsageAny,
	noRevAvailForm,
	noRevAvailInCA,
	noRevAvailPointers,
	ocspNoCheck,
	serialEntropy,
	uriHost,
	validityOrder,
}

// Rules lists every rule of every set by name.
func Rules() []Rule {
	listed := make([]Rule, 0, 512)
	for _, rule := range rules {
		listed = append(listed, rule.Rule)
	}
	for set, lints := range zlintSets() {
		for _, found := range lints {
			listed = append(listed, Rule{
				Name: found.Name, Set: set, Severity: prefixSeverity(found.Name),
				Citation: found.Citation, Description: found.Description,
			})
		}
	}
	slices.SortFunc(listed, func(a, b Rule) int { return cmp.Compare(a.Name, b.Name) })
	return listed
}

var ruleNames = sync.OnceValue(func() map[string]struct{} {
	names := make(map[string]struct{})
	for _, rule := range Rules() {
		names[rule.Name] = struct{}{}
	}
	return names
})
