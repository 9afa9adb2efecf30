package profile

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Profile is a validated, immutable profile version. It is safe for concurrent use.
type Profile struct {
	name     string
	config   Config
	keys     []cert.KeySpec
	issuers  []cert.KeySpec
	subject  subjectRules
	usage    usageRules
	notAfter time.Time // zero: no fixed end
	policies []x509.OID
	static   []pkix.Extension // extensions that are the same in every certificate
	limits   constraints
	reasons  map[cert.Reason]bool
}

// usageRules are the compiled key usages.
type usageRules struct {
	key, optional x509.KeyUsage
	extended      []string // OIDs
	known         []x509.ExtKeyUsage
	unknown       []asn1.ObjectIdentifier
}

// constraints are the IP ranges of name constraints, parsed.
type constraints struct {
	permitted, excluded []*net.IPNet
}

// New validates a Config and returns the profile; version is recorded in Name. A
// field whose value is unknown, out of range or contradicts another is refused by
// its name.
func New(name string, version int, config Config) (*Profile, error) {
	p := &Profile{config: Detach(config)}
	if name != "" {
		p.name = fmt.Sprintf("%s@%d", name, version)
	}
	for _, step := range []func(*Profile) error{
		checkEnums, compileKeys, compileValidity, compileSubject, checkNameRules, compileUsage,
		compileExtensions, compileConstraints, compileReasons, checkKind, checkRevocation, checkLints,
	} {
		if err := step(p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Name returns "name@version", or "" for the profile that a role without one makes.
func (p *Profile) Name() string { return p.name }

// Config returns what the operator declared. The caller owns the result.
func (p *Profile) Config() Config { return Detach(p.config) }

// Kind returns KindLeaf, KindSubCA, KindRoot or KindOCSP.
func (p *Profile) Kind() string { return p.config.Kind }

// NoStore reports whether certificates are not stored. The issue room obeys it.
func (p *Profile) NoStore() bool { return p.config.NoStore }

// UniqueKey reports whether a key certified for another owner must be refused. The
// issue room asks the ledger.
func (p *Profile) UniqueKey() bool { return p.config.UniqueKey }

// CSRExtra returns CSRRefuse or CSRDrop: what becomes of what a CSR asks for and
// does not get.
func (p *Profile) CSRExtra() string { return p.config.CSRExtra }

// CRLRetention returns how long after its end a revoked certificate stays on the CRL.
func (p *Profile) CRLRetention() time.Duration { return seconds(p.config.CRLRetention) }

// AllowsReason reports whether certificates may be revoked for the reason.
func (p *Profile) AllowsReason(r cert.Reason) bool { return p.reasons[r] }

// Signature says how issuers sign certificates of this profile.
type Signature struct {
	HashBits int  // 0, 256, 384 or 512; 0 is 256
	PSS      bool // RSASSA-PSS instead of PKCS #1 v1.5
}

// Signature returns the choices for RSA issuers; the algorithm of the others
// follows from their key.
func (p *Profile) Signature() Signature {
	return Signature{HashBits: p.config.SignatureHashBits, PSS: p.config.SignaturePSS}
}

// Algorithm returns the algorithm with which a key signs under these choices.
func (s Signature) Algorithm(signer crypto.PublicKey) (x509.SignatureAlgorithm, error) {
	spec, err := cert.KeySpecOf(signer)
	if err != nil {
		return 0, fmt.Errorf("choosing signature algorithm: %w", err)
	}
	if spec.Type != cert.RSA {
		return cert.SignatureAlgorithm(spec, 0, "")
	}
	scheme := cert.PKCS1v15
	if s.PSS {
		scheme = cert.PSS
	}
	return cert.SignatureAlgorithm(spec, s.HashBits, scheme)
}

// LintPolicy is what the lint room needs to know of a profile.
type LintPolicy struct {
	Sets      []string          // nil: the sets of the RFCs
	FailLevel string            // "error" or "warn": the lowest severity that refuses
	Ignore    map[string]string // rule -> reason
}

// LintPolicy returns which lint rules judge certificates of this profile. The
// result is shared: do not change it.
func (p *Profile) LintPolicy() LintPolicy {
	policy := LintPolicy{FailLevel: p.config.LintFailLevel, Ignore: p.config.LintIgnore}
	if len(p.config.LintSets) > 0 { // an empty list is not "no rules"
		policy.Sets = p.config.LintSets
	}
	return policy
}

// EngineKey returns the algorithm of a key that the engine is to generate: the one
// that key_type and key_bits of the request name, or the profile's first. It is
// refused when the profile wants keys from requesters only.
func (p *Profile) EngineKey(keyType string, bits int) (cert.KeySpec, error) {
	if !p.config.AllowEngineGenerated {
		return cert.KeySpec{}, fault.Field("csr", "the profile requires a CSR (allow_engine_generated)")
	}
	if keyType == "" && bits == 0 {
		return p.keys[0], nil
	}
	if keyType == "" {
		keyType = string(p.keys[0].Type)
	}
	if bits == 0 {
		for _, spec := range p.keys {
			if string(spec.Type) == keyType {
				return spec, nil
			}
		}
	}
	spec, err := cert.NewKeySpec(keyType, bits)
	if err != nil {
		return cert.KeySpec{}, err
	}
	return spec, p.allowsKey(spec)
}

func (p *Profile) allowsKey(spec cert.KeySpec) error {
	if !AllowsKey(p.keys, spec) {
		return fault.Field("key_type", "%s is not one of %s (key_algorithms)", spec, fault.List(p.config.KeyAlgorithms))
	}
	return nil
}

// AllowsKey reports whether a list of key algorithms covers a key: an RSA size is a
// minimum, everything else is exact.
func AllowsKey(list []cert.KeySpec, key cert.KeySpec) bool {
	for _, spec := range list {
		if spec == key || spec.Type == cert.RSA && key.Type == cert.RSA && key.Bits >= spec.Bits && key.Bits <= cert.MaxRSABits {
			return true
		}
	}
	return false
}
