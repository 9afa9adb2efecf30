package sign

import (
	"crypto/x509"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Ancestor is a CA certificate above an issuer, on a path whose signatures the caller
// has verified.
type Ancestor struct {
	Certificate *x509.Certificate
	// Distance is how many certificates it is above the issuer: 1 for a parent.
	Distance int
}

// rules is what an issuer and the CAs above it allow, worked out once.
type rules struct {
	issuer      *x509.Certificate
	cas         []Ancestor // the issuer at distance 0, then all above
	constraints []nameConstraints
}

// Within returns the check that a draft is valid under its issuer and under every CA
// above (ca-2): validity inside the issuer's, path length, extended key usage nested,
// name constraints, no CA with a critical extension that relying parties cannot
// process. above holds all known CAs on all paths, because a relying party may take
// any of them: another certificate for a parent's key lifts nothing. An unusable CA
// among them refuses every draft. Keep the check for as long as the CAs stay the same.
func Within(issuer *x509.Certificate, above []Ancestor) Check {
	compiled, err := compile(issuer, above)
	if err != nil {
		return Refuse(err)
	}
	return compiled.check
}

// Refuse returns the check that refuses every draft for one reason.
func Refuse(err error) Check {
	return func(_, _ *x509.Certificate) error { return err }
}

// WithinChain is Within for one path, given as the issuer and then the CAs above it
// as far as they are known. It verifies the signatures of the path.
func WithinChain(chain []*x509.Certificate) Check {
	if len(chain) == 0 {
		return Refuse(fault.New(fault.Internal, "checking chain: no issuer"))
	}
	above := make([]Ancestor, 0, len(chain))
	for i, ca := range chain[1:] {
		if err := chain[i].CheckSignatureFrom(ca); err != nil {
			return Refuse(fault.New(fault.Conflict, "certificate %s of the chain did not sign the one below it: %w", cert.SerialOf(ca.SerialNumber), err))
		}
		above = append(above, Ancestor{ca, i + 1})
	}
	return Within(chain[0], above)
}

// Usable refuses an issuer under which no draft could ever be valid.
func Usable(issuer *x509.Certificate, above []Ancestor) error {
	_, err := compile(issuer, above)
	return err
}

func compile(issuer *x509.Certificate, above []Ancestor) (*rules, error) {
	compiled := &rules{issuer: issuer, cas: append([]Ancestor{{issuer, 0}}, above...)}
	for _, ca := range compiled.cas {
		if !ca.Certificate.BasicConstraintsValid || !ca.Certificate.IsCA {
			return nil, fault.New(fault.Conflict, "certificate %s of the chain must be a CA certificate", cert.SerialOf(ca.Certificate.SerialNumber))
		}
		if err := checkCritical(ca.Certificate); err != nil {
			return nil, err
		}
		constraints, err := readNameConstraints(ca.Certificate)
		if err != nil {
			return nil, err
		}
		if constraints.present {
			compiled.constraints = append(compiled.constraints, constraints)
		}
	}
	return compiled, checkPathLength(compiled.cas, 0)
}

func (r *rules) check(drafted, issuer *x509.Certificate) error {
	if !issuer.Equal(r.issuer) {
		return fault.New(fault.Internal, "checking chain: issuer %s is not the chain's", cert.SerialOf(issuer.SerialNumber))
	}
	if err := checkValidity(drafted, issuer); err != nil {
		return err
	}
	if drafted.IsCA {
		if err := checkPathLength(r.cas, 1); err != nil {
			return err
		}
		if err := checkCritical(drafted); err != nil {
			return err
		}
	}
	if err := checkUsages(r.cas, drafted); err != nil {
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

// checkPathLength refuses CAs that leave no room for those below them: the ones down
// to the issuer, and more that shall follow it (RFC 5280 section 4.2.1.9). The RFC does not count the last
// certificate of a path, but a CA certificate exists to be above one; and it does
// not count self-issued certificates, but whoever holds such a key is one more CA.
func checkPathLength(cas []Ancestor, more int) error {
	for _, ca := range cas {
		limit := ca.Certificate.MaxPathLen
		limited := limit > 0 || limit == 0 && ca.Certificate.MaxPathLenZero
		if limited && ca.Distance+more > limit {
			return fault.New(fault.Invalid, "path length %d of CA %s leaves no room for a CA below it", limit, cert.SerialOf(ca.Certificate.SerialNumber))
		}
	}
	return nil
}

// checkUsages refuses an extended key usage that a CA above does not have: relying
// parties read a CA's extKeyUsage as a constraint, though RFC 5280 does not say so.
// An OCSP responder of the CA itself (RFC 6960 section 4.2.2.2) is exempt: its usage
// speaks about the issuer, and CAs limited to TLS have such responders.
func checkUsages(cas []Ancestor, drafted *x509.Certificate) error {
	if !drafted.IsCA && len(drafted.UnknownExtKeyUsage) == 0 && slices.Equal(drafted.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}) {
		return nil
	}
	for _, above := range cas {
		ca := above.Certificate
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
