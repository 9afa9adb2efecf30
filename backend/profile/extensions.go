package profile

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Policy is one certificate policy with its qualifiers (RFC 5280 section 4.2.1.4).
type Policy struct {
	OID    string `json:"oid"`
	CPS    string `json:"cps"`    // URI of the practice statement, or ""
	Notice string `json:"notice"` // text for people, or ""
}

// ParsePolicies reads policy_identifiers: OIDs, "OID=URI", or the JSON objects that
// the built-in engine takes, one each or as one list. field is named in the refusal.
func ParsePolicies(field string, entries []string) ([]Policy, error) {
	var policies []Policy
	if len(entries) > 0 && strings.HasPrefix(strings.TrimSpace(entries[0]), "[") {
		// The vault CLI splits a JSON list at its commas.
		if err := json.Unmarshal([]byte(strings.Join(entries, ",")), &policies); err != nil {
			return nil, fault.Field(field, "is not a JSON list of policies with oid, cps and notice")
		}
	} else {
		for _, entry := range entries {
			policy, err := parsePolicy(field, strings.TrimSpace(entry))
			if err != nil {
				return nil, err
			}
			policies = append(policies, policy)
		}
	}
	seen := make(map[string]bool, len(policies))
	for _, policy := range policies {
		if err := policy.check(field); err != nil {
			return nil, err
		}
		if seen[policy.OID] {
			return nil, fault.Field(field, "%s is listed twice (RFC 5280 section 4.2.1.4)", policy.OID)
		}
		seen[policy.OID] = true
	}
	return policies, nil
}

func parsePolicy(field, entry string) (policy Policy, err error) {
	if strings.HasPrefix(entry, "{") {
		if err := json.Unmarshal([]byte(entry), &policy); err != nil {
			return policy, fault.Field(field, "is not a JSON policy with oid, cps and notice")
		}
		return policy, nil
	}
	policy.OID, policy.CPS, _ = strings.Cut(entry, "=")
	return policy, nil
}

func (p Policy) check(field string) error {
	if _, err := cert.ParseOID(p.OID); err != nil {
		return fault.Field(field, "%w", err)
	}
	if p.CPS != "" {
		uri, err := url.Parse(p.CPS)
		if err != nil || uri.Host == "" || uri.Scheme != "http" && uri.Scheme != "https" || !isPrintableASCII(p.CPS) {
			return fault.Field(field, "the practice statement of %s must be an http or https URI", p.OID)
		}
	}
	// RFC 5280 section 4.2.1.4: DisplayText is at most 200 characters.
	if !utf8.ValidString(p.Notice) || utf8.RuneCountInString(p.Notice) > 200 {
		return fault.Field(field, "the notice of %s must be at most 200 characters", p.OID)
	}
	return nil
}

func isPrintableASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

type policyInformation struct {
	OID        asn1.ObjectIdentifier
	Qualifiers []policyQualifier `asn1:"optional,omitempty"`
}

type policyQualifier struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

type userNotice struct {
	Text string `asn1:"utf8"`
}

// compilePolicies leaves plain OIDs to the standard library and encodes the
// extension itself where qualifiers need it.
func (p *Profile) compilePolicies() error {
	policies, err := ParsePolicies("policy_identifiers", p.config.PolicyIdentifiers)
	if err != nil {
		return err
	}
	qualified := slices.ContainsFunc(policies, func(policy Policy) bool { return policy.CPS != "" || policy.Notice != "" })
	var list []policyInformation
	for _, policy := range policies {
		if !qualified {
			oid, err := x509.ParseOID(policy.OID)
			if err != nil {
				return fault.Field("policy_identifiers", "%q is not an OID", policy.OID)
			}
			p.policies = append(p.policies, oid)
			continue
		}
		information, err := policy.information()
		if err != nil {
			return err
		}
		list = append(list, information)
	}
	if !qualified {
		return nil
	}
	der, err := asn1.Marshal(list)
	if err != nil {
		return fmt.Errorf("encoding certificate policies: %w", err)
	}
	p.static = append(p.static, pkix.Extension{Id: oidPolicies, Value: der})
	return nil
}

