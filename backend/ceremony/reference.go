package ceremony

import (
	"reflect"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// FieldDoc describes one key of an order file, as its struct tag does.
type FieldDoc struct {
	Name     string // with the keys above it: "token.module", "revoked[].serial"
	Type     string
	Required bool
	Doc      string
	Example  string
}

// OrderFields returns the keys of an order in the order of the file.
func OrderFields[O RootOrder | IssuingOrder | CRLOrder]() []FieldDoc {
	return fieldsOf(reflect.TypeFor[O](), "")
}

func fieldsOf(in reflect.Type, prefix string) []FieldDoc {
	var all []FieldDoc
	for field := range in.Fields() {
		name := prefix + field.Tag.Get("yaml")
		one := FieldDoc{
			Name: name, Type: typeName(field.Type), Required: field.Tag.Get("required") != "",
			Doc: field.Tag.Get("doc"), Example: field.Tag.Get("example"),
		}
		all = append(all, one)
		below := field.Type
		if below.Kind() == reflect.Slice {
			name += "[]"
		}
		if below.Kind() == reflect.Pointer || below.Kind() == reflect.Slice {
			below = below.Elem()
		}
		if typeName(below) == "section" {
			all = append(all, fieldsOf(below, name+".")...)
		}
	}
	return all
}

func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Period]():
		return "days or years"
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[cert.CRLNumber]():
		return "number"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Slice:
		return strings.Replace("list of "+typeName(t.Elem()), "section", "sections", 1)
	case reflect.Struct:
		return "section"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "number"
	}
	return "text"
}
