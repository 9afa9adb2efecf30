package profile

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Ask is one request for a certificate, after the role has accepted its names.
type Ask struct {
	Subject   pkix.Name
	Names     cert.Names
	PublicKey crypto.PublicKey
	CSR       CSRAsk
	// EngineKey says that the engine generates the key.
	EngineKey bool
	// SubjectKeyID is the key identifier of a CA that has one already: what it signed
	// before names it by that. Empty: from the key (RFC 7093 section 2 method 1).
	SubjectKeyID []byte
	// Issuer is the CA certificate that will sign; nil for a root.
	Issuer *x509.Certificate
	URLs   URLs

	TTL      time.Duration // 0: the profile's default
	NotAfter time.Time     // zero: from TTL; both given is refused
	Mount    Leases
	// LeafNotAfter is what the issuer does with a certificate that would outlive it.
	LeafNotAfter LeafNotAfter
}

// Leases are the lease settings of the mount, which lifetimes respect; 0: none.
type Leases struct {
	Default time.Duration
	Max     time.Duration
}

// CSRAsk is what a CSR asked for beside names and key, as cert.Request holds it.
type CSRAsk struct {
	KeyUsage    x509.KeyUsage // 0: none
	ExtKeyUsage []string      // OIDs in dotted form
	Unknown     []string      // OIDs of other extensions
}

// AskOf returns what a CSR asks for: the start of an Ask. Names and subject are the
// role's to decide.
func AskOf(csr *cert.Request) Ask {
	return Ask{
		PublicKey: csr.PublicKey,
		CSR:       CSRAsk{KeyUsage: csr.KeyUsage, ExtKeyUsage: csr.ExtKeyUsage, Unknown: csr.Unknown},
	}
}

// LeafNotAfter is an issuer's leaf_not_after_behavior. There is no "permit": no
// certificate outlives its issuer (time-1).
type LeafNotAfter string

// The behaviours; every other value is LeafErr.
const (
	LeafErr      LeafNotAfter = "err"
	LeafTruncate LeafNotAfter = "truncate"
)

// URLs are the places that a certificate points to, decided by its issuer.
type URLs struct {
	IssuingCertificates   []string
	CRLDistributionPoints []string
	DeltaCRLs             []string // freshestCRL (RFC 5280 section 4.2.1.15)
	OCSPServers           []string
}

// Template is what would be signed, and what the requester should know about it.
type Template struct {
	// Certificate has everything but a serial number. Its names are in the
	// subjectAltName among ExtraExtensions as well as in the fields for them.
	Certificate *x509.Certificate
	// Warnings say what was cut short or dropped, in whole sentences.
	Warnings []string
}

// Template returns what would be signed for the request at this moment, or a
// refusal that names the field and the rule.
func (p *Profile) Template(ask Ask, now time.Time) (*Template, error) {
	family, err := p.checkKeys(&ask)
	if err != nil {
		return nil, err
	}
	if err := p.checkNames(ask.Names); err != nil {
		return nil, err
	}
	c := &x509.Certificate{PublicKey: ask.PublicKey}
	t := &Template{Certificate: c}
	if c.NotBefore, c.NotAfter, t.Warnings, err = p.validity(&ask, now); err != nil {
		return nil, err
	}
	if c.Subject, err = p.subject.apply(ask.Subject, ask.Names); err != nil {
		return nil, err
	}
	if err := p.setUsages(t, &ask, family); err != nil {
		return nil, err
	}
	if c.SubjectKeyId, err = subjectKeyID(&ask); err != nil {
		return nil, err
	}
	signer := ask.PublicKey
	if ask.Issuer != nil {
		signer = ask.Issuer.PublicKey
	}
	if c.SignatureAlgorithm, err = p.Signature().Algorithm(signer); err != nil {
		return nil, err
	}
	p.setAuthority(c)
	p.setPointers(c, ask.URLs)
	c.Policies = p.policies
	return t, p.setExtensions(c, &ask)
}

