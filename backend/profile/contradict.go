package profile

import (
	"crypto/x509"
	"regexp"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// alwaysAllowed are the reasons that no profile forbids: whoever learns that a key is in
// other hands, or that its holder has lost the right to it, must be able to say so.
var alwaysAllowed = []cert.Reason{cert.KeyCompromise, cert.CACompromise, cert.PrivilegeWithdrawn}

// compileReasons decides for which reasons a certificate may be revoked. Suspension
// must be allowed in words: a certificate on hold can come back.
func compileReasons(p *Profile) error {
	p.reasons = make(map[cert.Reason]bool, len(p.config.AllowedRevocationReasons))
	for _, text := range p.config.AllowedRevocationReasons {
		reason, err := cert.ParseReason(text)
		if err != nil {
			return fault.Field("allowed_revocation_reasons", "%w", err)
		}
		p.reasons[reason] = true
	}
	if len(p.reasons) > 0 {
		for _, reason := range alwaysAllowed {
			p.reasons[reason] = true
		}
		return nil
	}
	for _, reason := range cert.Reasons() {
		// RFC 5280 section 5.3.1: removeFromCRL is an entry of delta CRLs, no reason.
		p.reasons[reason] = reason != cert.CertificateHold && reason != cert.RemoveFromCRL
	}
	return nil
}

// checkKind refuses fields that contradict what the certificate is for.
func checkKind(p *Profile) error {
	switch p.config.Kind {
	case KindSubCA, KindRoot:
		return p.checkCA()
	case KindOCSP:
		if len(p.usage.extended) != 1 || p.usage.extended[0] != oidOCSPSigning {
			return fault.Field("ext_key_usage", "an OCSP responder has OCSPSigning and nothing else")
		}
		if p.config.NoStore {
			return fault.Field("no_store", "responder certificates are always stored")
		}
	default:
		if slices.Contains(p.usage.extended, oidOCSPSigning) && len(p.usage.extended) > 1 {
			return fault.Field("ext_key_usage", "OCSPSigning stands alone: a responder serves nothing else")
		}
	}
	c := &p.config
	switch {
	case (p.usage.key|p.usage.optional)&caUsages != 0:
		return fault.Field("key_usage", "CertSign and CRLSign are for CAs (kind=subca or root)")
	case c.MaxPathLength != -1:
		return fault.Field("max_path_length", "is for CAs (kind=subca or root); leave it at -1")
	case c.OCSPNoCheck && c.Kind != KindOCSP:
		return fault.Field("ocsp_nocheck", "is for OCSP responders (kind=ocsp)")
	}
	return nil
}

func (p *Profile) checkCA() error {
	c := &p.config
	switch {
	case p.usage.key&x509.KeyUsageCertSign == 0:
		return fault.Field("key_usage", "a CA needs CertSign (RFC 5280 section 4.2.1.3)")
	case slices.Contains(p.usage.extended, oidAnyEKU) || slices.Contains(p.usage.extended, oidOCSPSigning):
		return fault.Field("ext_key_usage", "a CA must have neither Any nor OCSPSigning, which would let it answer for its issuer")
	case c.MaxPathLength < -1 || c.MaxPathLength > 10:
		return fault.Field("max_path_length", "must be between -1 (no limit) and 10")
	case c.OCSPNoCheck:
		return fault.Field("ocsp_nocheck", "is for OCSP responders (kind=ocsp)")
	case c.NoRevAvail:
		return fault.Field("no_rev_avail", "must not be in CA certificates (RFC 9608 section 2)")
	case c.MustStaple:
		return fault.Field("must_staple", "is for end entities")
	case c.NoStore:
		return fault.Field("no_store", "CA certificates are always stored")
	case c.BCForNonCA:
		return fault.Field("basic_constraints_valid_for_non_ca", "is for end entities; CAs always have basic constraints")
	case c.Kind == KindRoot && c.AIA != "none":
		return fault.Field("aia", "must be none for a root: it has no issuer to point to")
	case c.Kind == KindRoot && c.CRLDistribution != "none":
		return fault.Field("crl_distribution", "must be none for a root: its own CRL cannot revoke it")
	case c.Kind == KindRoot && len(c.IssuerKeyAlgorithms) > 0:
		return fault.Field("issuer_key_algorithms", "must be empty for a root: key_algorithms decides")
	}
	return nil
}

// checkRevocation refuses contradictory words about revocation.
func checkRevocation(p *Profile) error {
	c := &p.config
	switch {
	case c.NoRevAvail && c.CRLDistribution != "none":
		return fault.Field("no_rev_avail", "contradicts crl_distribution=%s (RFC 9608 section 3)", c.CRLDistribution)
	case c.NoRevAvail && c.OCSPNoCheck:
		return fault.Field("no_rev_avail", "contradicts ocsp_nocheck")
	case c.MustStaple && (c.NoRevAvail || c.AIA != "full"):
		return fault.Field("must_staple", "needs an OCSP responder: aia=full and no no_rev_avail")
	}
	return nil
}

// checkLints holds the form alone: which sets and rules exist, the lint room knows,
// and refuses others when the profile is written and when it runs.
func checkLints(p *Profile) error {
	for _, set := range p.config.LintSets {
		if !lintSetPattern.MatchString(set) {
			return fault.Field("lint_sets", "%q is not the name of a set such as rfc5280", set)
		}
	}
	for rule, reason := range p.config.LintIgnore {
		if strings.TrimSpace(rule) == "" || strings.TrimSpace(reason) == "" {
			return fault.Field("lint_ignore", "each entry must be rule=reason, with a reason")
		}
	}
	return nil
}

var lintSetPattern = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
