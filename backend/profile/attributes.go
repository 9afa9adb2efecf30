package profile

import (
	"crypto/x509/pkix"
	"slices"
)

// attributeOfOID maps the types of X.520 attributes to the names of the API.
var attributeOfOID = map[string]string{
	"2.5.4.3": "common_name", "2.5.4.5": "serial_number", "2.5.4.6": "country", "2.5.4.7": "locality",
	"2.5.4.8": "province", "2.5.4.9": "street_address", "2.5.4.10": "organization", "2.5.4.11": "ou",
	"2.5.4.17": "postal_code", "0.9.2342.19200300.100.1.1": "user_id",
}

// Attribute is one attribute of a subject that was read.
type Attribute struct {
	Name  string // of the API, or the OID
	Value string // "" for what is no text
}

// Attributes lists every attribute of a subject that was read, such as a CSR's, in its
// order. Those that pkix.Name has no field for, and repetitions, are among them.
func Attributes(read *pkix.Name) []Attribute {
	list := make([]Attribute, 0, len(read.Names))
	for _, attribute := range read.Names {
		oid := attribute.Type.String()
		name := attributeOfOID[oid]
		if name == "" {
			name = oid
		}
		value, _ := attribute.Value.(string)
		list = append(list, Attribute{Name: name, Value: value})
	}
	return list
}

// Missing lists the attributes of a subject that was read which another does not have,
// by name or OID, each once.
func Missing(read, other *pkix.Name) []string {
	var missing []string
	for _, a := range Attributes(read) {
		if !slices.Contains(AttributeValues(other, a.Name), a.Value) && !slices.Contains(missing, a.Name) {
			missing = append(missing, a.Name)
		}
	}
	return missing
}
