package ceremony

import (
	"crypto/x509"
	"fmt"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/lint"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// checked returns the rules that judge certificates of a profile, offline as online.
func checked(p *profile.Profile) lint.Policy {
	wanted := p.LintPolicy()
	return lint.NewPolicy(wanted.Sets, wanted.FailLevel, wanted.Ignore)
}

// lints runs the rules of a preset over a certificate. It returns what they found in
// words, and an error when the preset does not tolerate it.
func lints(preset string, certificate, issuer *x509.Certificate) (found string, err error) {
	compiled, err := Limits{}.compile(preset)
	if err != nil {
		return "", err
	}
	policy := checked(compiled)
	findings, err := lint.Certificate(certificate, issuer, policy)
	if err != nil {
		return "", err
	}
	var words []string
	for _, f := range findings {
		words = append(words, fmt.Sprintf("%s %s", f.Level, f.Rule))
	}
	if len(words) == 0 {
		words = []string{"no findings"}
	}
	return strings.Join(words, ", "), lint.Refuse(findings, policy)
}
