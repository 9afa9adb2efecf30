package sign

import (
	"crypto/x509"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// rules is what one chain lets its issuer issue, worked out once.
type rules struct {
	issuer      *x509.Certificate
	chain       []*x509.Certificate
	constraints []nameConstraints
}

// WithinChain returns the check that a draft is valid under its whole chain (ca-2):
// validity inside the issuer's, path length, extended key usage nested, name
// constraints of every CA above, no CA with a critical extension that relying
// parties cannot process. chain is the issuer and then the CAs above it, as far as they are known;
// an unusable chain refuses every draft. The chain's own signatures and constraints
// are verified here, once: keep the check for as long as the issuer stays the same.
func WithinChain(chain []*x509.Certificate) Check {
	compiled, err := compile(chain)
	if err != nil {
		return func(_, _ *x509.Certificate) error { return err }
	}
	return compiled.check
}

func compile(chain []*x509.Certificate) (*rules, error) {
	if len(chain) == 0 {
		return nil, fault.New(fault.Internal, "checking chain: no issuer")
	}
	compiled := &rules{issuer: chain[0], chain: chain}
	for i, ca := range chain {
		serial := cert.SerialOf(ca.SerialNumber)
		if !ca.BasicConstraintsValid || !ca.IsCA {
			return nil, fault.New(fault.Conflict, "certificate %s of the chain must be a CA certificate", serial)
		}
		if err := checkCritical(ca); err != nil {
			return nil, err
		}
		constraints, err := readNameConstraints(ca)
		if err != nil {
			return nil, err
		}
		if constraints.present {
			compiled.constraints = append(compiled.constraints, constraints)
		}
		if i == 0 {
			continue
		}
		if err := chain[i-1].CheckSignatureFrom(ca); err != nil {
			return nil, fault.New(fault.Conflict, "certificate %s of the chain did not sign the one below it: %w", serial, err)
		}
	}
	return compiled, checkPathLength(chain[1:])
}

func (r *rules) check(drafted, issuer *x509.Certificate) error {
	if !issuer.Equal(r.issuer) {
		return fault.New(fault.Internal, "checking chain: issuer %s is not the chain's", cert.SerialOf(issuer.SerialNumber))
	}
	if err := checkValidity(drafted, issuer); err != nil {
		return err
	}
	if drafted.IsCA {
		if err := checkPathLength(r.chain); err != nil {
			return err
		}
		if err := checkCritical(drafted); err != nil {
			return err
		}
	}
	if err := checkUsages(r.chain, drafted); err != nil {
		return err
	}
	if len(r.constraints) == 0 {
		return nil
	}
	names, err := namesOf(drafted)
	if err != nil {
		return err
	}
	for _, constraints := range r.constraints {
		if err := constraints.check(names); err != nil {
			return err
		}
	}
	return nil
}

// checkValidity holds time-1 and time-2: a certificate lives inside its issuer.
func checkValidity(drafted, issuer *x509.Certificate) error {
	switch {
	case drafted.NotAfter.Before(drafted.NotBefore):
		return fault.Field("not_after", "must not be before not_before")
	case drafted.NotBefore.Before(issuer.NotBefore):
		return fault.Field("not_before", "must not be before the issuer's %s", issuer.NotBefore.UTC().Format(time.RFC3339))
	case drafted.NotAfter.After(issuer.NotAfter):
		return fault.Field("not_after", "must not be after the issuer's %s", issuer.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkPathLength refuses one more CA below the CAs of a chain, nearest first, that
// leave no room for it (RFC 5280 section 4.2.1.9). The RFC does not count the last
// certificate of a path, but a CA certificate exists to be above one; and it does
// not count self-issued certificates, but whoever holds such a key is one more CA.
func checkPathLength(above []*x509.Certificate) error {
	for i, ca := range above {
		limited := ca.MaxPathLen > 0 || ca.MaxPathLen == 0 && ca.MaxPathLenZero
		if limited && i+1 > ca.MaxPathLen {
			return fault.New(fault.Invalid, "path length %d of CA %s leaves no room for a CA below it", ca.MaxPathLen, cert.SerialOf(ca.SerialNumber))
		}
	}
	return nil
}

// checkUsages refuses an extended key usage that a CA above does not have: relying
// parties read a CA's extKeyUsage as a constraint, though RFC 5280 does not say so.
// An OCSP responder of the CA itself (RFC 6960 section 4.2.2.2) is exempt: its usage
// speaks about the issuer, and CAs limited to TLS have such responders.
func checkUsages(chain []*x509.Certificate, drafted *x509.Certificate) error {
	if !drafted.IsCA && len(drafted.UnknownExtKeyUsage) == 0 && slices.Equal(drafted.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}) {
		return nil
	}
	for _, ca := range chain {
		if len(ca.ExtKeyUsage)+len(ca.UnknownExtKeyUsage) == 0 || slices.Contains(ca.ExtKeyUsage, x509.ExtKeyUsageAny) {
			continue
		}
		for _, usage := range drafted.ExtKeyUsage {
			if !slices.Contains(ca.ExtKeyUsage, usage) {
				return refuseUsage(usage.String(), ca)
			}
		}
		for _, usage := range drafted.UnknownExtKeyUsage {
			if !slices.ContainsFunc(ca.UnknownExtKeyUsage, usage.Equal) {
				return refuseUsage(usage.String(), ca)
			}
		}
	}
	return nil
}

func refuseUsage(usage string, ca *x509.Certificate) error {
	return fault.Field("ext_key_usage", "%s is not among the usages of CA %s", usage, cert.SerialOf(ca.SerialNumber))
}

// checkCritical refuses a CA certificate with critical extensions that neither
// crypto/x509 nor this room processes (RFC 5280 section 4.2): relying parties would
// reject everything below it. Those of an end entity are its profile's business.
func checkCritical(c *x509.Certificate) error {
	for _, oid := range c.UnhandledCriticalExtensions {
		if oid.Equal(oidNameConstraints) { // directoryName constraints

			continue
		}
		return fault.New(fault.Invalid, "certificate %s has the critical extension %s, which relying parties cannot process", cert.SerialOf(c.SerialNumber), oid)
	}
	return nil
}