// checkKeys refuses keys, and issuers, that the profile does not allow, and the
// issuer's own key (key-1). It returns the family of the subject's key.
func (p *Profile) checkKeys(ask *Ask) (cert.KeyType, error) {
	root := p.config.Kind == KindRoot
	if root != (ask.Issuer == nil) {
		return "", fault.New(fault.Conflict, "a profile of kind %s needs %s", p.config.Kind, issuerNeed(root))
	}
	spec, err := cert.KeySpecOf(ask.PublicKey)
	if err != nil {
		return "", fault.Field("csr", "%w", err)
	}
	if err := p.allowsKey(spec); err != nil {
		return "", err
	}
	if ask.EngineKey && !p.config.AllowEngineGenerated {
		return "", fault.Field("csr", "the profile requires a CSR (allow_engine_generated)")
	}
	if root {
		return spec.Type, nil
	}
	if cert.Equal(ask.PublicKey, ask.Issuer.PublicKey) {
		return "", fault.Field("csr", "must not hold the issuer's own key")
	}
	if len(p.issuers) == 0 {
		return spec.Type, nil
	}
	issuer, err := cert.KeySpecOf(ask.Issuer.PublicKey)
	if err != nil || !AllowsKey(p.issuers, issuer) {
		return "", fault.Field("issuer_ref", "the issuer's key is not one of %s (issuer_key_algorithms)", fault.List(p.config.IssuerKeyAlgorithms))
	}
	return spec.Type, nil
}

func subjectKeyID(ask *Ask) ([]byte, error) {
	if len(ask.SubjectKeyID) > 0 {
		return slices.Clone(ask.SubjectKeyID), nil
	}
	return cert.SubjectKeyID(ask.PublicKey)
}

func issuerNeed(root bool) string {
	if root {
		return "no issuer: it is self-signed"
	}
	return "an issuer"
}

// setUsages decides key usage and extended key usage. What a CSR asks for is
// granted where optional and otherwise refused or dropped, never copied.
func (p *Profile) setUsages(t *Template, ask *Ask, family cert.KeyType) error {
	extra, unserved := p.beyond(&ask.CSR, family)
	if len(extra) > 0 && p.config.CSRExtra != CSRDrop {
		return fault.Field("csr", "asks for more than the profile gives: %s (csr_extra=refuse)", strings.Join(extra, ", "))
	}
	if dropped := slices.Concat(extra, unserved); len(dropped) > 0 {
		t.Warnings = append(t.Warnings, fmt.Sprintf("the CSR asked for more than the profile gives, which was dropped: %s", strings.Join(dropped, ", ")))
	}
	declared := p.usage.key | p.usage.optional&servedBy(ask.CSR.KeyUsage, family)
	t.Certificate.KeyUsage = servedBy(declared, family)
	if declared != 0 && t.Certificate.KeyUsage&^(x509.KeyUsageEncipherOnly|x509.KeyUsageDecipherOnly) == 0 {
		return fault.Field("key_usage", "%s cannot be served by a key of type %s", fault.List(KeyUsageNames(declared)), family)
	}
	if !p.config.ExtKeyUsageCritical {
		t.Certificate.ExtKeyUsage, t.Certificate.UnknownExtKeyUsage = p.usage.known, p.usage.unknown
	}
	return nil
}

// beyond lists what the CSR asks for and the certificate will not have. Key usages
// that no key of the family can serve are apart: nobody could grant them, so that
// leaving them out withholds nothing (cert-manager asks for keyEncipherment by default,
// whatever the key is).
func (p *Profile) beyond(csr *CSRAsk, family cert.KeyType) (extra, unserved []string) {
	possible := servedBy(csr.KeyUsage, family)
	for _, name := range KeyUsageNames(csr.KeyUsage &^ possible) {
		unserved = append(unserved, fmt.Sprintf("key usage %s (of no use with a key of type %s)", name, family))
	}
	for _, name := range KeyUsageNames(possible &^ (p.usage.key | p.usage.optional)) {
		extra = append(extra, "key usage "+name)
	}
	for _, oid := range csr.ExtKeyUsage {
		if !slices.Contains(p.usage.extended, oid) {
			extra = append(extra, "extended key usage "+extKeyUsageName(oid))
		}
	}
	for _, oid := range csr.Unknown {
		if !p.writes(oid) {
			extra = append(extra, "extension "+oid)
		}
	}
	return extra, unserved
}

// writes reports whether every certificate carries the extension anyway, with the
// engine's value: asking for it asks for nothing more.
func (p *Profile) writes(oid string) bool {
	if oid == oidSubjectKeyID.String() {
		return true
	}
	return slices.ContainsFunc(p.static, func(e pkix.Extension) bool { return e.Id.String() == oid })
}

