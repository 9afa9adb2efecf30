package schema

import (
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// maxName is the most bytes of a name.
const maxName = 128

// Segment returns the pattern that captures one path segment under a field's name.
// It takes anything but a slash, so that a bad name is answered with the rule it
// breaks, not with "unsupported path"; the field's kind checks it.
func Segment(name string) string { return "(?P<" + name + ">[^/]+)" }

// CheckName refuses names that are not canonical. A name has one spelling only:
// letters, digits, "_", "-" and ".", beginning and ending with a letter, digit or
// "_", without "..", compared exactly. So no other spelling of a path reaches the
// same object past an ACL (authz-2).
func CheckName(field, name string) error {
	if len(name) > maxName {
		return fault.Field(field, "has %d bytes, more than the %d of a name", len(name), maxName)
	}
	for i := range len(name) {
		edge := i == 0 || i == len(name)-1
		c := name[i]
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		if !word && (edge || c != '-' && c != '.') {
			return fault.Field(field, `must be letters, digits, "_", "-" and ".", beginning and ending with a letter, digit or "_"`)
		}
	}
	if name == "" || strings.Contains(name, "..") {
		return fault.Field(field, `must not be empty or contain ".."`)
	}
	return nil
}

// CheckDistinct refuses a new name that differs from an existing one only in case:
// two such objects would be taken for one by whoever writes the ACL.
func CheckDistinct(field, name string, existing []string) error {
	if slices.Contains(existing, name) {
		return nil
	}
	for _, other := range existing {
		if strings.EqualFold(other, name) {
			return fault.FieldOf(fault.Conflict, field, "differs from the existing %s only in case", other)
		}
	}
	return nil
}
