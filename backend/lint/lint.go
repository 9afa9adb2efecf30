// Package lint promises that what is about to be signed obeys the RFCs and our own
// rules: checks on a drafted certificate, each with its citation; those of ours one
// file per rule, those of the RFC sets zlint's. Pure.
package lint

import (
	"cmp"
	"crypto/x509"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Severity orders findings.
type Severity uint8

// The severities.
const (
	Notice Severity = iota
	Warning
	Error
	Fatal
)

var severityNames = []string{"notice", "warning", "error", "fatal"}

// String returns the severity in lower case.
func (s Severity) String() string { return severityNames[min(s, Fatal)] }

// ParseSeverity reads a severity as String writes it.
func ParseSeverity(text string) (Severity, error) {
	i := slices.Index(severityNames, text)
	if i < 0 {
		return 0, fault.New(fault.Invalid, "severity %q must be %s", text, fault.List(severityNames))
	}
	return Severity(i), nil
}

// Finding is one rule that a certificate violates.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"-"`
	Level    string   `json:"severity"`
	Citation string   `json:"citation"`
	Detail   string   `json:"detail"`
}

// Policy says which rules run and what they block.
type Policy struct {
	Sets   []string          // names that Sets lists; nil: the RFC sets
	FailAt Severity          // findings of this severity and above refuse; zero value Notice means Error
	Ignore map[string]string // rule -> reason
}

// NewPolicy returns the policy in the words of a profile: failLevel "warn" refuses
// warnings as well, and everything else errors alone.
func NewPolicy(sets []string, failLevel string, ignore map[string]string) Policy {
	policy := Policy{Sets: sets, FailAt: Error, Ignore: ignore}
	if failLevel == "warn" {
		policy.FailAt = Warning
	}
	return policy
}

// Certificate runs the rules over a drafted certificate and returns the findings,
// worst first, those that the policy ignores included. issuer is the draft itself
// for a root. The only errors are an unknown set and octets that cannot be read.
func Certificate(drafted, issuer *x509.Certificate, policy Policy) ([]Finding, error) {
	sets, err := policy.sets()
	if err != nil {
		return nil, err
	}
	findings, err := runZlint(drafted, sets)
	if err != nil {
		return nil, err
	}
	for i := range rules {
		rule := &rules[i]
		if !slices.Contains(sets, rule.Set) {
			continue
		}
		if detail := rule.check(drafted, issuer); detail != "" {
			findings = append(findings, finding(rule.Name, rule.Severity, rule.Citation, detail))
		}
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), strings.Compare(a.Rule, b.Rule))
	})
	return findings, nil
}

func finding(rule string, severity Severity, citation, detail string) Finding {
	return Finding{Rule: rule, Severity: severity, Level: severity.String(), Citation: citation, Detail: detail}
}

// Refuse returns the error for findings that the policy does not tolerate, or nil.
// Its message names every refusing rule.
func Refuse(findings []Finding, policy Policy) error {
	failAt := policy.FailAt
	if failAt == Notice {
		failAt = Error
	}
	var refused []string
	for _, found := range findings {
		if _, ignored := policy.Ignore[found.Rule]; !ignored && found.Severity >= failAt {
			refused = append(refused, found.Rule+" ("+found.Citation+"): "+found.Detail)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return fault.New(fault.Invalid, "certificate violates lint %s", strings.Join(refused, "; "))
}

// Check returns the policy as a check on a draft, in the shape of sign.Check.
func Check(policy Policy) func(drafted, issuer *x509.Certificate) error {
	return func(drafted, issuer *x509.Certificate) error {
		findings, err := Certificate(drafted, issuer, policy)
		if err != nil {
			return err
		}
		return Refuse(findings, policy)
	}
}

// CheckPolicy refuses sets and rules that do not exist, since a misspelled rule must
// not disappear, and rules ignored without a reason.
func CheckPolicy(policy Policy) error {
	if _, err := policy.sets(); err != nil {
		return err
	}
	if policy.FailAt > Fatal {
		return fault.Field("lint_fail_at", "must be %s", fault.List(severityNames))
	}
	for rule, reason := range policy.Ignore {
		if _, known := ruleNames()[rule]; !known {
			return fault.Field("lint_ignore", "%q is not a rule", rule)
		}
		if strings.TrimSpace(reason) == "" {
			return fault.Field("lint_ignore", "rule %s needs a reason to be ignored", rule)
		}
	}
	return nil
}

func (p Policy) sets() ([]string, error) {
	if p.Sets == nil {
		return defaultSets, nil
	}
	for _, name := range p.Sets {
		if _, known := setTable[name]; !known {
			return nil, fault.Field("lint_sets", "%q must be %s", name, fault.List(Sets()))
		}
	}
	return p.Sets, nil
}