// setAuthority sets basic constraints and name constraints, which RFC 5280
// sections 4.2.1.9 and 4.2.1.10 want critical in CA certificates.
func (p *Profile) setAuthority(c *x509.Certificate) {
	c.MaxPathLen = -1
	if p.config.Kind != KindSubCA && p.config.Kind != KindRoot {
		c.BasicConstraintsValid = p.config.BCForNonCA
		return
	}
	c.BasicConstraintsValid, c.IsCA = true, true
	if p.config.Kind == KindRoot {
		// RFC 5280 section 4.2.1.1 lets a root leave it out; chain builders like it.
		c.AuthorityKeyId = c.SubjectKeyId
	}
	c.MaxPathLen, c.MaxPathLenZero = p.config.MaxPathLength, p.config.MaxPathLength == 0
	c.PermittedDNSDomainsCritical = true
	c.PermittedDNSDomains, c.ExcludedDNSDomains = p.config.PermittedDNSDomains, p.config.ExcludedDNSDomains
	c.PermittedIPRanges, c.ExcludedIPRanges = p.limits.permitted, p.limits.excluded
	c.PermittedEmailAddresses, c.ExcludedEmailAddresses = p.config.PermittedEmailAddresses, p.config.ExcludedEmailAddresses
	c.PermittedURIDomains, c.ExcludedURIDomains = p.config.PermittedURIDomains, p.config.ExcludedURIDomains
}

// setPointers sets the URLs. A certificate that nobody checks for revocation names
// no responder (RFC 9608 section 3, RFC 6960 section 4.2.2.2.1).
func (p *Profile) setPointers(c *x509.Certificate, urls URLs) {
	if p.config.AIA == "full" {
		c.IssuingCertificateURL = urls.IssuingCertificates
		if !p.config.NoRevAvail && !p.config.OCSPNoCheck {
			c.OCSPServer = urls.OCSPServers
		}
	}
	if p.config.CRLDistribution == "full" {
		c.CRLDistributionPoints = urls.CRLDistributionPoints
	}
}

// setExtensions adds what the standard library does not encode: the static
// extensions, the private key usage period, the URLs of delta CRLs and the names.
func (p *Profile) setExtensions(c *x509.Certificate, ask *Ask) error {
	names := ask.Names
	c.ExtraExtensions = slices.Grow(slices.Clone(p.static), 3)
	if p.config.PrivateKeyUsage > 0 {
		period, err := keyUsagePeriod(c.NotBefore, earlier(c.NotAfter, c.NotBefore.Add(seconds(p.config.PrivateKeyUsage))))
		if err != nil {
			return err
		}
		c.ExtraExtensions = append(c.ExtraExtensions, period)
	}
	if deltas := ask.URLs.DeltaCRLs; len(deltas) > 0 && p.config.CRLDistribution == "full" {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidFreshestCRL, Value: cert.MarshalPoints(deltas)})
	}
	anonymous := len(c.Subject.ToRDNSequence()) == 0
	if names.Count() == 0 {
		if anonymous {
			return fault.Field("common_name", "the certificate would name nobody: give a common name or an alternative name")
		}
		return nil
	}
	san, err := cert.MarshalSAN(names, anonymous)
	if err != nil {
		return err
	}
	c.ExtraExtensions = append(c.ExtraExtensions, san)
	c.DNSNames, c.IPAddresses = slices.Clone(names.DNS), slices.Clone(names.IP)
	c.EmailAddresses, c.URIs = slices.Clone(names.Email), slices.Clone[[]*url.URL](names.URI)
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// keyUsagePeriod encodes PrivateKeyUsagePeriod, whose definition is in RFC 3280
// section 4.2.1.4: the RFCs after it no longer have one.
func keyUsagePeriod(from, to time.Time) (pkix.Extension, error) {
	value, err := asn1.Marshal(struct {
		NotBefore time.Time `asn1:"generalized,tag:0"`
		NotAfter  time.Time `asn1:"generalized,tag:1"`
	}{from, to})
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("encoding private key usage period: %w", err)
	}
	return pkix.Extension{Id: oidPrivateKeyUsage, Value: value}, nil
}
