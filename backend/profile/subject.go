package profile

import (
	"crypto/x509/pkix"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// attributes is the vocabulary of subject attributes: the API's name and the upper
// bound in characters (RFC 5280 appendix A.1, X.520, RFC 4524 section 2.22).
var attributes = []struct {
	name string
	max  int
	all  func(*pkix.Name) *[]string // nil: the attribute is not a list in pkix.Name
}{
	{"common_name", 64, nil},
	{"organization", 64, func(n *pkix.Name) *[]string { return &n.Organization }},
	{"ou", 64, func(n *pkix.Name) *[]string { return &n.OrganizationalUnit }},
	{"country", 2, func(n *pkix.Name) *[]string { return &n.Country }},
	{"locality", 128, func(n *pkix.Name) *[]string { return &n.Locality }},
	{"province", 128, func(n *pkix.Name) *[]string { return &n.Province }},
	{"street_address", 128, func(n *pkix.Name) *[]string { return &n.StreetAddress }},
	{"postal_code", 40, func(n *pkix.Name) *[]string { return &n.PostalCode }},
	{"serial_number", 64, nil},
	{"user_id", 256, nil},
}

// SubjectAttributes lists the names of the subject attributes, in the order in
// which a profile checks them.
func SubjectAttributes() []string {
	names := make([]string, len(attributes))
	for i, a := range attributes {
		names[i] = a.name
	}
	return names
}

// AttributeValues returns the values of one subject attribute, nil when absent or
// unknown.
func AttributeValues(name *pkix.Name, attribute string) []string {
	switch attribute {
	case "common_name":
		return present(name.CommonName)
	case "serial_number":
		return present(name.SerialNumber)
	case "user_id":
		return UserIDs(name)
	}
	for _, a := range attributes {
		if a.name == attribute {
			return *a.all(name)
		}
	}
	return nil // such as an OID
}

func present(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

// UserIDs returns the userId attributes among the extra names of a subject.
func UserIDs(name *pkix.Name) []string {
	var ids []string
	for _, extra := range name.ExtraNames {
		if id, ok := extra.Value.(string); ok && extra.Type.Equal(oidUserID) {
			ids = append(ids, id)
		}
	}
	return ids
}

// AddUserID adds a userId attribute (RFC 4519 section 2.39) to a subject.
func AddUserID(name *pkix.Name, id string) {
	name.ExtraNames = append(name.ExtraNames, pkix.AttributeTypeAndValue{Type: oidUserID, Value: id})
}

func setAttribute(name *pkix.Name, attribute string, values []string) {
	switch attribute {
	case "common_name":
		name.CommonName = values[0]
	case "serial_number":
		name.SerialNumber = values[0]
	case "user_id":
		for _, id := range values {
			AddUserID(name, id)
		}
	default:
		for _, a := range attributes {
			if a.name == attribute {
				*a.all(name) = values
			}
		}
	}
}

// checkValue refuses what the attribute's type cannot carry.
func checkValue(attribute string, limit int, value string) error {
	switch {
	case strings.TrimSpace(value) == "":
		return fault.Field(attribute, "must not be empty")
	case strings.IndexFunc(value, cert.Unseen) >= 0:
		return fault.Field(attribute, "must be text without control, formatting and other unseen characters")
	case attribute == "country" && !isCountry(value):
		return fault.Field(attribute, "must be an ISO 3166 code of two letters such as DE, not %q", value)
	case utf8.RuneCountInString(value) > limit:
		return fault.Field(attribute, "must be at most %d characters (RFC 5280, upper bounds), and %q has %d", limit, value, utf8.RuneCountInString(value))
	}
	return nil
}

// CheckAttribute refuses a value that no certificate can have in the attribute.
func CheckAttribute(attribute, value string) error {
	for _, a := range attributes {
		if a.name == attribute {
			return checkValue(attribute, a.max, value)
		}
	}
	return fault.New(fault.Internal, "checking subject attribute %q: not known", attribute)
}

func isCountry(value string) bool {
	letter := func(b byte) bool { return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' }
	return len(value) == 2 && letter(value[0]) && letter(value[1])
}

// subjectRules are the compiled rules for subjects.
type subjectRules struct {
	required map[string]bool
	allowed  map[string]bool
	fixed    map[string]string
	patterns map[string]*regexp.Regexp
	cn       string // Config.CNPolicy
}

// apply returns the subject of the certificate, built anew from the attributes
// that the rules know, so that nothing else can slip in.
func (r *subjectRules) apply(asked pkix.Name, names cert.Names) (pkix.Name, error) {
	for _, extra := range asked.ExtraNames {
		if _, text := extra.Value.(string); !text || !extra.Type.Equal(oidUserID) {
			return pkix.Name{}, fault.New(fault.Invalid, "subject attribute %s is not known to profiles", extra.Type)
		}
	}
	cn, err := r.commonName(asked.CommonName, names)
	if err != nil {
		return pkix.Name{}, err
	}
	asked.CommonName = cn
	var subject pkix.Name
	for _, a := range attributes {
		values, err := r.values(a.name, AttributeValues(&asked, a.name))
		if err != nil {
			return pkix.Name{}, err
		}
		for _, value := range values {
			if err := r.check(a.name, a.max, value); err != nil {
				return pkix.Name{}, err
			}
		}
		if len(values) > 0 {
			setAttribute(&subject, a.name, values)
		}
	}
	return subject, nil
}

// values completes and gates the values of one attribute.
func (r *subjectRules) values(attribute string, asked []string) ([]string, error) {
	if fixed, ok := r.fixed[attribute]; ok {
		if len(asked) > 0 && !(len(asked) == 1 && asked[0] == fixed) {
			return nil, fault.Field(attribute, "the profile fixes it to %q (subject_fixed)", fixed)
		}
		return []string{fixed}, nil
	}
	if len(asked) > 0 && !r.allowed[attribute] {
		return nil, fault.Field(attribute, "the profile does not allow it (subject_allowed)")
	}
	if len(asked) == 0 && r.required[attribute] {
		return nil, fault.Field(attribute, "the profile requires it (subject_required)")
	}
	return asked, nil
}

func (r *subjectRules) check(attribute string, limit int, value string) error {
	if err := checkValue(attribute, limit, value); err != nil {
		return err
	}
	if pattern := r.patterns[attribute]; pattern != nil && !pattern.MatchString(value) {
		return fault.Field(attribute, "does not match the profile's pattern (subject_patterns)")
	}
	return nil
}

// commonName applies cn_policy. The CA/Browser Forum's Baseline Requirements
// section 7.1.4.3 are what must_be_in_san stands for.
func (r *subjectRules) commonName(asked string, names cert.Names) (string, error) {
	cn := asked
	if fixed, ok := r.fixed["common_name"]; ok && cn == "" {
		cn = fixed
	}
	if r.cn == CNFree {
		return asked, nil
	}
	if cn != "" && !carries(names, cn) {
		return "", fault.Field("common_name", "must be one of the subject alternative names (cn_policy=%s)", r.cn)
	}
	switch {
	case r.cn == CNOmit:
		return "", nil
	case r.cn == CNFirstSAN && cn == "":
		return firstName(names), nil
	}
	return asked, nil
}

// carries reports whether the set holds the name in the form a common name has.
func carries(names cert.Names, cn string) bool {
	if slices.Contains(names.DNS, cn) || slices.Contains(names.Email, cn) {
		return true
	}
	for _, ip := range names.IP {
		if ip.String() == cn {
			return true
		}
	}
	for _, uri := range names.URI {
		if uri.String() == cn {
			return true
		}
	}
	return false
}

// firstName returns the first name that fits a common name, "" when none does.
func firstName(names cert.Names) string {
	all := slices.Concat(names.DNS, names.Email)
	for _, ip := range names.IP {
		all = append(all, ip.String())
	}
	for _, uri := range names.URI {
		all = append(all, uri.String())
	}
	for _, name := range all {
		if len(name) <= 64 {
			return name
		}
	}
	return ""
}
