package profile

import (
	"crypto/x509"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// ForCA returns the profile of a CA certificate as the built-in engine makes it:
// every key, every subject and every name that the request asks for. kind is KindRoot
// or KindSubCA; path length and name constraints are the request's to set.
func ForCA(kind string) Config {
	config := DefaultConfig()
	config.Kind = kind
	config.KeyAlgorithms = nil
	for _, spec := range cert.KeySpecs() {
		config.KeyAlgorithms = append(config.KeyAlgorithms, spec.String())
	}
	config.SubjectAllowed = SubjectAttributes()
	config.CNPolicy = CNFree
	config.SANTypes = []string{SANDNS, SANIP, SANURI, SANEmail, SANOther}
	config.KeyUsage = []string{"CertSign", "CRLSign"}
	config.CSRExtra = CSRDrop
	if kind == KindRoot {
		config.AIA, config.CRLDistribution = "none", "none"
	}
	return config
}

// Conforms checks a CA certificate that another CA signed against the profile under
// which it was requested: key, path length, usages and lifetime.
func (p *Profile) Conforms(c *x509.Certificate) error {
	spec, err := cert.KeySpecOf(c.PublicKey)
	if err != nil {
		return err
	}
	if err := p.allowsKey(spec); err != nil {
		return err
	}
	life := c.NotAfter.Sub(c.NotBefore)
	if limit := time.Duration(p.config.MaxTTL) * time.Second; limit > 0 && life > limit+maxBackdate {
		return fault.Field("certificate", "is valid for %s, longer than max_ttl %s", life, limit)
	}
	if limit := p.config.MaxPathLength; limit >= 0 && !limitsPath(c, limit) {
		return fault.Field("certificate", "must have a path length of at most %d (max_path_length)", limit)
	}
	wanted, err := ParseKeyUsages("key_usage", p.config.KeyUsage)
	if err != nil {
		return err
	}
	if missing := wanted &^ c.KeyUsage; missing != 0 {
		return fault.Field("certificate", "lacks key usage %s", fault.List(KeyUsageNames(missing)))
	}
	if slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return fault.Field("certificate", "must not have anyExtendedKeyUsage")
	}
	return nil
}

// maxBackdate is how much longer than max_ttl a lifetime may look, because notBefore
// lies in the past for clients whose clocks are slow.
const maxBackdate = 5 * time.Minute

// limitsPath reports whether a CA certificate limits its path length to n or less.
func limitsPath(c *x509.Certificate, n int) bool {
	limited := c.MaxPathLen > 0 || c.MaxPathLen == 0 && c.MaxPathLenZero
	return limited && c.MaxPathLen <= n
}