func (p Policy) information() (policyInformation, error) {
	oid, err := cert.ParseOID(p.OID)
	if err != nil {
		return policyInformation{}, err
	}
	information := policyInformation{OID: oid}
	if p.CPS != "" {
		uri := asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(p.CPS)}
		information.Qualifiers = append(information.Qualifiers, policyQualifier{oidCPS, uri})
	}
	if p.Notice != "" {
		notice, err := asn1.Marshal(userNotice{p.Notice})
		if err != nil {
			return information, fmt.Errorf("encoding policy notice: %w", err)
		}
		information.Qualifiers = append(information.Qualifiers, policyQualifier{oidUserNotice, asn1.RawValue{FullBytes: notice}})
	}
	return information, nil
}

// statusRequest is the SEQUENCE with number 5, the TLS extension status_request
// (RFC 7633 section 4.1).
var statusRequest = []byte{0x30, 0x03, 0x02, 0x01, 0x05}

// compileExtensions encodes what is the same in every certificate once.
func compileExtensions(p *Profile) error {
	if err := p.compilePolicies(); err != nil {
		return err
	}
	if p.config.OCSPNoCheck {
		p.static = append(p.static, pkix.Extension{Id: oidOCSPNoCheck, Value: asn1.NullBytes})
	}
	if p.config.NoRevAvail {
		p.static = append(p.static, pkix.Extension{Id: oidNoRevAvail, Value: asn1.NullBytes})
	}
	if p.config.MustStaple {
		p.static = append(p.static, pkix.Extension{Id: oidTLSFeature, Value: slices.Clone(statusRequest)})
	}
	if p.config.ExtKeyUsageCritical {
		oids := make([]asn1.ObjectIdentifier, len(p.usage.extended))
		for i, text := range p.usage.extended {
			// compileUsage read the OID before.
			oids[i], _ = cert.ParseOID(text)
		}
		der, err := asn1.Marshal(oids)
		if err != nil {
			return fmt.Errorf("encoding extended key usage: %w", err)
		}
		p.static = append(p.static, pkix.Extension{Id: oidExtKeyUsage, Critical: true, Value: der})
	}
	return p.compileCustom()
}

func (p *Profile) compileCustom() error {
	const field = "custom_extensions"
	for _, entry := range p.config.CustomExtensions {
		text, rest, _ := strings.Cut(entry, "=")
		mark, encoded, ok := strings.Cut(rest, ":")
		if !ok || mark != "critical" && mark != "noncritical" {
			return fault.Field(field, "each must be OID=critical:BASE64 or OID=noncritical:BASE64")
		}
		oid, err := cert.ParseOID(strings.TrimSpace(text))
		if err != nil {
			return fault.Field(field, "%w", err)
		}
		value, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return fault.Field(field, "the value of %s is not base64", oid)
		}
		var parsed asn1.RawValue
		if trailing, err := asn1.Unmarshal(value, &parsed); err != nil || len(trailing) > 0 {
			return fault.Field(field, "the value of %s is not one DER element", oid)
		}
		if slices.ContainsFunc(owned, oid.Equal) {
			return fault.Field(field, "%s is decided by another field or by the engine", oid)
		}
		if slices.ContainsFunc(p.static, func(e pkix.Extension) bool { return e.Id.Equal(oid) }) {
			return fault.Field(field, "%s is listed twice", oid)
		}
		p.static = append(p.static, pkix.Extension{Id: oid, Critical: mark == "critical", Value: value})
	}
	return nil
}

// String returns the policy as ParsePolicies reads it.
func (p Policy) String() string {
	switch {
	case p.Notice != "":
		// Marshalling three strings cannot fail.
		text, _ := json.Marshal(p)
		return string(text)
	case p.CPS != "":
		return p.OID + "=" + p.CPS
	}
	return p.OID
}
